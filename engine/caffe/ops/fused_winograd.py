"""Winograd's algorithm for 3 x 3 convolutions, all steps in one call of the C library.

winograd.py has the algorithm and its source, native/winograd.c the order of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..native import library
from ..native.convolution import CONVOLUTION, PANEL, PART, WIDE
from . import jobs
from .rooms import Rooms

# Seconds, measured on one machine, of one thread: for a multiplication of a plain convolution and
# of a product of coordinates, for a change of basis of a tile's channel and of a kernel, and for a
# call.
PLAIN, PRODUCT, TILE_BASIS, KERNEL_BASIS, CALL = 1 / 52e9, 1 / 55e9, 7e-9, 4.5e-9, 20e-6
#: The most values of the tiles' and of the kernels' coordinates in a job's memory.
TILE_VALUES, KERNEL_VALUES = 1 << 20, 5 << 17
#: Coordinates of a tile or a kernel.
POINTS = 36

_room = Rooms()


def is_usable(weights: Sequence[int]) -> bool:
    """Return whether the library computes convolutions with these weights, K x C x 3 x 3."""
    return weights[1] % PANEL == 0 and jobs.is_usable(weights[0])


def pays_for(shape: Sequence[int], weights: Sequence[int], pad: Sequence[int]) -> bool:
    """Return whether the algorithm is faster than oneDNN's convolution with stride 1.

    shape: of the map, N x C x H x W.
    """
    outputs, channels = weights[:2]
    positions = shape[0] * math.prod(n + 2 * p - 2 for n, p in zip(shape[2:], pad))
    tiles, columns = jobs.largest(jobs.divide(_tiles(shape, pad), outputs, torch.get_num_threads()))
    estimate = CALL + KERNEL_BASIS * columns * channels
    estimate += tiles * (TILE_BASIS * (channels + columns) + PRODUCT * POINTS * channels * columns)
    return estimate < PLAIN * 9 * positions * channels * outputs / torch.get_num_threads()


def _tiles(shape: Sequence[int], pad: Sequence[int]) -> int:
    """Return how many tiles of 4 x 4 outputs a map of this shape has."""
    return shape[0] * math.prod(-(-(n + 2 * p - 2) // 4) for n, p in zip(shape[2:], pad))


class Convolution:
    """The convolution with stride 1 of float32 maps of one shape, without a gradient.

    shape: N x C x H x W. w: K x C x 3 x 3, of which `is_usable` is true. b: K values, or None.
    pad: (height, width). slope: that of negative results in a ReLU that follows, or None.
    """

    def __init__(
        self,
        shape: Sequence[int],
        w: torch.Tensor,
        b: torch.Tensor | None,
        pad: Sequence[int],
        slope: float | None = None,
    ) -> None:
        native = library.load()
        assert native is not None
        self._convolve, self._scratch_values = native.winograd, native.winograd_scratch
        self._w, self._b = w.contiguous(), None if b is None else b.contiguous()
        self._shape = tuple(shape)
        self._y_shape = shape[0], w.shape[0], *(n + 2 * p - 2 for n, p in zip(shape[2:], pad))
        self._pad, self._slope = tuple(pad), 1.0 if slope is None else slope
        self._threads = 0
        self._plan_jobs()

    def _plan_jobs(self) -> None:
        """Divide the work among the threads."""
        self._threads = torch.get_num_threads()
        outputs, channels = self._w.shape[:2]
        parts = jobs.divide(_tiles(self._shape, self._pad), outputs, self._threads)
        tiles, columns = jobs.largest(parts)
        most = max(1, TILE_VALUES // (POINTS * (channels + PANEL)))
        block = min(tiles, -(-most // PART) * PART)
        width = WIDE * PANEL
        most = max(1, KERNEL_VALUES // (POINTS * (channels + 1) * width))
        group = min(-(-columns // width), most) * width
        table = np.zeros(len(parts), CONVOLUTION)
        table["w"] = self._w.data_ptr()
        table["b"] = 0 if self._b is None else self._b.data_ptr()
        table["height"], table["width"] = self._shape[2:]
        table["channels"], table["outputs"] = channels, outputs
        table["y_height"], table["y_width"] = self._y_shape[2:]
        table["top"], table["left"] = self._pad
        names = "first_tile", "end_tile", "first_output", "end_output"
        for name, values in zip(names, zip(*parts)):
            table[name] = values
        table["block"], table["group"], table["slope"] = block, group, self._slope
        # Each job's memory begins at a page of its own.
        self._step = -(-self._scratch_values(channels, block, group) // 1024) * 1024
        self._table, self._address = table, table.ctypes.data
        self._offsets = 4 * self._step * np.arange(len(parts), dtype=np.uint64)

    def __call__(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor | None:
        """Return the convolution of x, or None where a result is not finite.

        other: a map that is added before the ReLU.
        """
        if self._threads != torch.get_num_threads():
            self._plan_jobs()
        x = x.contiguous(memory_format=torch.channels_last)
        y = torch.empty(self._y_shape, memory_format=torch.channels_last)
        table = self._table
        table["x"], table["y"] = x.data_ptr(), y.data_ptr()
        if other is not None:
            other = other.contiguous(memory_format=torch.channels_last)
            table["other"] = other.data_ptr()
        scratch = _room("jobs", self._step * len(table))
        table["scratch"] = scratch.data_ptr() + self._offsets
        self._convolve(self._address, len(table), jobs.openmp())
        return y if table["finite"].all() else None
