"""Softmax and losses of small blobs."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from ..layers.axes import canonical_axis
from ..layers.function import Function
from ..layers.labels import counted_labels, ignored_label, loss_divisor
from ..layers.softmax_loss import LOG_FLT_MIN
from ..native import instructions as ops
from .site import Call, Calls, Site, scratch


class _Softmax:
    """The softmax along an axis, with the classes first in memory, which is faster.

    calls: compute it. shifted: the values without their maxima. sums: of the exponentials.
    prob: the softmax; an array of the classes by all positions.
    """

    def __init__(self, x: np.ndarray, axis: int) -> None:
        first = np.moveaxis(x, axis, 0)
        shape = (first.shape[0], first.size // first.shape[0])
        self.shifted, self.prob = scratch(*shape), scratch(*shape)
        largest, self.sums = scratch(*shape[1:]), scratch(*shape[1:])
        self.calls: list[Call] = []
        scores = first.reshape(shape) if first.flags.c_contiguous else self.shifted
        if scores is self.shifted:
            self.calls.append(ops.copy(first, self.shifted.reshape(first.shape)))
        self.calls += [
            ops.largest(scores, largest),
            ops.subtract(scores, largest, self.shifted),
            ops.exp(self.shifted, self.prob),
            ops.sum_over(self.prob, (0,), self.sums),
            ops.divide(self.prob, self.sums, self.prob),
        ]

    def put(self, y: np.ndarray, axis: int) -> Call:
        """Return the call that writes the softmax to a top."""
        first = np.moveaxis(y, axis, 0)
        return ops.copy(self.prob.reshape(first.shape), first)


def softmax(site: Site) -> Calls | None:
    """y = exp(x) / sum of exp(x); there are no calls for a backward."""
    (x,), (y,), (dx,) = site.x, site.y, site.dx
    if dx is not None:
        return None
    axis = canonical_axis(site.layer, site.layer.layer_param.softmax_param.axis, x.shape)
    forward = _Softmax(x, axis)
    calls = [*forward.calls, forward.put(y, axis)]
    return Calls(calls, [])


class _Labels:
    """The labels of scores: their places in an array of the classes by all positions.

    places: int64, an index into that array for each position. find: checks and reads the labels.
    """

    def __init__(self, layer: Function, labels: np.ndarray, classes: int) -> None:
        self._layer, self._labels, self._classes = layer, labels.reshape(-1), classes
        self._numbers = np.zeros(labels.size, np.int64)
        self._unsigned = self._numbers.view(np.uint64)
        self.places = np.zeros(labels.size, np.int64)
        positions = np.arange(labels.size)
        calls: list[Call] = [
            partial(np.copyto, self._numbers, self._labels, casting="unsafe"),
            self._check,
            partial(np.multiply, self._numbers, labels.size, self.places),
            partial(np.add, self.places, positions, self.places),
        ]
        self.find = ops.labels(calls, self._labels, classes, self.places)

    def _check(self) -> None:
        """Raise LayerError for a label that is not a class."""
        # As an unsigned number, a negative label is a large one.
        if self._unsigned.max() >= self._classes:
            counted_labels(self._layer, torch.from_numpy(self._numbers), self._classes, None)


def softmax_with_loss(site: Site) -> Calls | None:
    """-sum of log softmax(x)[label] / divisor, where all labels count equally."""
    layer, (x, labels), (loss, *prob) = site.layer, site.x, site.y
    p = layer.layer_param.loss_param
    axis = canonical_axis(layer, layer.layer_param.softmax_param.axis, x.shape)
    if ignored_label(layer) is not None or p.weight_by_label_freqs or p.label_smoothing:
        return None
    everywhere = torch.ones(x.shape[:axis] + x.shape[axis + 1 :], dtype=torch.bool)
    classes, divisor = x.shape[axis], float(loss_divisor(layer, everywhere, axis))
    soft, chosen = _Softmax(x, axis), _Labels(layer, labels, classes)
    picked, logs = scratch(labels.size), scratch(labels.size)
    share = np.full(labels.size, -1 / divisor, np.float32)
    least = np.full((), LOG_FLT_MIN, np.float32)
    forward: list[Call] = [
        chosen.find,
        *soft.calls,
        *(soft.put(top, axis) for top in prob),
        ops.take(soft.shifted.reshape(-1), chosen.places, picked),
        ops.log(soft.sums, logs),
        ops.subtract(picked, logs, picked),
        ops.maximum(picked, least, picked),
        ops.product(picked, share, loss),
    ]
    dx, dy = site.dx[0], site.dy[0]
    if dx is None or dy is None:
        return Calls(forward, [])
    ones, scale = np.ones((), np.float32), scratch()
    gradient, one_less = scratch(*soft.prob.shape), scratch(labels.size)
    flat, to_bottom = gradient.reshape(-1), np.moveaxis(dx, axis, 0)
    backward: list[Call] = [
        ops.copy(soft.prob, gradient),
        ops.take(flat, chosen.places, one_less),
        ops.subtract(one_less, ones, one_less),
        ops.put(one_less, chosen.places, flat),
        ops.divide(dy, np.full((), divisor, np.float32), scale),
        ops.multiply(gradient.reshape(to_bottom.shape), scale, to_bottom),
    ]
    return Calls(forward, backward)


def euclidean_loss(site: Site) -> Calls:
    """sum (a - b)^2 / 2 N, for N rows."""
    (a, b), (loss,), (dy,) = site.x, site.y, site.dy
    difference = scratch(*a.shape)
    flat, half = difference.reshape(-1), np.full((), 0.5 / a.shape[0], np.float32)
    forward: list[Call] = [
        ops.subtract(a, b.reshape(a.shape), difference),
        ops.product(flat, flat, loss),
        ops.multiply(loss, half, loss),
    ]
    backward: list[Call] = []
    if dy is not None:
        scales = scratch(), scratch()
        for dx, scale, rows in zip(site.dx, scales, (a.shape[0], -a.shape[0])):
            if dx is not None:
                count = np.full((), rows, np.float32)
                backward.append(ops.divide(dy, count, scale))
                out = dx.reshape(a.shape)
                backward.append(ops.multiply(difference, scale, out))
    return Calls(forward, backward)
