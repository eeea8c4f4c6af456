"""The Python layer type: a class of the user's, named by module and class in `python_param`."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import LayerError
from .base import Layer
from .registry import register


def _python_layer(param: Any) -> Layer:
    """The user's layer that `python_param` names.

    Raises LayerError for a module that cannot be imported or that has no such layer class.
    """
    p = param.python_param
    try:
        module = importlib.import_module(p.module)
    except ImportError as error:
        raise LayerError(
            param.name, param.type, f"module {p.module!r} cannot be imported: {error}"
        ) from error
    cls = getattr(module, p.layer, None)
    if not (isinstance(cls, type) and issubclass(cls, Layer)):
        raise LayerError(
            param.name, param.type, f"module {p.module!r} has no caffe.Layer named {p.layer!r}"
        )
    return cls(param)


register(_python_layer, "Python")
