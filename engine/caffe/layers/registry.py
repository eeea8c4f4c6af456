"""The registry of layer types: from the type's name in a prototxt to the class that computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import LayerError
from .base import EngineLayer, Layer

_registry: dict[str, Callable[[Any], Layer]] = {}
L = TypeVar("L", bound=Callable[[Any], Layer])


def register(make: L, name: str | None = None) -> L:
    """Register a layer class, or a function of a LayerParameter, as a layer type.

    name: the name of the type in prototxts; by default the name of the class.
    """
    _registry[name or make.__name__] = make
    return make


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


def create(param: Any) -> Layer:
    """Return the layer of a LayerParameter, before `setup`. Raises LayerError."""
    if param.type not in _registry:
        raise LayerError(
            param.name,
            param.type,
            f"unknown type {param.type!r}; known types: {', '.join(layer_type_list())}",
        )
    return _registry[param.type](param)
