"""Prints the distribution of each random filler's values in the installed Caffe, as JSON.

oracle/caffe-python oracle/fillers.py
"""

from __future__ import annotations

import json
import os
import tempfile
from typing import Dict, List

import caffe
import numpy as np

#: Texts of FillerParameters; each fills every shape.
FILLERS = (
    "type: 'uniform'",
    "type: 'uniform' min: -0.3 max: 2",
    "type: 'gaussian'",
    "type: 'gaussian' mean: 3 std: 0.2",
    "type: 'gaussian' std: 2 sparse: 5",
    "type: 'positive_unitball'",
    *(
        f"type: '{kind}' {norm}"
        for kind in ("xavier", "msra")
        for norm in (
            "",
            "variance_norm: FAN_IN",
            "variance_norm: FAN_OUT",
            "variance_norm: AVERAGE",
        )
    ),
)
#: Shapes of blobs with 120,000 values each.
SHAPES = ((100, 12, 10, 10), (400, 300), (10, 30, 400), (120000,))
#: The quantiles that describe a distribution.
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)


def describe(values: np.ndarray) -> Dict[str, float]:
    """Return moments, quantiles and limits, the share of zeros, and moments of the row sums."""
    rows = values.reshape(len(values), -1).sum(1)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "zeros": float((values == 0).mean()),
        "row sum": float(rows.mean()),
        "row sum std": float(rows.std()),
        **{f"quantile {share}": float(np.quantile(values, share)) for share in SHARES},
    }


def main() -> None:
    """Print filler -> a description for each shape."""
    caffe.set_mode_cpu()
    caffe.set_random_seed(1)
    descriptions: Dict[str, List[Dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.prototxt")
        for filler in FILLERS:
            with open(path, "w") as file:
                for i, shape in enumerate(SHAPES):
                    dims = " ".join(f"dim: {n}" for n in shape)
                    file.write(
                        f"layer {{ name: '{i}' type: 'DummyData' top: '{i}' dummy_data_param {{"
                        f" shape {{ {dims} }} data_filler {{ {filler} }} }} }}\n"
                    )
            net = caffe.Net(path, caffe.TEST)
            net.forward()
            arrays = [blob.data.astype(np.float64) for blob in net.blobs.values()]
            descriptions[filler] = [describe(array) for array in arrays]
    print(json.dumps(descriptions))


if __name__ == "__main__":
    main()
