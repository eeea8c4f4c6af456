"""A convolution that the C library computes, divided among threads."""

from __future__ import annotations

import ctypes
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from ..native import library
from ..native.records import PANEL


class _Scratch(threading.local):
    """Scratch memory for each job, kept between calls.

    A job always has the same memory, which stays in the cache of the core that runs the job.
    """

    def __init__(self) -> None:
        self._rooms: list[torch.Tensor] = []
        self._size = 0
        self._places: np.ndarray = np.zeros(0, np.uint64)

    def __call__(self, jobs: int, size: int) -> np.ndarray:
        """Return the addresses of `size` float32 values for each job."""
        if jobs > len(self._rooms) or size > self._size:
            count, self._size = max(jobs, len(self._rooms)), max(size, self._size)
            self._rooms.clear()
            self._rooms += [torch.empty(self._size) for _ in range(count)]
            self._places = np.array([room.data_ptr() for room in self._rooms], np.uint64)
        return self._places[:jobs]


scratch = _Scratch()


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
    return torch.get_num_threads() == 1 or team() != 0


@cache
def _team() -> np.ndarray | None:
    """Return the structure `team` of vectors.h for PyTorch's OpenMP library, or None.

    GCC's library has these functions, and Intel's and LLVM's on Linux have them too.
    """
    try:
        openmp = ctypes.CDLL(torch._C.__file__)
        functions = openmp.GOMP_parallel, openmp.omp_get_thread_num
    except (OSError, AttributeError):
        return None
    return np.array([library.address_of(f) for f in functions], np.uint64)


def team() -> int:
    """Return the address of the team of PyTorch's OpenMP threads, or 0."""
    functions = _team()
    return 0 if functions is None else int(functions.ctypes.data)


def divide(rows: int, outputs: int, threads: int, enough: int | None = None) -> list[Part]:
    """Return the parts of the threads; fewer where there is not enough for all.

    Each thread prepares all that its part needs, so the fewer of rows and outputs are those that
    all parts have. enough: rows of a thread from which on the rows are divided anyway.
    """
    if rows >= outputs or (enough is not None and rows >= enough * threads):
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


def arranged(x: torch.Tensor, layout: torch.memory_format, dtype: torch.dtype) -> torch.Tensor:
    """Return a map in this layout and type."""
    # Planes are arranged faster before they are rounded.
    return x.contiguous(memory_format=layout).to(dtype)


class Convolution(ABC):
    """A convolution of maps of one shape, without a gradient.

    run: the library's function. structure: that of a job. shape, y_shape: of the map and of the
    result, N x C x H x W. w: the weights, in the order that the library reads. b: K values, or
    None. slope: that of negative results in a ReLU that follows, or None. dtype: of the maps; maps
    of another type are converted to it.

    function: the address of the library's function. scratch_values: those of a job's memory.
    """

    #: Rows of a thread from which on the rows are divided: a core then reads most of the map that
    #: it wrote itself. None where preparing the weights takes longer than reading such maps.
    enough: int | None = None

    def __init__(
        self,
        run: Callable[[int, int, int], int],
        structure: np.dtype,
        shape: Sequence[int],
        y_shape: Sequence[int],
        w: torch.Tensor,
        b: torch.Tensor | None,
        slope: float | None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._run, self._structure = run, structure
        self.function = library.address_of(run)
        self.shape, self.y_shape = tuple(shape), tuple(y_shape)
        self._w, self._b = w, None if b is None else b.float().contiguous()
        self._slope = 1.0 if slope is None else slope
        self.dtype, self._threads, self.scratch_values = dtype, 0, 0

    @abstractmethod
    def rows(self) -> int:
        """Return the number of rows, tiles or positions, that can be computed apart."""

    @abstractmethod
    def settings(self, rows: int, outputs: int) -> tuple[Mapping[str, Any], int]:
        """Return the other fields of jobs, and how many values each has as scratch memory.

        rows, outputs: the most that a job computes.
        """

    def _divide(self) -> None:
        """Divide the work among the threads."""
        self._threads = torch.get_num_threads()
        parts = divide(self.rows(), self.y_shape[1], self._threads, self.enough)
        fields, self.scratch_values = self.settings(*largest(parts))
        table = np.zeros(len(parts), self._structure)
        table["w"] = self._w.data_ptr()
        table["b"] = 0 if self._b is None else self._b.data_ptr()
        table["channels"], table["height"], table["width"] = self.shape[1:]
        table["outputs"], table["y_height"], table["y_width"] = self.y_shape[1:]
        for name, values in zip(Part._fields, zip(*parts)):
            table[name] = values
        for name, value in fields.items():
            table[name] = value
        table["slope"] = self._slope
        self.table, self._address, self._team = table, table.ctypes.data, team()

    def jobs(self) -> np.ndarray:
        """Return the table of jobs, without the addresses of maps and scratch memory."""
        if self._threads != torch.get_num_threads():
            self._divide()
        return self.table

    def bottom(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map as the library reads it."""
        return arranged(x, torch.channels_last, self.dtype)

    def empty_top(self) -> torch.Tensor:
        """Return memory for the result."""
        return torch.empty(self.y_shape, dtype=self.dtype, memory_format=torch.channels_last)

    def compute(self, x: torch.Tensor, other: torch.Tensor | None) -> torch.Tensor | None:
        """Return the convolution of x, or None where the library refuses a result.

        other: a map that is added before the ReLU, or None.
        """
        table = self.jobs()
        x, y = self.bottom(x), self.empty_top()
        if other is not None:
            other = self.bottom(other)
        table["x"], table["y"] = x.data_ptr(), y.data_ptr()
        table["other"] = 0 if other is None else other.data_ptr()
        if self.scratch_values:
            table["scratch"] = scratch(len(table), self.scratch_values)
        return y if self._run(self._address, len(table), self._team) else None
