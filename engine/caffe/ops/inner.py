"""The InnerProduct of one image by the C library, without a gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..native import library
from ..native.records import PANEL
from ..native.structures import INNER
from . import jobs

#: The most weights: more are read from memory faster by oneDNN's product.
MOST = 1 << 22


def is_usable(shape: Sequence[int], w: torch.Tensor) -> bool:
    """Return whether the library multiplies a bottom of this shape with weights, M x K.

    The bottom has one row, whose values lie in memory as a map with channels last has them.
    """
    is_row = shape[0] == 1 and math.prod(shape[2:]) == 1 and w.numel() <= MOST
    return is_row and w.is_contiguous() and w.dtype == torch.float32 and jobs.is_usable(PANEL)


class Product(jobs.Operation):
    """w x + b for a bottom x, 1 x K or 1 x K x 1 x 1, of whose shape `is_usable` is true.

    w: M x K, read at every call. b: M values, or None. The result is 1 x M.
    """

    y_layout = torch.contiguous_format

    def __init__(self, w: torch.Tensor, b: torch.Tensor | None) -> None:
        self._w, self._b = w, None if b is None else b.contiguous()
        fields = {
            "w": w.data_ptr(),
            "b": 0 if self._b is None else self._b.data_ptr(),
            "inputs": w.shape[1],
        }
        super().__init__(library.required().inner, INNER, (1, len(w)), fields)

    def rows(self) -> int:
        return len(self._w)

    def bottom(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.dtype).reshape(-1).contiguous()
