"""1 x 1 convolutions, with the sum and the ReLU that follow, in one call of the C library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..native import library
from ..native.structures import POINTWISE
from . import jobs

#: The most values of a block of positions, which stay in a core's own cache, and its least
#: positions.
BLOCK_VALUES, BLOCK = 1 << 16, 24
#: Values of positions up to which they are one block, so that the weights are read once.
SMALL_VALUES = 1 << 17


class Convolution(jobs.Convolution):
    """The 1 x 1 convolution of float32 maps of one shape, without a gradient.

    `jobs.is_usable()` must be true. shape: N x C x H x W. w: K x C x 1 x 1; copied.
    b: K values, or None. stride: (vertical, horizontal). slope: that of negative results in a ReLU
    that follows, or None.
    """

    enough = 48

    def __init__(
        self,
        shape: Sequence[int],
        w: torch.Tensor,
        b: torch.Tensor | None,
        stride: Sequence[int],
        slope: float | None = None,
    ) -> None:
        self._stride, run = tuple(stride), library.required().pointwise
        y_shape = shape[0], w.shape[0], *((n - 1) // s + 1 for n, s in zip(shape[2:], stride))
        super().__init__(run, POINTWISE, shape, y_shape, *jobs.panels(w, b), slope)

    @property
    def is_strided(self) -> bool:
        """Whether the convolution leaves out positions."""
        return set(self._stride) != {1}

    def vertical(self) -> tuple[int, int, int]:
        """Return the stride, the size and the padding of the window, vertically."""
        return self._stride[0], 1, 0

    def rows(self) -> int:
        images, _, height, width = self.y_shape
        return images * height * width

    def settings(self, rows: int, outputs: int) -> tuple[Mapping[str, Any], int]:
        channels = self.shape[1]
        block, strided = max(BLOCK, BLOCK_VALUES // channels), self.is_strided
        if rows * channels <= SMALL_VALUES:
            block = max(block, rows)
        down, across = self._stride
        fields = {"down": down, "across": across, "block": block, "strided": strided}
        return fields, block * channels if strided else 0
