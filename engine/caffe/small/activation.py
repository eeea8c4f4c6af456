"""Activations of small blobs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from .site import ZERO, Call, Calls, Site, flat_maps, tensor

_ATEN = torch.ops.aten


def relu(site: Site) -> Calls:
    """y = max(x, 0) + slope * min(x, 0)."""
    (x,), (y,), (dx,), (dy,) = site.x, site.y, site.dx, site.dy
    slope = site.layer.slope
    if not slope:
        forward: list[Call] = [partial(np.maximum, x, ZERO, y)]
        if dx is None or dy is None:
            return Calls(forward, [])
        # y has the sign of x, also where y has overwritten x.
        top, positive = _kept_top(site, forward), np.zeros(y.shape, bool)
        find = partial(np.greater, top, ZERO, positive)
        return Calls(forward, [find, partial(np.multiply, dy, positive, dx)])
    bottom, forward = _kept_bottom(site)
    forward.append(partial(_ATEN.leaky_relu.out, tensor(x), slope, out=tensor(y)))
    if dx is None or dy is None:
        return Calls(forward, [])
    leaky = _ATEN.leaky_relu_backward.grad_input
    call = partial(leaky, tensor(dy), tensor(bottom), slope, False, grad_input=tensor(dx))
    return Calls(forward, [call])


def prelu(site: Site) -> Calls:
    """y = max(x, 0) + w * min(x, 0), with a w for each channel or one for all."""
    (x,), (y,), (w,), (dx,), (dy,), (dw,) = site.x, site.y, site.w, site.dx, site.dy, site.dw
    bottom, forward = _kept_bottom(site)
    maps, channels = flat_maps(x.shape)
    x, y, bottom = (a.reshape(maps) for a in (x, y, bottom))
    dx, dy = (None if a is None else a.reshape(maps) for a in (dx, dy))
    slopes = w.reshape(channels) if w.ndim else w
    negative, product = np.zeros_like(x), np.zeros_like(x)
    forward += [
        partial(np.minimum, x, ZERO, negative),
        partial(np.multiply, negative, slopes, product),
        partial(np.maximum, x, ZERO, y),
        partial(np.add, y, product, y),
    ]
    backward: list[Call] = []
    if dy is not None and dw is not None:
        backward.append(partial(np.multiply, dy, negative, product))
        others = tuple(i for i in range(len(maps)) if i != len(maps) - len(channels))
        backward.append(partial(np.add.reduce, product, others if w.ndim else None, None, dw))
    if dy is not None and dx is not None:
        positive = np.zeros(x.shape, bool)
        backward += [
            partial(np.greater, bottom, ZERO, positive),
            partial(np.multiply, dy, slopes, product),
            partial(np.copyto, product, dy, where=positive),
            partial(np.copyto, dx, product),
        ]
    return Calls(forward, backward)


def sigmoid(site: Site) -> Calls:
    """y = 1 / (1 + exp(-x))."""
    return _of_top(site, torch.sigmoid, _ATEN.sigmoid_backward.grad_input)


def tanh(site: Site) -> Calls:
    """y = tanh(x)."""
    return _of_top(site, torch.tanh, _ATEN.tanh_backward.grad_input)


def dropout(site: Site) -> Calls:
    """y = x * mask, where the layer draws a mask at each forward; else y = x, or x * keep."""
    layer, (x,), (y,), (dx,), (dy,) = site.layer, site.x, site.y, site.dx, site.dy
    p = layer.layer_param.dropout_param
    keep = 1 - p.dropout_ratio
    forward: list[Call] = []
    if layer.stateful:
        mask, like = np.zeros_like(x), tensor(x)
        drawn = tensor(mask)
        forward.append(lambda: drawn.copy_(layer.draw(like, keep)))
        if p.scale_train:
            forward.append(partial(np.divide, mask, np.full((), keep, np.float32), mask))
    else:
        mask = np.full((), 1 if p.scale_train else keep, np.float32)
    if layer.stateful or not p.scale_train:
        forward.append(partial(np.multiply, x, mask, y))
    elif x is not y:
        forward.append(partial(np.copyto, y, x))
    if dx is None or dy is None:
        return Calls(forward, [])
    return Calls(forward, [partial(np.multiply, dy, mask, dx)])


def _of_top(site: Site, function: Callable[..., Any], gradient: Callable[..., Any]) -> Calls:
    """Return the calls of a function of single values whose gradient is a function of the top."""
    (x,), (y,), (dx,), (dy,) = site.x, site.y, site.dx, site.dy
    forward: list[Call] = [partial(function, tensor(x), out=tensor(y))]
    if dx is None or dy is None:
        return Calls(forward, [])
    top = _kept_top(site, forward)
    return Calls(forward, [partial(gradient, tensor(dy), tensor(top), grad_input=tensor(dx))])


def _kept_top(site: Site, forward: list[Call]) -> np.ndarray:
    """Return an array that still has the top in backward; append the call that fills it."""
    (y,) = site.y
    if not site.overwritten:
        return y
    copy = np.zeros_like(y)
    forward.append(partial(np.copyto, copy, y))
    return copy


def _kept_bottom(site: Site) -> tuple[np.ndarray, list[Call]]:
    """Return an array that still has the bottom in backward, and the call that fills the array.

    The second list is empty where the bottom is not overwritten.
    """
    (x,), (y,) = site.x, site.y
    if x is not y or not site.learns:
        return x, []
    copy = np.zeros_like(x)
    return copy, [partial(np.copyto, copy, x)]
