"""Winograd's algorithm for kernels of 3 x 3 to 8 x 8, all steps in one call of the C library.

winograd.py has the algorithm and its source, native/winograd.c the order of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ..native import library
from ..native.records import PANEL
from ..native.structures import CONVOLUTION, PART, WIDE
from . import jobs

# Seconds, measured on one machine, of one thread: for a multiplication of a product of coordinates,
# for a change of basis of a tile's channel and of a kernel, and for a call.
PRODUCT, TILE_BASIS, KERNEL_BASIS, CALL = 1 / 50e9, 7e-9, 3.3e-9, 20e-6
#: Seconds likewise for a multiplication of oneDNN's convolution of maps of these types.
PLAIN = {torch.float32: 1 / 52e9, torch.bfloat16: 1 / 112e9}
#: The most values of the tiles' and of the kernels' coordinates in a job's memory.
TILE_VALUES, KERNEL_VALUES = 1 << 20, 5 << 17
#: Coordinates of a tile or of a piece of a kernel.
POINTS = 36


class Pieces(NamedTuple):
    """Into how many pieces kernels are cut; a tile of a piece has side x side outputs."""

    number: int
    side: int


#: By the side of a kernel. Pieces are 3 x 3 or 4 x 4, and filled up with zeros.
PIECES = {
    3: Pieces(1, 4),
    4: Pieces(1, 3),
    5: Pieces(4, 4),
    6: Pieces(4, 4),
    7: Pieces(4, 3),
    8: Pieces(4, 3),
}


def is_usable(weights: Sequence[int], groups: int = 1) -> bool:
    """Return whether the library convolves with weights of this shape, K x C / groups x kh x kw."""
    is_square = weights[2] == weights[3] and weights[2] in PIECES
    return is_square and weights[1] % PANEL == 0 and jobs.is_usable(weights[0], groups)


def saved_time(
    shape: Sequence[int], weights: Sequence[int], pad: Sequence[int], dtype: torch.dtype
) -> float:
    """Return by how many seconds the algorithm is faster than oneDNN's convolution with stride 1.

    shape, dtype: of the map, N x C x H x W, float32 or bfloat16. weights: K x C / groups x kh x kw.
    """
    outputs, channels, kernel = weights[:3]
    pieces = PIECES[kernel].number
    positions = shape[0] * math.prod(n + 2 * p - kernel + 1 for n, p in zip(shape[2:], pad))
    count = shape[0] * math.prod(tiles(shape, pad, kernel))
    rows, columns = jobs.largest(jobs.divide(count, outputs, torch.get_num_threads()))
    estimate = CALL + KERNEL_BASIS * columns * pieces * channels
    products = PRODUCT * POINTS * pieces * channels * columns
    estimate += rows * (TILE_BASIS * (pieces * shape[1] + columns) + products)
    plain = PLAIN[dtype] * kernel**2 * positions * channels * outputs / torch.get_num_threads()
    return plain - estimate


def tiles(shape: Sequence[int], pad: Sequence[int], kernel: int = 3) -> tuple[int, int]:
    """Return how many tiles cover the outputs of an image, down and across.

    kernel: the side of the kernels.
    """
    side = PIECES[kernel].side
    down, across = (-(-(n + 2 * p - kernel + 1) // side) for n, p in zip(shape[2:], pad))
    return down, across


class Convolution(jobs.Convolution):
    """The convolution with stride 1 of maps of one shape, without a gradient.

    shape: N x C x H x W. w: K x C / groups x kh x kw, of which `is_usable` is true, float32 or
    bfloat16. b: K values, or None. pad: (height, width). slope: that of negative results in a ReLU
    that follows, or None. dtype: of the maps, float32 or bfloat16. exact: whether outputs next to
    much larger inputs are as exact as others, and outputs of zeros are zero; gradients need this.
    """

    def __init__(
        self,
        shape: Sequence[int],
        w: torch.Tensor,
        b: torch.Tensor | None,
        pad: Sequence[int],
        slope: float | None = None,
        dtype: torch.dtype = torch.float32,
        exact: bool = False,
    ) -> None:
        native = library.required()
        self._pad, self._scratch_values = tuple(pad), native.winograd_scratch
        self._kernel = w.shape[2]
        size = (n + 2 * p - self._kernel + 1 for n, p in zip(shape[2:], pad))
        y_shape = shape[0], w.shape[0], *size
        w = w.contiguous()
        self._constants = {
            "kernel": self._kernel,
            "low_maps": dtype == torch.bfloat16,
            "low_weights": w.dtype == torch.bfloat16,
            "exact": exact,
        }
        groups = shape[1] // w.shape[1]
        super().__init__(native.winograd, CONVOLUTION, shape, y_shape, w, b, slope, dtype, groups)

    def rows(self) -> int:
        return self.shape[0] * math.prod(tiles(self.shape, self._pad, self._kernel))

    def settings(self, rows: int, outputs: int) -> tuple[Mapping[str, Any], int]:
        channels, width, pieces = self._w.shape[1], WIDE * PANEL, PIECES[self._kernel].number
        depth = channels * pieces
        most = max(1, TILE_VALUES // (POINTS * (depth + PANEL)))
        block = min(rows, -(-most // PART) * PART)
        most = max(1, KERNEL_VALUES // (POINTS * (depth + 1) * width))
        group = min(-(-outputs // width), most) * width
        if pieces > 1 and rows <= WIDE * PART:
            block = rows
        fields = {"top": self._pad[0], "left": self._pad[1], "block": block, "group": group}
        values = self._scratch_values(channels, self._kernel, block, group)
        return {**fields, **self._constants}, values
