"""Convolutions of few planes, such as those of images, in one call of the C library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..native import library
from ..native.structures import IMAGE
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


class Convolution(jobs.Convolution):
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
        kernel, run = w.shape[2], library.required().image
        self._geometry = dict(
            zip(("down", "across", "top", "left"), (*stride, *pad)), kernel=kernel
        )
        sizes = [(n + 2 * p - kernel) // s + 1 for n, s, p in zip(shape[2:], stride, pad)]
        columns = (sizes[1] - 1) * stride[1] + kernel
        self._values = shape[1] * kernel * columns
        super().__init__(
            run, IMAGE, shape, (shape[0], w.shape[0], *sizes), *jobs.panels(w, b), slope
        )

    def vertical(self) -> tuple[int, int, int]:
        """Return the stride, the size and the padding of the window, vertically."""
        return self._geometry["down"], self._geometry["kernel"], self._geometry["top"]

    def rows(self) -> int:
        return self.y_shape[0] * self.y_shape[2]

    def settings(self, rows: int, outputs: int) -> tuple[Mapping[str, Any], int]:
        return self._geometry, self._values
