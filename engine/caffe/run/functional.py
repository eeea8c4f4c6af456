"""Layers run on plain tensors, apart from the net's blobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..layers import Function
from .wiring import Node

Observe = Callable[[int, torch.Tensor], None]


def ignore(blob: int, tensor: torch.Tensor) -> None:
    """Observe nothing."""


def run_nodes(
    nodes: Sequence[Node], tensors: dict[int, torch.Tensor], observe: Observe = ignore
) -> None:
    """Run layers with their present `weights` on tensors by blob number.

    Tops are added to `tensors`; `observe(blob, tensor)` is called for each before that.
    """
    for node in nodes:
        layer = node.layer
        if isinstance(layer, Function):
            x = layer.rounded([tensors[b] for b in node.bottoms])
            tops = as_tuple(layer.compute(*x))
        else:  # a Split: the tops are views, so that each has a gradient of its own
            bottom = tensors[node.bottoms[0]]
            tops = tuple(bottom.view_as(bottom) for _ in node.tops)
        for blob, tensor in zip(node.tops, tops):
            observe(blob, tensor)
            tensors[blob] = tensor


def forget(nodes: Sequence[Node]) -> None:
    """Free what the layers kept from their last forward."""
    for node in nodes:
        if isinstance(node.layer, Function):
            node.layer.forget()


def as_tuple(y: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return the outcome of a layer's `compute` as a tuple."""
    return y if isinstance(y, tuple) else (y,)
