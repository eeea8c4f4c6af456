"""Nets written as ONNX models: `build(net)` returns a model, `write(net, path)` writes its files.

`model.py` holds the model and the registry of writers, `arrays.py` its tensors with operators. Each
module of a family of layers registers a function for each layer type; the function has the type's
name. `sizes.py` finds the axes whose sizes are free, `deploy.py` leaves out what only training
needs, and `check.py` compares a model with the engine.
"""

from . import (  # noqa: F401  (register the writers)
    activation,
    detection,
    normalization,
    recurrent,
    resize,
    sampling,
    shapes,
    utility,
    vision,
)
from .check import check
from .deploy import deploy_net
from .model import REASONS, WRITERS
from .net import OPSET, build, write
from .sizes import Sizes, find_sizes

__all__ = [
    "OPSET",
    "REASONS",
    "WRITERS",
    "Sizes",
    "build",
    "check",
    "deploy_net",
    "find_sizes",
    "write",
]
