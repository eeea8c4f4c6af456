"""Runs single layers, and calls that run several layers; an error names a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..blob import Blob
from .failures import raise_for
from .wiring import Node, Wiring

T = TypeVar("T")


def reshape(wiring: Wiring, node: Node) -> None:
    """Give the tops of a layer the shapes that follow from its bottoms."""
    node.layer.reshape(wiring.bottoms(node), wiring.tops(node))


def forward(wiring: Wiring, node: Node) -> list[Blob]:
    """Run a layer forward; return its tops."""
    bottoms, tops = wiring.bottoms(node), wiring.tops(node)
    try:
        node.layer.reshape(bottoms, tops)
        node.layer.forward(bottoms, tops)
    except Exception as error:
        raise_for(node.layer, node.param, "forward", error, tops)
    return tops


def backward(wiring: Wiring, node: Node) -> None:
    """Run a layer backward."""
    bottoms, tops = wiring.bottoms(node), wiring.tops(node)
    try:
        node.layer.backward(tops, list(node.propagate_down), bottoms)
    except Exception as error:
        raise_for(node.layer, node.param, "backward", error, bottoms)


def call(function: Callable[[], T], nodes: Sequence[Node], method: str) -> T:
    """Return `function()`, which runs the layers of `nodes`; an error names the first of them."""
    try:
        return function()
    except Exception as error:
        raise_for(nodes[0].layer, nodes[0].param, method, error)


def forward_together(wiring: Wiring, run: Callable[[], bool], nodes: Sequence[Node]) -> bool:
    """Run layers forward by `run()`; if that returns False, one by one. Return what it returns."""
    if call(run, nodes, "forward"):
        return True
    for node in nodes:
        forward(wiring, node)
    return False
