"""Convolution of small maps: a product of the weights and the patches of the map."""

from __future__ import annotations

import math
from functools import partial
from itertools import product as product_of

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided

from ..native import instructions as ops
from ..native.instructions import Instruction, product, products
from ..native.records import Record
from .site import Call, Calls, Site, flat_maps, scratch, tensor


class _Patches:
    """The patches of maps N x C x H x W under the kernel of a convolution, as a matrix.

    matrix: C * kh * kw x N * oh * ow. gather: the calls that fill the matrix from the maps.
    """

    def __init__(self, layer: object, x: np.ndarray, size: tuple[int, int]) -> None:
        self._kernel, self._pad = layer.kernel, layer.pad  # type: ignore[attr-defined]
        self._stride, self._dilation = layer.stride, layer.dilation  # type: ignore[attr-defined]
        self._x, self._size = x, size
        n, channels = x.shape[:2]
        self.gather: list[Call] = []
        padded = self._padded(x)
        if padded is not x:
            self.gather.append(ops.copy(x, self._inner(padded)))
        patches = scratch(channels, *self._kernel, n, *size)
        self.matrix = patches.reshape(channels * math.prod(self._kernel), -1)
        plain = not self.gather and set((*self._kernel, *self._stride)) == {1}
        if plain and n == 1:
            self.matrix = x.reshape(channels, -1)
        else:
            self.gather.append(ops.copy(self._windows(padded), patches))

    def _padded(self, x: np.ndarray) -> np.ndarray:
        """Return zeros of the size of x with its padding; x itself without padding."""
        if not any(self._pad):
            return x
        return scratch(*x.shape[:2], *(n + 2 * p for n, p in zip(x.shape[2:], self._pad)))

    def _inner(self, padded: np.ndarray) -> np.ndarray:
        """Return the view of the map within its padding."""
        (h, w), (top, left) = self._x.shape[2:], self._pad
        return padded[:, :, top : top + h, left : left + w]

    def _windows(self, padded: np.ndarray) -> np.ndarray:
        """Return the patches of maps as a view, C x kh x kw x N x oh x ow."""
        n, channels = padded.shape[:2]
        s = padded.strides
        steps = [a * b for a, b in zip(s[2:], self._dilation)]
        strides = [a * b for a, b in zip(s[2:], self._stride)]
        shape = (channels, *self._kernel, n, *self._size)
        return as_strided(padded, shape, (s[1], *steps, s[0], *strides))

    def scatter(self, by_patch: np.ndarray, dx: np.ndarray) -> Call:
        """Return the call that adds the gradients of all patches up to those of the maps.

        by_patch: N x C * kh * kw x oh * ow.
        """
        settings = self._kernel, self._dilation, self._pad, self._stride
        size = list(dx.shape[2:])
        add_up = torch.ops.aten.col2im.out
        call = partial(add_up, tensor(by_patch), size, *map(list, settings), out=tensor(dx))
        return ops.of_call(call, partial(self._scatter_records, by_patch, dx))

    def _scatter_records(self, by_patch: np.ndarray, dx: np.ndarray) -> list[Record]:
        """Return records that add to the gradients, or to those with the padding around them."""
        n, channels = dx.shape[:2]
        padded = self._padded(dx)
        (oh, ow), (sh, sw) = self._size, self._stride
        parts = by_patch.reshape(n, channels, *self._kernel, oh, ow)
        steps: list[Instruction] = [ops.fill(padded, 0)]
        for i, j in product_of(range(self._kernel[0]), range(self._kernel[1])):
            y, x = i * self._dilation[0], j * self._dilation[1]
            window = padded[:, :, y : y + (oh - 1) * sh + 1 : sh, x : x + (ow - 1) * sw + 1 : sw]
            steps.append(ops.add(window, parts[:, :, i, j], window))
        if padded is not dx:
            steps.append(ops.copy(self._inner(padded), dx))
        #: The records have the addresses of this array.
        self._gradients = padded
        return [record for step in steps for record in step.encode()]


def convolution(site: Site) -> Calls | None:
    """y = w * x + b, for 2-d kernels of one group and maps of one bottom."""
    layer = site.layer
    plain = layer.axis == 1 and len(layer.kernel) == 2 and layer.group == 1
    if not plain or len(site.x) != 1 or site.x[0].ndim != 4:
        return None
    (x,), (y,), (dy,) = site.x, site.y, site.dy
    if any(n + 2 * p < r for n, p, r in zip(x.shape[2:], layer.pad, layer.reach)):
        return None  # as in Caffe, such a kernel has a place, which reaches beyond the padding
    n, outputs = y.shape[:2]
    patches = _Patches(layer, x, y.shape[2:])
    w = site.w[0].reshape(outputs, -1)
    # In one image the product has the order of the top; of several, channels come first.
    by_channel = y.reshape(outputs, -1) if n == 1 else scratch(outputs, y.size // outputs)
    forward: list[Call] = [*patches.gather, product(w, patches.matrix, by_channel)]
    in_top_order = by_channel.reshape(outputs, n, *y.shape[2:]).swapaxes(0, 1)
    if len(site.w) > 1 and n == 1:
        maps, channels = flat_maps(y.shape)
        flat = y.reshape(maps)
        forward.append(ops.add(flat, site.w[1].reshape(channels), flat))
    elif len(site.w) > 1:
        forward.append(ops.add(in_top_order, site.w[1].reshape(-1, 1, 1), y))
    elif n > 1:
        forward.append(ops.copy(in_top_order, y))
    backward: list[Call] = []
    if dy is None:
        return Calls(forward, backward)
    if n == 1:
        dy_matrix = dy.reshape(outputs, -1)
    else:
        dy_matrix = scratch(*by_channel.shape)
        ordered = dy_matrix.reshape(outputs, n, *y.shape[2:])
        backward.append(ops.copy(dy.swapaxes(0, 1), ordered))
    (dx,), dw = site.dx, site.dw
    if dw[0] is not None:
        backward.append(product(dy_matrix, patches.matrix.T, dw[0].reshape(outputs, -1)))
    if len(dw) > 1 and dw[1] is not None:
        backward.append(ops.row_sums(dy_matrix, dw[1]))
    if dx is not None:
        by_patch = scratch(n, w.shape[1], dy_matrix.shape[1] // n)
        backward.append(products(w.T, dy.reshape(n, outputs, -1), by_patch))
        backward.append(patches.scatter(by_patch, dx))
    return Calls(forward, backward)
