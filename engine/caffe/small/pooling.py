"""Pooling of small maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from ..layers.pooling import without_nan
from ..layers.windows import FLT_MAX
from ..native import instructions as ops
from ..native.instructions import Instruction, address
from ..native.records import Code, Record
from .site import Call, Calls, Site, scratch, tensor

_ATEN = torch.ops.aten
#: Combines two arrays to a third one, value by value.
Combine = Callable[..., Instruction]
_LEAST = np.full((), -FLT_MAX, np.float32)


class _Windows:
    """The windows of a pooling along both axes, over a map with values around it.

    fill: the calls that put the map between these values.
    """

    def __init__(self, layer: object, x: np.ndarray, size: tuple[int, int], around: float) -> None:
        self._kernel = tuple(layer.kernel or x.shape[2:])  # type: ignore[attr-defined]
        self._stride, pad = layer.stride, layer.pad  # type: ignore[attr-defined]
        self._size, self._pad, self._shape = size, pad, x.shape[2:]
        axes = zip(size, self._stride, self._kernel)
        ends = [(o - 1) * s + k for o, s, k in axes]
        self.fill: list[Call] = []
        self._map = x
        if any(pad) or any(end > n for end, n in zip(ends, x.shape[2:])):
            shape = [max(end, n + p) for end, n, p in zip(ends, x.shape[2:], pad)]
            self._map = scratch(*x.shape[:2], *shape)
            self._map[...] = around
            self.fill.append(ops.copy(x, self._inner(self._map)))

    def fold(self, combine: Combine, y: np.ndarray) -> list[Call]:
        """Return the calls that combine the values of each window, rows before columns."""
        (oh, ow), (kh, kw), (sh, sw) = self._size, self._kernel, self._stride
        padded = self._map
        lines = scratch(*padded.shape[:2], oh, padded.shape[3])
        parts = [padded[:, :, i : i + (oh - 1) * sh + 1 : sh] for i in range(kh)]
        calls = _fold(combine, parts, lines)
        parts = [lines[:, :, :, j : j + (ow - 1) * sw + 1 : sw] for j in range(kw)]
        return calls + _fold(combine, parts, y)

    def spread(self, y: np.ndarray, x: np.ndarray) -> list[Call]:
        """Return the calls that write to x, for each of its values, the sum of its windows' y."""
        (oh, ow), (kh, kw), (sh, sw) = self._size, self._kernel, self._stride
        padded = scratch(*self._map.shape) if self.fill else x
        lines = scratch(*padded.shape[:2], oh, padded.shape[3])
        calls: list[Call] = [ops.fill(lines, 0), ops.fill(padded, 0)]
        for j in range(kw):
            part = lines[:, :, :, j : j + (ow - 1) * sw + 1 : sw]
            calls.append(ops.add(part, y, part))
        for i in range(kh):
            part = padded[:, :, i : i + (oh - 1) * sh + 1 : sh]
            calls.append(ops.add(part, lines, part))
        if padded is not x:
            calls.append(ops.copy(self._inner(padded), x))
        return calls

    def _inner(self, padded: np.ndarray) -> np.ndarray:
        """Return the view of the map within the values around it."""
        (h, w), (top, left) = self._shape, self._pad
        return padded[:, :, top : top + h, left : left + w]


def _fold(combine: Combine, parts: list[np.ndarray], out: np.ndarray) -> list[Call]:
    """Return the calls that combine arrays of equal shape to `out`."""
    if len(parts) == 1:
        return [ops.copy(parts[0], out)]
    calls: list[Call] = [combine(parts[0], parts[1], out)]
    return calls + [combine(out, part, out) for part in parts[2:]]


def pooling(site: Site) -> Calls | None:
    """The maximum or the mean of each window of 2-d maps, without a top of indices."""
    layer, (x,) = site.layer, site.x
    plain = set(layer.dilation) == {1} and not layer.stochastic and not layer.with_mask
    if x.ndim != 4 or not plain:
        return None
    return _maxima(site) if layer.maximum else _means(site)


def _maxima(site: Site) -> Calls | None:
    """Return the calls of max pooling, with BVLC Caffe's maxima of NaN and infinity."""
    layer, (x,), (y,), (dx,), (dy,) = site.layer, site.x, site.y, site.dx, site.dy
    if dx is None or dy is None:
        windows = _Windows(layer, x, y.shape[2:], -FLT_MAX)
        folded = windows.fold(ops.fmax, y)
        return Calls([*windows.fill, *folded, ops.fmax(y, _LEAST, y)], [])
    kernel = tuple(layer.kernel or x.shape[2:])
    if not layer.rounds_as_pytorch(x.shape[2:], kernel, y.shape[2:]):
        return None
    settings = kernel, layer.stride, layer.pad, layer.dilation, layer.ceil
    bottom, maxima = tensor(x), tensor(y)
    places = torch.empty(y.shape, dtype=torch.int64)
    find, spread = _ATEN.max_pool2d_with_indices, _ATEN.max_pool2d_with_indices_backward

    def find_maxima() -> None:
        find.out(bottom, *settings, out=maxima, indices=places)
        if not math.isfinite(float(maxima.sum())):
            comparable = without_nan(bottom)
            find.out(comparable, *settings, out=maxima, indices=places)

    call = partial(spread.grad_input, tensor(dy), bottom, *settings, places, grad_input=tensor(dx))
    sizes = [x.shape[0] * x.shape[1], *x.shape[2:], *y.shape[2:]]
    planes = [sizes[0], math.prod(x.shape[2:]), math.prod(y.shape[2:])]
    where = [address(x), 0, address(y), places.data_ptr()]
    back = [address(dy), 0, address(dx), places.data_ptr()]
    steps = [[*kernel, *layer.stride, *layer.pad]]
    forward = ops.of_call(find_maxima, lambda: [Record(Code.MAX_POOL, sizes, where, steps)])
    backward = ops.of_call(call, lambda: [Record(Code.MAX_POOL_GRADIENT, planes, back)])
    return Calls([forward], [backward])


def _means(site: Site) -> Calls:
    """Return the calls of mean pooling."""
    layer, (x,), (y,), (dx,), (dy,) = site.layer, site.x, site.y, site.dx, site.dy
    kernel = tuple(layer.kernel or x.shape[2:])
    areas = layer.areas(x.shape[2:], kernel, y.shape[2:], torch.device("cpu"))
    divisors = areas.numpy().astype(np.float32)
    windows = _Windows(layer, x, y.shape[2:], 0)
    if kernel == x.shape[2:] and y.shape[2:] == (1, 1) and not windows.fill:
        maps = x.reshape(-1, math.prod(kernel))
        forward: list[Call] = [ops.row_sums(maps, y.reshape(-1))]
    else:
        forward = [*windows.fill, *windows.fold(ops.add, y)]
    forward.append(ops.divide(y, divisors, y))
    if dx is None or dy is None:
        return Calls(forward, [])
    shares = scratch(*y.shape)
    return Calls(forward, [ops.divide(dy, divisors, shares), *windows.spread(shares, dx)])
