"""7 x 7 convolutions with stride 2 of few planes, the first of many nets, in the C library.

The four maps of every second row and column are convolved with kernels of 4 x 4 by Winograd's
algorithm; native/stem.c has the steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..native import library
from ..native.records import PANEL
from ..native.structures import STEM
from . import jobs, winograd

#: The kernel, the stride, and the channels of images: gray or color.
KERNEL, STRIDE, CHANNELS = 7, 2, (1, 3)
#: Outputs of a tile along an axis.
SIDE = 3
#: Values of a kernel of every second row along an axis.
TAPS = 4


def is_usable(weights: Sequence[int], stride: Sequence[int], pad: Sequence[int]) -> bool:
    """Return whether the library computes a convolution with weights of this shape."""
    fits = tuple(weights[2:]) == (KERNEL, KERNEL) and tuple(stride) == (STRIDE, STRIDE)
    return fits and max(pad) < KERNEL and weights[1] in CHANNELS and jobs.is_usable(weights[0])


def coordinates(w: torch.Tensor) -> torch.Tensor:
    """Return kernels, K x C x 7 x 7, as stem.c reads them.

    The result is K / 16 x 6 coordinates across x 2 columns' parity x C x 2 rows' parity x
    6 coordinates down x 16.
    """
    w = F.pad(w.double(), (0, 1, 0, 1)).view(-1, PANEL, w.shape[1], TAPS, 2, TAPS, 2)
    basis = winograd.kernel_basis(TAPS)
    return torch.einsum("nkcparb,xr,yp->nxbcayk", w, basis, basis).float().contiguous()


class Convolution(jobs.Convolution):
    """The convolution of float32 images of one shape, without a gradient.

    shape: N x C x H x W. w: K x C x 7 x 7, of which `is_usable` is true; copied. b: K values, or
    None. pad: (height, width). slope: that of negative results in a ReLU that follows, or None.
    """

    layout = torch.contiguous_format
    enough = 1

    def __init__(
        self,
        shape: Sequence[int],
        w: torch.Tensor,
        b: torch.Tensor | None,
        pad: Sequence[int],
        slope: float | None = None,
    ) -> None:
        native = library.required()
        self._pad, self._scratch = tuple(pad), native.stem_scratch
        sizes = ((n + 2 * p - KERNEL) // STRIDE + 1 for n, p in zip(shape[2:], pad))
        y_shape = shape[0], w.shape[0], *sizes
        super().__init__(native.stem, STEM, shape, y_shape, coordinates(w), b, slope)

    def rows(self) -> int:
        return self.shape[0] * math.ceil(self.y_shape[2] / SIDE)

    def settings(self, rows: int, outputs: int) -> tuple[Mapping[str, Any], int]:
        fields = {"top": self._pad[0], "left": self._pad[1]}
        return fields, self._scratch(self.shape[1], self.y_shape[3])
