"""How a convolution is divided among the threads of the C library."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch

from ..native import library
from ..native.convolution import PANEL


class Part(NamedTuple):
    """What one thread computes: some rows, which are tiles or positions, and some outputs."""

    first_row: int
    end_row: int
    first_output: int
    end_output: int


def is_usable(outputs: int) -> bool:
    """Return whether the C library computes convolutions with so many outputs fast here.

    With several threads, PyTorch's OpenMP library must be one whose threads the C library can use.
    """
    native = library.load()
    if native is None or not native.convolves or outputs % PANEL:
        return False
    return torch.get_num_threads() == 1 or openmp() != 0


@cache
def openmp() -> int:
    """Return the address of the function of PyTorch's OpenMP library that starts its threads, or 0.

    GCC's library has the function, and Intel's and LLVM's on Linux have it too.
    """
    try:
        function = ctypes.CDLL(torch._C.__file__).GOMP_parallel
    except (OSError, AttributeError):
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def divide(rows: int, outputs: int, threads: int) -> list[Part]:
    """Return the parts of the threads; fewer where there is not enough for all.

    Each thread prepares all that its part needs, so the fewer of rows and outputs are those that
    all parts have.
    """
    if rows >= outputs:
        cuts = [rows * i // threads for i in range(threads + 1)]
        parts = [Part(start, end, 0, outputs) for start, end in zip(cuts, cuts[1:])]
    else:
        cuts = [outputs // PANEL * i // threads * PANEL for i in range(threads + 1)]
        parts = [Part(0, rows, start, end) for start, end in zip(cuts, cuts[1:])]
    return [p for p in parts if p.first_row < p.end_row and p.first_output < p.end_output]


def largest(parts: Sequence[Part]) -> tuple[int, int]:
    """Return the most rows and the most outputs of a part."""
    rows = max(part.end_row - part.first_row for part in parts)
    return rows, max(part.end_output - part.first_output for part in parts)
