"""Convolutions of few planes, such as those of images, in one call of the C library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..native import library
from . import jobs

#: The most planes, and the most results of a convolution with stride 1, of which oneDNN computes
#: more faster.
MOST_PLANES, MOST_RESULTS = 4, 1 << 18


def is_usable(weights: Sequence[int], stride: Sequence[int], positions: int) -> bool:
    """Return whether the library computes a convolution with weights of this shape fastest.

    positions: the number of positions of the result.
    """
    pays = max(stride) > 1 or positions * weights[0] <= MOST_RESULTS
    is_square = weights[2] == weights[3]
    return (
        pays
        and weights[0] >= jobs.PANEL
        and is_square
        and weights[1] <= MOST_PLANES
        and jobs.is_usable()
    )


class Convolution(jobs.Windowed):
    """The convolution of float32 images of one shape, without a gradient.

    shape: N x C x H x W. w: K x C x k x k, for which `is_usable` is true; copied. b: K values, or
    None. stride, pad: (vertical, horizontal). slope: that of negative results in a ReLU that
    follows, or None.
    """

    layout = torch.contiguous_format
    enough = 1

    def __init__(
        self,
        shape: Sequence[int],
        w: torch.Tensor,
        b: torch.Tensor | None,
        stride: Sequence[int],
        pad: Sequence[int],
        slope: float | None = None,
    ) -> None:
        run, (kernels, biases) = library.required().image, jobs.panels(w, b)
        super().__init__(run, shape, w.shape, kernels, biases, stride, pad, slope)

    def settings(self, rows: int, outputs: int) -> tuple[Mapping[str, Any], int]:
        kernel = self._window["kernel"]
        columns = (self.y_shape[3] - 1) * self._window["across"] + kernel
        return self._window, self.shape[1] * kernel * columns
