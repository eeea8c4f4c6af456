"""Maxima and means of windows by the C library, without a gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..native import library
from ..native.structures import POOLING
from . import jobs


def is_usable(channels: int, x: torch.Tensor | None = None) -> bool:
    """Return whether the library computes the maxima of maps with this number of channels.

    x: a map. If named, it must lie on the CPU, be float32 or bfloat16, and need no gradient.
    """
    if x is not None:
        learns = torch.is_grad_enabled() and x.requires_grad
        if learns or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
            return False
    return jobs.is_usable(channels)


class Maxima(jobs.Operation):
    """The maxima of windows of maps of one shape and type, without a gradient.

    As in Caffe, a NaN is never the maximum, and positions outside the map do not count. The maximum
    of a window without values is the least finite number.

    shape: N x C x H x W; `is_usable` must be true for C. size: of the result. kernel, stride, pad:
    (vertical, horizontal). dtype: float32 or bfloat16; maps of another type are converted.
    """

    #: The field `means` of the structure: which positions a mean counts; 0 for maxima.
    means = 0

    def __init__(
        self,
        shape: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int],
        size: Sequence[int],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        fields = {
            **dict(zip(("channels", "height", "width"), shape[1:])),
            **dict(zip(("y_height", "y_width"), size)),
            **dict(zip(("high", "wide"), kernel)),
            **dict(zip(("down", "across"), stride)),
            **dict(zip(("top", "left"), pad)),
            "low": dtype == torch.bfloat16,
            "means": self.means,
        }
        y_shape = *shape[:2], *size
        super().__init__(library.required().pooling, POOLING, y_shape, fields, dtype)

    def rows(self) -> int:
        return self.y_shape[0] * self.y_shape[2]


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
        self.means = 1 if counts_padding else 2
        super().__init__(shape, kernel, stride, pad, size)


def maxima(
    x: torch.Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    size: Sequence[int],
) -> torch.Tensor:
    """Return the maximum of each window of x, for which `is_usable` is true, as `Maxima`."""
    return Maxima(x.shape, kernel, stride, pad, size, x.dtype)(x)
