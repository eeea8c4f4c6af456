"""Winograd's algorithm for 3 x 3 convolutions, all steps in one call of the C library.

winograd.py has the algorithm and its source, native/winograd.c the order of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

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
#: Coordinates of a tile or a kernel.
POINTS = 36


def is_usable(weights: Sequence[int], groups: int = 1) -> bool:
    """Return whether the library convolves with weights of this shape, K x C / groups x 3 x 3."""
    return weights[1] % PANEL == 0 and jobs.is_usable(weights[0], groups)


def saved_time(
    shape: Sequence[int], weights: Sequence[int], pad: Sequence[int], dtype: torch.dtype
) -> float:
    """Return by how many seconds the algorithm is faster than oneDNN's convolution with stride 1.

    shape, dtype: of the map, N x C x H x W, float32 or bfloat16. weights: K x C / groups x 3 x 3.
    """
    outputs, channels = weights[:2]
    positions = shape[0] * math.prod(n + 2 * p - 2 for n, p in zip(shape[2:], pad))
    count = shape[0] * math.prod(tiles(shape, pad))
    rows, columns = jobs.largest(jobs.divide(count, outputs, torch.get_num_threads()))
    estimate = CALL + KERNEL_BASIS * columns * channels
    estimate += rows * (TILE_BASIS * (shape[1] + columns) + PRODUCT * POINTS * channels * columns)
    plain = PLAIN[dtype] * 9 * positions * channels * outputs / torch.get_num_threads()
    return plain - estimate


def tiles(shape: Sequence[int], pad: Sequence[int]) -> tuple[int, int]:
    """Return how many tiles of 4 x 4 cover the outputs of an image, down and across."""
    down, across = (-(-(n + 2 * p - 2) // 4) for n, p in zip(shape[2:], pad))
    return down, across


class Convolution(jobs.Convolution):
    """The convolution with stride 1 of maps of one shape, without a gradient.

    shape: N x C x H x W. w: K x C / groups x 3 x 3, of which `is_usable` is true, float32 or
    bfloat16. b: K values, or None. pad: (height, width). slope: that of negative results in a ReLU
    that follows, or None. dtype: of the maps, float32 or bfloat16. exact: whether outputs are as
    exact beside much larger inputs as elsewhere, and zero beside zeros, as gradients need.
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
        native = library.load()
        assert native is not None
        self._pad, self._scratch_values = tuple(pad), native.winograd_scratch
        y_shape = shape[0], w.shape[0], *(n + 2 * p - 2 for n, p in zip(shape[2:], pad))
        w = w.contiguous()
        self._fields = {
            "low_maps": dtype == torch.bfloat16,
            "low_weights": w.dtype == torch.bfloat16,
            "exact": exact,
        }
        groups = shape[1] // w.shape[1]
        super().__init__(native.winograd, CONVOLUTION, shape, y_shape, w, b, slope, dtype, groups)

    def rows(self) -> int:
        return self.shape[0] * math.prod(tiles(self.shape, self._pad))

    def settings(self, rows: int, outputs: int) -> tuple[Mapping[str, Any], int]:
        channels, width = self._w.shape[1], WIDE * PANEL
        most = max(1, TILE_VALUES // (POINTS * (channels + PANEL)))
        block = min(rows, -(-most // PART) * PART)
        most = max(1, KERNEL_VALUES // (POINTS * (channels + 1) * width))
        group = min(-(-outputs // width), most) * width
        fields = {"top": self._pad[0], "left": self._pad[1], "block": block, "group": group}
        return {**fields, **self._fields}, self._scratch_values(channels, block, group)

    def __call__(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor | None:
        """Return the convolution of x, or None where a result is not finite.

        other: a map that is added before the ReLU.
        """
        return self.compute(x, other)
