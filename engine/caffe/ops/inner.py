"""The InnerProduct of one image by the C library, without a gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
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


class Product:
    """w x + b for bottoms of one shape.

    shape: of the bottom, 1 x K or 1 x K x 1 x 1, for which `is_usable` is true. w: M x K, read at
    every call. b: M values, or None. The result is 1 x M.

    function, scratch_values, x_offsets, layout: as in `jobs.Convolution`.
    """

    scratch_values = 0
    layout = torch.channels_last
    dtype = torch.float32

    def __init__(self, shape: Sequence[int], w: torch.Tensor, b: torch.Tensor | None) -> None:
        native = library.load()
        assert native is not None
        self._run, self.function = native.inner, library.address_of(native.inner)
        self._w, self._b = w, None if b is None else b.contiguous()
        self._threads = 0

    def jobs(self) -> np.ndarray:
        """Return the table of jobs, one for each thread, without the addresses of maps."""
        if self._threads != torch.get_num_threads():
            self._threads = torch.get_num_threads()
            self._table = np.zeros(self._threads, INNER)
            self._table["w"] = self._w.data_ptr()
            self._table["b"] = 0 if self._b is None else self._b.data_ptr()
            self._table["inputs"] = self._w.shape[1]
            cuts = jobs.cuts(self._w.shape[0], self._threads)
            self._table["first_output"], self._table["end_output"] = cuts[:-1], cuts[1:]
            self.x_offsets = np.zeros(self._threads, np.uint64)
        return self._table

    def bottom(self, x: torch.Tensor) -> torch.Tensor:
        """Return a bottom as the library reads it."""
        return x.to(self.dtype).reshape(-1).contiguous()

    addend = bottom

    def empty_top(self) -> torch.Tensor:
        """Return memory for the result."""
        return torch.empty(1, self._w.shape[0])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product with x."""
        table = self.jobs()
        x, y = self.bottom(x), self.empty_top()
        table["x"], table["y"] = x.data_ptr(), y.data_ptr()
        self._run(table.ctypes.data, len(table), jobs.team(len(table), 0))
        return y
