"""The registry of layer types: from the type's name in a prototxt to the class that computes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from .. import module_search
from ..errors import NetError, UsageError
from ..unknown import refusal
from .base import EngineLayer, Layer

#: The environment variable that lists modules, separated by commas.
MODULES = "CAFFE_LAYERS"
_registry: dict[str, Callable[[Any], Layer]] = {}
_users_types: set[str] = set()
L = TypeVar("L", bound=Callable[[Any], Layer])


def register(make: L, name: str | None = None) -> L:
    """Register a layer class, or a function of a LayerParameter, as a layer type.

    name: the name of the type in prototxts; by default the name of the class.
    """
    _registry[name or make.__name__] = make
    return make


def register_layer(layer: type[Layer], name: str | None = None) -> type[Layer]:
    """Register a user's layer class as a layer type that prototxts name directly.

    layer: a subclass of `caffe.Layer`. Its `param_str` is that of `python_param`, followed by the
        text of the layer's fields that the engine does not have, such as `my_param { size: 3 }`.
    name: the name of the type in prototxts; by default the name of the class. A type of the
        engine's own is replaced.

    Return the class, so that the function is also a decorator. Raises TypeError for another object.

        @caffe.register_layer
        class Double(caffe.Layer): ...        # layer { name: "d" type: "Double" ... }
    """
    if not (isinstance(layer, type) and issubclass(layer, Layer)):
        raise TypeError(f"register_layer({layer!r}): a subclass of caffe.Layer is needed")
    register(layer, name)
    _users_types.add(name or layer.__name__)
    return layer


def users_types() -> set[str]:
    """Return the layer types that `register_layer` registered."""
    return set(_users_types)


def import_users_types() -> None:
    """Import the modules that CAFFE_LAYERS lists, which register layer types.

    Raises UsageError for a module that cannot be imported.
    """
    for name in filter(None, map(str.strip, os.environ.get(MODULES, "").split(","))):
        try:
            module_search.find(name)
        except Exception as error:  # a module may raise anything while it is imported
            cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UsageError(f"{MODULES}: module {name!r} cannot be imported: {cause}") from error


def layer_type_list() -> list[str]:
    """Return the names of all layer types, sorted."""
    return sorted(_registry)


def layer_class(layer_type: str) -> type[EngineLayer] | None:
    """Return the class of a layer type, whose attributes describe it.

    None for an unknown type, and for Python, whose class the user's module defines.
    """
    make = _registry.get(layer_type)
    return make if isinstance(make, type) and issubclass(make, EngineLayer) else None


def pointwise_types() -> list[str]:
    """Return the names of the layer types whose class has `pointwise`, sorted."""
    classes = {layer_type: layer_class(layer_type) for layer_type in layer_type_list()}
    return [layer_type for layer_type, cls in classes.items() if cls is not None and cls.pointwise]


def check_types(params: Iterable[Any]) -> None:
    """Raise NetError if LayerParameters have types that are not registered; all are listed."""
    import_users_types()
    types = [(param.name, param.type) for param in params if param.type not in _registry]
    if types:
        raise NetError(refusal(types, [], layer_type_list()))


def create(param: Any) -> Layer:
    """Return the layer of a LayerParameter, before `setup`. Raises NetError."""
    check_types([param])
    return _registry[param.type](param)
