"""The InnerProduct of one image by the C library, without a gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .. import large_pages
from ..native import library
from ..native.records import PANEL
from ..native.structures import INNER
from . import jobs


def is_usable(shape: Sequence[int], w: torch.Tensor) -> bool:
    """Return whether the library multiplies a bottom of this shape with weights, M x K."""
    is_plain = w.is_contiguous() and w.dtype == torch.float32
    return shape[0] == 1 and is_plain and jobs.is_usable(PANEL)


class Product(jobs.Operation):
    """w x + b for a bottom x of a shape for which `is_usable` is true.

    shape: of x, 1 x ... with K values. w: M x K, read at every call. b: M values, or None. The
    result is 1 x M.
    """

    y_layout = torch.contiguous_format

    def __init__(self, shape: Sequence[int], w: torch.Tensor, b: torch.Tensor | None) -> None:
        self._w, self._b = w, None if b is None else b.contiguous()
        if math.prod(shape[2:]) > 1:
            self.layout = torch.contiguous_format
        fields = {
            "w": w.data_ptr(),
            "b": 0 if self._b is None else self._b.data_ptr(),
            "inputs": w.shape[1],
            "together": w.nbytes > large_pages.LIMIT,
        }
        super().__init__(library.required().inner, INNER, (1, len(w)), fields)

    def rows(self) -> int:
        return len(self._w)

    def bottom(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.dtype).reshape(-1).contiguous()
