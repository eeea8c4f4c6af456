"""Maxima and means of windows by the C library, without a gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..native import library
from ..native.structures import POOLING
from . import jobs


def is_usable(channels: int, x: torch.Tensor | None = None) -> bool:
    """Return whether the library computes the maxima of maps with so many channels.

    x: a map that is on the CPU, float32 or bfloat16, and records no gradient if this is true.
    """
    if x is not None:
        learns = torch.is_grad_enabled() and x.requires_grad
        if learns or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
            return False
    return jobs.is_usable(channels)


class Maxima:
    """The maxima of windows of maps of one shape and type, without a gradient.

    A maximum is as Caffe finds it: a NaN is never the maximum. shape: N x C x H x W, for whose
    channels `is_usable` is true. size: of the result. kernel, stride, pad: (vertical, horizontal).
    Positions outside of the map do not count, and the least finite value is the maximum of none.
    dtype: float32 or bfloat16; maps of another type are converted to it.

    function, scratch_values, x_offsets, layout: as in `jobs.Convolution`.
    """

    scratch_values = 0
    layout = torch.channels_last

    def __init__(
        self,
        shape: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int],
        size: Sequence[int],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        native = library.load()
        assert native is not None
        self._run, self.function = native.pooling, library.address_of(native.pooling)
        self._y_shape = *shape[:2], *size
        self.dtype, self._threads = dtype, 0
        fields = np.zeros((), POOLING)
        fields["channels"], fields["height"], fields["width"] = shape[1:]
        fields["y_height"], fields["y_width"] = size
        fields["high"], fields["wide"] = kernel
        fields["down"], fields["across"] = stride
        fields["top"], fields["left"] = pad
        fields["low"] = dtype == torch.bfloat16
        self._fields = fields

    def jobs(self) -> np.ndarray:
        """Return the table of jobs, one for each thread, without the addresses of maps."""
        if self._threads != torch.get_num_threads():
            self._threads = torch.get_num_threads()
            self._table = np.full(self._threads, self._fields)
            cuts = jobs.cuts(self._y_shape[0] * self._y_shape[2], self._threads)
            self._table["first_row"], self._table["end_row"] = cuts[:-1], cuts[1:]
            self.x_offsets = np.zeros(self._threads, np.uint64)
        return self._table

    def bottom(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map as the library reads it."""
        return jobs.arranged(x, torch.channels_last, self.dtype)

    addend = bottom

    def empty_top(self) -> torch.Tensor:
        """Return memory for the result."""
        return torch.empty(self._y_shape, dtype=self.dtype, memory_format=torch.channels_last)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the maxima of the windows of x."""
        table = self.jobs()
        x, y = self.bottom(x), self.empty_top()
        table["x"], table["y"] = x.data_ptr(), y.data_ptr()
        self._run(table.ctypes.data, len(table), jobs.team(len(table), 0))
        return y


class Means(Maxima):
    """The means of windows of float32 maps, as `Maxima`.

    counts_padding: whether the padding counts; what lies beyond never does.
    """

    def __init__(
        self,
        shape: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int],
        size: Sequence[int],
        counts_padding: bool = True,
    ) -> None:
        super().__init__(shape, kernel, stride, pad, size)
        self._fields["means"] = 1 if counts_padding else 2


def maxima(
    x: torch.Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    size: Sequence[int],
) -> torch.Tensor:
    """Return the maximum of each window of x, for which `is_usable` is true, as `Maxima`."""
    return Maxima(x.shape, kernel, stride, pad, size, x.dtype)(x)
