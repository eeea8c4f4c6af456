"""The Python layer type: a class that the user writes, named by module and class in a prototxt."""

from __future__ import annotations

from typing import Any

from .. import module_search
from ..errors import LayerError
from .base import Layer
from .registry import register


def _python_layer(param: Any) -> Layer:
    """Return the user's layer that `python_param` of a LayerParameter names.

    Raises LayerError for a module that cannot be imported, and for a module without the layer.
    """
    p = param.python_param
    if not p.module:
        raise LayerError(param.name, param.type, "has no python_param module; name one")
    try:
        module = module_search.find(p.module)
    except ImportError as error:
        cause = " ".join(str(error).split())
        reason = (
            f"module {p.module!r} cannot be imported: {cause}; check PYTHONPATH, or put the module "
            "beside the prototxt"
        )
        raise LayerError(param.name, param.type, reason) from error
    cls = getattr(module, p.layer, None)
    if not (isinstance(cls, type) and issubclass(cls, Layer)):
        raise LayerError(
            param.name, param.type, f"module {p.module!r} has no caffe.Layer named {p.layer!r}"
        )
    return cls(param)


register(_python_layer, "Python")
