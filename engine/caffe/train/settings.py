"""The fields of a SolverParameter: reading them from a prototxt and checking them."""

from __future__ import annotations

import math
import os
from typing import Any

from .. import files, graph
from ..errors import FileError, NetError
from . import detections, policies


def read(path: str) -> Any:
    """Return the SolverParameter of a solver prototxt. Raises FileError if it cannot be read."""
    if not os.path.isfile(path):
        raise FileError(f"Could not open file {path}")
    return graph.read_solver(path)


def check(param: Any) -> None:
    """Check the fields of a SolverParameter that depend on no net and no update rule.

    Raises NetError, and in the strict mode FileError for snapshots outside the working folder.
    """
    policies.check(param)
    detections.check(param)
    for name in ("iter_size", "average_loss"):
        if getattr(param, name) < 1:
            raise NetError(f"{name} is {getattr(param, name)}; it needs to be at least 1")
    for name in ("weight_decay", "momentum", "momentum2", "delta", "rms_decay", "clip_gradients"):
        if not math.isfinite(getattr(param, name)):
            raise NetError(f"{name} is {getattr(param, name)}; it needs to be a finite number")
    if param.regularization_type not in ("L1", "L2"):
        raise NetError(
            f"regularization_type is {param.regularization_type!r}; it needs to be L1 or L2"
        )
    if param.snapshot_prefix and (param.snapshot or param.snapshot_after_train):
        files.writable(param.snapshot_prefix)
    folder = os.path.dirname(param.snapshot_prefix)
    if param.snapshot and folder and not os.access(folder, os.W_OK):
        raise NetError(
            f"snapshot_prefix is {param.snapshot_prefix!r}, but {folder!r} is not a folder that "
            "can be written; make it first"
        )
