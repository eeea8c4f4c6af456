"""The Python layer type: a class that the user writes, named by module and class in a prototxt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .. import glog, module_search
from ..errors import LayerError
from .base import Layer
from .registry import register

#: (module, layer) -> the layer that takes the place of a well-known Python layer.
_stand_ins: dict[tuple[str, str], Callable[[Any], Layer]] = {}
#: Module -> the package that has it, where the names differ.
_PACKAGES = {"yaml": "pyyaml", "sklearn": "scikit-learn"}
M = TypeVar("M", bound=Callable[[Any], Layer])


def stand_in(module: str, layer: str) -> Callable[[M], M]:
    """Return a decorator: the function makes the layer where the user's module is missing."""

    def decorate(make: M) -> M:
        _stand_ins[module, layer] = make
        return make

    return decorate


def _stand_in_of(module: str, layer: str) -> Callable[[Any], Layer] | None:
    """Return what makes a well-known layer; its module may lie in any package."""
    names = module.split(".")
    paths = (".".join(names[i:]) for i in range(len(names)))
    return next((_stand_ins[path, layer] for path in paths if (path, layer) in _stand_ins), None)


def _missing_package(error: Exception, module: str) -> str:
    """Return the package that a module imports and that is missing, or ""."""
    name = (isinstance(error, ModuleNotFoundError) and error.name) or ""
    top = name.partition(".")[0]
    return "" if top == module.partition(".")[0] else top


def _python_layer(param: Any) -> Layer:
    """Return the user's layer that `python_param` of a LayerParameter names.

    Raises LayerError for a module that cannot be imported, and for a module without the layer.
    """
    p = param.python_param
    if not p.module:
        raise LayerError(param.name, param.type, "has no python_param module; name one")
    try:
        module, place = module_search.find(p.module)
        if place:
            message = f"{param.name}: imported module {p.module} from {place}"
            glog.write("layer_factory.cpp:77", message)
    except module_search.NotAllowedError as error:
        reason = f"module {p.module!r} is not imported: {error}"
        raise LayerError(param.name, param.type, reason) from None
    except Exception as error:  # a module may raise anything while it is imported
        make = _stand_in_of(p.module, p.layer)
        if isinstance(error, ImportError) and make is not None:
            message = f"{param.name}: module {p.module} is missing; the engine's own {p.layer} runs"
            glog.write("layer_factory.cpp:77", message, 1)
            return make(param)
        cause = " ".join(str(error).split())
        if not isinstance(error, ImportError):
            cause = f"{type(error).__name__}: {cause}"
        advice = "check PYTHONPATH, or put the module beside the prototxt"
        if other := _missing_package(error, p.module):
            advice = f"the module imports {other}: pip install {_PACKAGES.get(other, other)}"
        reason = f"module {p.module!r} cannot be imported: {cause}; {advice}"
        raise LayerError(param.name, param.type, reason) from error
    cls = getattr(module, p.layer, None)
    if not (isinstance(cls, type) and issubclass(cls, Layer)):
        raise LayerError(
            param.name, param.type, f"module {p.module!r} has no caffe.Layer named {p.layer!r}"
        )
    return cls(param)


register(_python_layer, "Python")
