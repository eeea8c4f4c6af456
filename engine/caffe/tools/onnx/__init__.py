"""Nets written as ONNX models: `build(net)` returns a model, `write(net, path)` writes its files.

`model.py` holds the model and the registry of writers. Each module of a family of layers registers
a function for each layer type; the function has the type's name.
"""

from . import activation, normalization, utility, vision  # noqa: F401  (register the writers)
from .net import build, write

__all__ = ["build", "write"]
