"""1 x 1 convolutions with all that follows them, in one call of the C library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..native import library
from ..native.convolution import PANEL, POINTWISE
from . import jobs
from .rooms import Rooms

#: The most values of a block of positions, which stay in a core's own cache, and its least
#: positions.
BLOCK_VALUES, BLOCK = 1 << 16, 24

_room = Rooms()


class Convolution:
    """The 1 x 1 convolution of float32 maps of one shape, without a gradient.

    shape: N x C x H x W. w: K x C x 1 x 1, for whose outputs `jobs.is_usable` is true; copied.
    b: K values, or None. stride: (vertical, horizontal). slope: that of negative results in a ReLU
    that follows, or None.
    """

    def __init__(
        self,
        shape: Sequence[int],
        w: torch.Tensor,
        b: torch.Tensor | None,
        stride: Sequence[int],
        slope: float | None = None,
    ) -> None:
        native = library.load()
        assert native is not None
        self._convolve = native.pointwise
        outputs, channels = w.shape[:2]
        panels = w.reshape(outputs // PANEL, PANEL, channels)
        self._w = panels.transpose(1, 2).contiguous()
        self._b = None if b is None else b.contiguous()
        self._shape, self._stride = tuple(shape), tuple(stride)
        self._y_shape = shape[0], outputs, *((n - 1) // s + 1 for n, s in zip(shape[2:], stride))
        self._slope = 1.0 if slope is None else slope
        self._threads = 0
        self._plan_jobs()

    def _plan_jobs(self) -> None:
        """Divide the work among the threads."""
        self._threads = torch.get_num_threads()
        images, outputs, height, width = self._y_shape
        channels = self._shape[1]
        parts = jobs.divide(images * height * width, outputs, self._threads)
        table = np.zeros(len(parts), POINTWISE)
        table["w"] = self._w.data_ptr()
        table["b"] = 0 if self._b is None else self._b.data_ptr()
        table["height"], table["width"] = self._shape[2:]
        table["channels"], table["outputs"] = channels, outputs
        table["y_height"], table["y_width"] = height, width
        table["down"], table["across"] = self._stride
        names = "first_position", "end_position", "first_output", "end_output"
        for name, values in zip(names, zip(*parts)):
            table[name] = values
        block = max(BLOCK, BLOCK_VALUES // channels)
        strided = set(self._stride) != {1}
        table["block"], table["slope"], table["strided"] = block, self._slope, strided
        self._step = -(-block * channels // 1024) * 1024 if strided else 0
        self._table, self._address = table, table.ctypes.data
        self._offsets = 4 * self._step * np.arange(len(parts), dtype=np.uint64)

    def __call__(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        """Return the convolution of x. other: a map that is added before the ReLU."""
        if self._threads != torch.get_num_threads():
            self._plan_jobs()
        x = x.contiguous(memory_format=torch.channels_last)
        y = torch.empty(self._y_shape, memory_format=torch.channels_last)
        table = self._table
        table["x"], table["y"] = x.data_ptr(), y.data_ptr()
        if other is not None:
            other = other.contiguous(memory_format=torch.channels_last)
            table["other"] = other.data_ptr()
        if self._step:
            scratch = _room("jobs", self._step * len(table))
            table["scratch"] = scratch.data_ptr() + self._offsets
        self._convolve(self._address, len(table), jobs.openmp())
        return y
