"""The registry of layer types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import NetError
from .base import Layer

_registry: dict[str, Callable[[Any], Layer]] = {}
L = TypeVar("L", bound=Callable[[Any], Layer])


def register(make: L, name: str | None = None) -> L:
    """Register a layer class, or a function of a LayerParameter, as a layer type.

    name: the type's name in prototxts; the class's own name by default.
    """
    _registry[name or make.__name__] = make
    return make


def layer_type_list() -> list[str]:
    """The names of all layer types, sorted."""
    return sorted(_registry)


def create(param: Any) -> Layer:
    """The layer of a LayerParameter, before `setup`. Raises NetError for an unknown type."""
    if param.type not in _registry:
        raise NetError(
            f"layer {param.name!r} has the unknown type {param.type!r}; known types: "
            + ", ".join(layer_type_list())
        )
    return _registry[param.type](param)
