"""How a solver with `eval_type: "detection"` judges detections: the mean average precision.

SSD's solver (weiliu89/caffe) joins the tops of DetectionEvaluate over all batches of a test.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import glog
from ..errors import NetError
from ..layers.forks.evaluation import average_precision
from ..net import Net

#: ap_version of a SolverParameter -> the arguments of `average_precision`.
VERSIONS: dict[str, dict[str, Any]] = {
    "11point": {"points": 11},
    "MaxIntegral": {},
    "Integral": {"interpolated": False},
}


def check(param: Any) -> None:
    """Check eval_type and ap_version of a SolverParameter. Raises NetError."""
    if param.eval_type not in ("classification", "detection"):
        raise NetError(
            f"eval_type is {param.eval_type!r}; it needs to be 'classification' or 'detection'"
        )
    if param.eval_type == "detection" and param.ap_version not in VERSIONS:
        raise NetError(
            f"ap_version is {param.ap_version!r}; it needs to be one of {', '.join(VERSIONS)}"
        )


class Detections:
    """The rows of the outputs of a test net that come from DetectionEvaluate layers."""

    def __init__(self, param: Any, net: Net) -> None:
        self._param, self._net = param, net
        judged = {
            top
            for name, layer in zip(net.layer_names, net.layers)
            if layer.type == "DetectionEvaluate"
            for top in net.top_names[name]
        }
        #: The names of these outputs.
        self.outputs = [
            name for name in net.outputs if name in judged and self._param.eval_type == "detection"
        ]
        self._rows: dict[str, list[np.ndarray]] = {name: [] for name in self.outputs}

    def add(self) -> None:
        """Keep the rows of the last pass."""
        for name, rows in self._rows.items():
            rows.append(np.array(self._net.blobs[name].data).reshape(-1, 5))

    def log(self) -> None:
        """Log the mean average precision, and with show_per_class_result that of each class."""
        for number, (name, rows) in enumerate(self._rows.items()):
            settings = VERSIONS[self._param.ap_version]
            precisions = average_precision(np.concatenate(rows), **settings)
            if self._param.show_per_class_result:
                for label, precision in precisions.items():
                    glog.write("solver.cpp:540", f"class{label}: {precision:g}")
            mean = float(np.mean(list(precisions.values()))) if precisions else 0.0
            glog.write("solver.cpp:546", f"    Test net output #{number}: {name} = {mean:g}")
