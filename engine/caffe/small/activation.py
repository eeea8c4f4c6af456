"""Activations of small blobs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from ..native import instructions as ops
from ..native.instructions import ZERO
from ..native.records import Code
from .site import Call, Calls, Site, flat_maps, tensor

_ATEN = torch.ops.aten


class _OfTop(NamedTuple):
    """A function of single values whose gradient is a function of the top, in PyTorch and in C."""

    function: Callable[..., Any]
    gradient: Callable[..., Any]
    code: Code
    gradient_code: Code


SIGMOID = _OfTop(
    torch.sigmoid, _ATEN.sigmoid_backward.grad_input, Code.SIGMOID, Code.SIGMOID_GRADIENT
)
TANH = _OfTop(torch.tanh, _ATEN.tanh_backward.grad_input, Code.TANH, Code.TANH_GRADIENT)


def relu(site: Site) -> Calls:
    """y = max(x, 0) + slope * min(x, 0)."""
    (x,), (y,), (dx,), (dy,) = site.x, site.y, site.dx, site.dy
    slope = site.layer.slope
    if not slope:
        forward: list[Call] = [ops.maximum(x, ZERO, y)]
        if dx is None or dy is None:
            return Calls(forward, [])
        # y has the sign of x, also where y has overwritten x.
        return Calls(forward, [ops.gate(dy, _kept_top(site, forward), dx)])
    bottom, forward = _kept_bottom(site)
    factor = np.full((), slope, np.float32)
    forward.append(ops.rectify(x, factor, y))
    if dx is None or dy is None:
        return Calls(forward, [])
    return Calls(forward, _gradient_of_slopes(dy, bottom, factor, np.zeros_like(x), dx))


def prelu(site: Site) -> Calls:
    """y = max(x, 0) + w * min(x, 0), with a w for each channel or one for all."""
    (x,), (y,), (w,), (dx,), (dy,), (dw,) = site.x, site.y, site.w, site.dx, site.dy, site.dw
    bottom, forward = _kept_bottom(site)
    maps, channels = flat_maps(x.shape)
    x, y, bottom = (a.reshape(maps) for a in (x, y, bottom))
    dx, dy = (None if a is None else a.reshape(maps) for a in (dx, dy))
    slopes = w.reshape(channels) if w.ndim else w
    backward: list[Call] = []
    product = np.zeros_like(x)
    if dy is not None and dw is not None:
        negative = np.zeros_like(x)
        forward.append(ops.minimum(x, ZERO, negative))
        backward.append(ops.multiply(dy, negative, product))
        others = [i for i in range(len(maps)) if i != len(maps) - len(channels)]
        axes = others if w.ndim else range(len(maps))
        backward.append(ops.sum_over(product, axes, dw))
    forward.append(ops.rectify(x, slopes, y))
    if dy is not None and dx is not None:
        backward += _gradient_of_slopes(dy, bottom, slopes, product, dx)
    return Calls(forward, backward)


def _gradient_of_slopes(
    dy: np.ndarray, x: np.ndarray, slopes: np.ndarray, product: np.ndarray, dx: np.ndarray
) -> list[Call]:
    """Return the calls of dx = dy where x is positive, and slopes * dy elsewhere."""
    return [
        ops.multiply(dy, slopes, product),
        ops.copy_where(dy, x, product),
        ops.copy(product, dx),
    ]


def sigmoid(site: Site) -> Calls:
    """y = 1 / (1 + exp(-x))."""
    return _of_top(site, SIGMOID)


def tanh(site: Site) -> Calls:
    """y = tanh(x)."""
    return _of_top(site, TANH)


def dropout(site: Site) -> Calls:
    """y = x * mask in training, with a new mask at each forward; y = x, or x * keep, in a test."""
    layer, (x,), (y,), (dx,), (dy,) = site.layer, site.x, site.y, site.dx, site.dy
    p = layer.layer_param.dropout_param
    keep = 1 - p.dropout_ratio
    forward: list[Call] = []
    if layer.stateful:
        mask, like = np.zeros_like(x), tensor(x)
        drawn = tensor(mask)
        forward.append(lambda: drawn.copy_(layer.draw(like, keep)))
        if p.scale_train:
            forward.append(ops.divide(mask, np.full((), keep, np.float32), mask))
    else:
        mask = np.full((), 1 if p.scale_train else keep, np.float32)
    if layer.stateful or not p.scale_train:
        forward.append(ops.multiply(x, mask, y))
    elif x is not y:
        forward.append(ops.copy(x, y))
    if dx is None or dy is None:
        return Calls(forward, [])
    return Calls(forward, [ops.multiply(dy, mask, dx)])


def _of_top(site: Site, kind: _OfTop) -> Calls:
    """Return the calls of a function of single values whose gradient is a function of the top."""
    (x,), (y,), (dx,), (dy,) = site.x, site.y, site.dx, site.dy
    forward: list[Call] = [
        ops.of_torch(kind.code, partial(kind.function, tensor(x), out=tensor(y)), [x], y)
    ]
    if dx is None or dy is None:
        return Calls(forward, [])
    top = _kept_top(site, forward)
    call = partial(kind.gradient, tensor(dy), tensor(top), grad_input=tensor(dx))
    return Calls(forward, [ops.of_torch(kind.gradient_code, call, [dy, top], dx)])


def _kept_top(site: Site, forward: list[Call]) -> np.ndarray:
    """Return the top, or a copy if a later layer overwrites it; append the call that copies."""
    (y,) = site.y
    if not site.overwritten:
        return y
    copy = np.zeros_like(y)
    forward.append(ops.copy(y, copy))
    return copy


def _kept_bottom(site: Site) -> tuple[np.ndarray, list[Call]]:
    """Return the bottom, or a copy if this layer overwrites the bottom, and the calls that copy."""
    (x,), (y,) = site.x, site.y
    if x is not y or not site.learns:
        return x, []
    copy = np.zeros_like(x)
    return copy, [ops.copy(x, copy)]
