"""Depthwise convolutions, with the sum and the ReLU that follow, in one call of the C library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..native import library
from ..native.structures import DEPTHWISE
from . import jobs

#: The kernels and the horizontal strides for which depthwise.c is compiled.
KERNELS, STRIDES = (3, 5), (1, 2)
#: The most positions of a result. Larger maps have few channels; graphs of oneDNN compute them, and
#: the 1 x 1 convolutions between them, faster.
MOST_POSITIONS = 112 * 112


def is_usable(weights: Sequence[int], stride: Sequence[int], positions: int) -> bool:
    """Return whether the library computes a depthwise convolution fastest.

    weights: the shape of the weights. positions: the number of positions of the result.
    """
    kernel, is_wide = tuple(weights[2:]), weights[0] >= jobs.PANEL
    is_square = len(set(kernel)) == 1 and kernel[0] in KERNELS
    fits = is_square and stride[1] in STRIDES and jobs.is_usable()
    return fits and is_wide and positions <= MOST_POSITIONS


class Convolution(jobs.Convolution):
    """The convolution of each channel of float32 maps of one shape, without a gradient.

    shape: N x C x H x W. w: C x 1 x k x k, for which `is_usable` is true; copied. b: C values, or
    None. stride, pad: (vertical, horizontal). slope: that of negative results in a ReLU that
    follows, or None.
    """

    enough = 7

    def __init__(
        self,
        shape: Sequence[int],
        w: torch.Tensor,
        b: torch.Tensor | None,
        stride: Sequence[int],
        pad: Sequence[int],
        slope: float | None = None,
    ) -> None:
        kernel, run = w.shape[2], library.required().depthwise
        self._geometry = dict(
            zip(("down", "across", "top", "left"), (*stride, *pad)), kernel=kernel
        )
        sizes = ((n + 2 * p - kernel) // s + 1 for n, s, p in zip(shape[2:], stride, pad))
        kernels = w.reshape(shape[1], kernel * kernel).t().contiguous()
        y_shape = shape[0], shape[1], *sizes
        super().__init__(run, DEPTHWISE, shape, y_shape, kernels, b, slope)

    def vertical(self) -> tuple[int, int, int]:
        """Return the stride, the size and the padding of the window, vertically."""
        return self._geometry["down"], self._geometry["kernel"], self._geometry["top"]

    def rows(self) -> int:
        return self.y_shape[0] * self.y_shape[2]

    def settings(self, rows: int, outputs: int) -> tuple[Mapping[str, Any], int]:
        return self._geometry, self.shape[1]
