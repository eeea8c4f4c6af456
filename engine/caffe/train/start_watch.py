"""Warnings about a training that cannot learn: zero weights, a loss at rest, NaN and infinity.

`caffe train` attaches a `StartWatch` to its solver. The watch writes lines of level W to the log;
it changes no number and stops no training.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from .. import glog, mode
from ..run.wiring import Node, Wiring
from .solver import Solver

PLACE = "start_watch.py"
#: Iterations after which the scores behind a softmax loss must differ.
PATIENCE = 20
#: Scores are at rest if they differ by less than this fraction of ln(classes).
MOVED = 1e-3
#: The layers whose first parameter is multiplied with the bottom.
WEIGHTED = ("Convolution", "Deconvolution", "InnerProduct")
#: The losses of a softmax, and the field with the axis of its classes.
SOFTMAX_LOSSES = {"SoftmaxWithLoss": "softmax_param", "InfogainLoss": "infogain_loss_param"}


class StartWatch:
    """Watches a solver from its first iteration on."""

    def __init__(self, solver: Solver) -> None:
        self._solver = solver
        self._first = solver.iter
        self._finite = True

    def attach(self) -> None:
        """Log the warnings about the weights, and watch the iterations."""
        for line in zero_weights(self._solver.net.wiring):
            _warn(line)
        self._solver.add_callback(lambda: None, self._after_pass)

    def _after_pass(self) -> None:
        """Look at the blobs between the backward pass and the update."""
        solver = self._solver
        wiring, display = solver.net.wiring, solver.param.display
        displayed = bool(display) and solver.iter % display == 0
        # A device is waited for only where the loss is read anyway.
        if self._finite and (displayed or mode.device().type == "cpu"):
            self._finite = all(_is_finite(blob) for blob in wiring.loss_blobs)
            if not self._finite:
                _warn(f"the loss of iteration {solver.iter} is not finite: {first_fault(wiring)}")
        if self._first == 0 and solver.iter == PATIENCE - 1:
            for line in losses_at_rest(wiring):
                _warn(line)


def zero_weights(wiring: Wiring) -> list[str]:
    """Return a line for each kind of layers whose weights are zero and stay zero."""
    lines = [
        f"layer {node.name} ({node.type}) does not learn (lr_mult: 0) and its weights are all "
        "zero, so its top has no part of its bottom; give it weights or a weight_filler"
        for node in wiring.nodes
        if _is_zero(node) and not _learns(node)
    ]
    chained = _chained(wiring)
    if chained:
        names = ", ".join(node.name for node in chained)
        lines.append(
            f"layers {names} are all zero and one behind another: the gradients of their weights "
            "stay zero; start from trained weights, or give them a weight_filler"
        )
    return lines


def losses_at_rest(wiring: Wiring) -> list[str]:
    """Return a line for each softmax loss whose scores are equal for all classes."""
    lines = []
    for node in wiring.nodes:
        if node.type not in SOFTMAX_LOSSES:
            continue
        scores = wiring.blobs[node.bottoms[0]].values.tensor()
        axis = getattr(node.param, SOFTMAX_LOSSES[node.type]).axis
        classes = scores.shape[axis]
        spread = float((scores.amax(axis) - scores.amin(axis)).max()) if scores.numel() else 0.0
        if classes > 1 and spread < MOVED * math.log(classes):
            name = wiring.blob_names[node.bottoms[0]]
            lines.append(
                f"layer {node.name}: the loss is still ln({classes}) = {math.log(classes):.4f} a "
                f"label after {PATIENCE} iterations, because {name} is equal for all classes: "
                "nothing is learned; the weights may be those of no trained net, or base_lr too "
                "small"
            )
    return lines


def first_fault(wiring: Wiring) -> str:
    """Return where NaN or infinity comes from, in words: the first layer, in the net's order, with
    weights or tops that are not finite."""
    for node in wiring.nodes:
        for index, blob in enumerate(node.layer.blobs):
            if not _is_finite(blob):
                return f"parameter {index} of layer {node.name} ({node.type}) has NaN or infinity"
        for top in node.tops:
            if not _is_finite(wiring.blobs[top]):
                name = wiring.blob_names[top]
                return f"layer {node.name} ({node.type}) is the first with NaN or infinity: {name}"
    return "every layer is finite again"


def _chained(wiring: Wiring) -> list[Node]:
    """Return the zero layers that learn and that lie before or behind another one."""
    above: list[frozenset[int]] = [frozenset()] * len(wiring.blobs)
    chained: set[int] = set()
    for node in wiring.nodes:
        before = frozenset().union(*(above[b] for b in node.bottoms))
        if _is_zero(node) and _learns(node):
            if before:
                chained |= {*before, node.number}
            before = before | {node.number}
        for top in node.tops:
            above[top] = before
    return [node for node in wiring.nodes if node.number in chained]


def _is_zero(node: Node) -> bool:
    """Return whether a layer multiplies by its weights, and all its parameters are zero."""
    blobs = node.layer.blobs
    return (
        node.type in WEIGHTED
        and len(blobs) > 0
        and not any(bool(blob.values.tensor().any()) for blob in blobs)
    )


def _learns(node: Node) -> bool:
    return not node.param.param or node.param.param[0].lr_mult != 0


def _is_finite(blob: Any) -> bool:
    return bool(torch.isfinite(blob.values.tensor()).all())


def _warn(line: str) -> None:
    glog.write(PLACE, line, level=1)
