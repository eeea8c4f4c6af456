"""Depthwise convolutions, with the sum and the ReLU that follow, in one call of the C library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .. import large_pages
from ..native import library
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


class Convolution(jobs.Windowed):
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
        kernels = large_pages.copy(w.flatten(1).t())
        run = library.required().depthwise
        super().__init__(run, shape, w.shape, kernels, b, stride, pad, slope)

    def settings(self, rows: int, outputs: int) -> tuple[Mapping[str, Any], int]:
        return self._window, self.shape[1]
