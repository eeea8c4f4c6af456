"""1 x 1 convolutions, with the sum and the ReLU that follow, in one call of the C library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..native import library
from ..native.records import PANEL
from ..native.structures import POINTWISE
from . import jobs

#: The most values of a block of positions, which stay in a core's own cache, and its least
#: positions.
BLOCK_VALUES, BLOCK = 1 << 16, 24
#: Values of positions up to which they are one block, so that the weights are read once.
SMALL_VALUES = 1 << 17


class Convolution(jobs.Convolution):
    """The 1 x 1 convolution of float32 maps of one shape, without a gradient.

    shape: N x C x H x W. w: K x C x 1 x 1, for whose outputs `jobs.is_usable` is true; copied.
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
        outputs, channels = w.shape[:2]
        panels = w.reshape(outputs // PANEL, PANEL, channels).transpose(1, 2).contiguous()
        y_shape = shape[0], outputs, *((n - 1) // s + 1 for n, s in zip(shape[2:], stride))
        super().__init__(run, POINTWISE, shape, y_shape, panels, b, slope)

    def rows(self) -> int:
        images, _, height, width = self.y_shape
        return images * height * width

    def settings(self, rows: int, outputs: int) -> tuple[Mapping[str, Any], int]:
        channels = self.shape[1]
        block, strided = max(BLOCK, BLOCK_VALUES // channels), set(self._stride) != {1}
        if rows * channels <= SMALL_VALUES:
            block = max(block, rows)
        down, across = self._stride
        fields = {"down": down, "across": across, "block": block, "strided": strided}
        return fields, block * channels if strided else 0
