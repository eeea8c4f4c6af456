"""Maxima of windows by the C library, without a gradient."""

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


def maxima(
    x: torch.Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    size: Sequence[int],
) -> torch.Tensor:
    """Return the maximum of each window, as Caffe finds it: a NaN is never the maximum.

    x: N x C x H x W, for which `is_usable` is true; the result is N x C x size. Positions outside
    of the map do not count, and the least finite value is the maximum of none.
    """
    native = library.load()
    assert native is not None
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.empty(*x.shape[:2], *size, dtype=x.dtype, memory_format=torch.channels_last)
    rows, count = x.shape[0] * size[0], torch.get_num_threads()
    table = np.zeros(count, POOLING)
    table["x"], table["y"] = x.data_ptr(), y.data_ptr()
    table["channels"], table["height"], table["width"] = x.shape[1:]
    table["y_height"], table["y_width"] = size
    table["high"], table["wide"] = kernel
    table["down"], table["across"] = stride
    table["top"], table["left"] = pad
    cuts = jobs.cuts(rows, count)
    table["first_row"], table["end_row"] = cuts[:-1], cuts[1:]
    table["low"] = x.dtype == torch.bfloat16
    native.pooling(table.ctypes.data, count, jobs.team(count, 0))
    return y
