"""A convolution that the C library computes, divided among threads."""

from __future__ import annotations

import ctypes
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from .. import heap
from ..native import library
from ..native.records import PANEL


class Team(threading.local):
    """The structure `team` of vectors.h, for each thread of Python.

    Each thread of OpenMP always has the same scratch memory, which stays in the cache of its core.
    """

    def __init__(self) -> None:
        self._rooms: list[torch.Tensor] = []
        self._structure: np.ndarray = np.zeros(0, np.uint64)
        self._size = self._address = 0

    def __call__(self, threads: int, size: int) -> int:
        """Return the address of a team of PyTorch's threads with `size` float32 values for each."""
        if threads != len(self._rooms) or size > self._size:
            self._size = max(size, self._size, 1)
            self._rooms.clear()
            self._rooms += [torch.empty(self._size) for _ in range(threads)]
            places = [room.data_ptr() for room in self._rooms]
            self._structure = np.array([*openmp(), threads, *places], np.uint64)
            self._address = int(self._structure.ctypes.data)
        return self._address


team = Team()


class Part(NamedTuple):
    """What one thread computes: some rows, which are tiles or positions, and some outputs."""

    first_row: int
    end_row: int
    first_output: int
    end_output: int


def is_usable(outputs: int, groups: int = 1) -> bool:
    """Return whether the C library computes convolutions with this many outputs fast here.

    With several threads, PyTorch's OpenMP library must be one whose threads the C library can use.
    """
    native = library.load()
    if native is None or not native.convolves or outputs % (groups * PANEL):
        return False
    return torch.get_num_threads() == 1 or openmp() != (0, 0)


@cache
def openmp() -> tuple[int, int]:
    """Return the addresses of GOMP_parallel and omp_get_thread_num in PyTorch's OpenMP library.

    GCC's library has these functions, and Intel's and LLVM's on Linux have them too; else 0.
    """
    try:
        functions = ctypes.CDLL(torch._C.__file__)
        run, number = functions.GOMP_parallel, functions.omp_get_thread_num
    except (OSError, AttributeError):
        return 0, 0
    return library.address_of(run), library.address_of(number)


def cuts(count: int, parts: int) -> list[int]:
    """Return where parts of nearly equal size of `count` things begin, and `count`."""
    return [count * i // parts for i in range(parts + 1)]


def divide(rows: int, outputs: int, threads: int, enough: int | None = None) -> list[Part]:
    """Return the parts of the threads; fewer where there is not enough for all.

    Each thread prepares all that its part needs, so the fewer of rows and outputs are those that
    all parts have. enough: rows of a thread from which on the rows are divided anyway.
    """
    if rows >= outputs or (enough is not None and rows >= enough * threads):
        places = cuts(rows, threads)
        parts = [Part(start, end, 0, outputs) for start, end in zip(places, places[1:])]
    else:
        places = [PANEL * panel for panel in cuts(outputs // PANEL, threads)]
        parts = [Part(0, rows, start, end) for start, end in zip(places, places[1:])]
    return [p for p in parts if p.first_row < p.end_row and p.first_output < p.end_output]


def split(parts: Sequence[Part], size: int) -> list[Part]:
    """Return the parts, each cut where a group of `size` outputs ends."""
    return [
        part._replace(
            first_output=max(part.first_output, start),
            end_output=min(part.end_output, start + size),
        )
        for part in parts
        for start in range(part.first_output // size * size, part.end_output, size)
    ]


def largest(parts: Sequence[Part]) -> tuple[int, int]:
    """Return the most rows and the most outputs of a part."""
    rows = max(part.end_row - part.first_row for part in parts)
    return rows, max(part.end_output - part.first_output for part in parts)


def arranged(x: torch.Tensor, layout: torch.memory_format, dtype: torch.dtype) -> torch.Tensor:
    """Return a map in this layout and type."""
    # Planes are arranged faster before they are rounded.
    return x.contiguous(memory_format=layout).to(dtype)


def _empty(shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, memory_format=layout)


class Convolution(ABC):
    """A convolution of maps of one shape, without a gradient.

    run: the library's function. structure: that of a job. shape, y_shape: of the map and of the
    result, N x C x H x W. w: the weights, in the order that the library reads. b: K values, or
    None. slope: that of negative results in a ReLU that follows, or None. dtype: of the maps; maps
    of another type are converted to it. groups: of channels; each
    gives as many outputs, a multiple of PANEL.

    function: the address of the library's function. scratch_values: those that a thread
    needs.
    """

    #: Rows of a thread from which on the rows are divided: a core then reads most of the map that
    #: it wrote itself. None where preparing the weights takes longer than reading such maps.
    enough: int | None = None
    #: The layout of maps that the library reads.
    layout = torch.channels_last

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
        groups: int = 1,
    ) -> None:
        self._groups = groups
        self._run, self._structure = run, structure
        self.function = library.address_of(run)
        self.shape, self.y_shape = tuple(shape), tuple(y_shape)
        self._w, self._b = w, None if b is None else b.float().contiguous()
        self._slope = 1.0 if slope is None else slope
        is_large = heap.is_large(math.prod(self.y_shape) * dtype.itemsize)
        self._empty = heap.empty if is_large else _empty
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
        outputs = self.y_shape[1] // self._groups
        parts = divide(self.rows(), self.y_shape[1], self._threads, self.enough)
        parts = split(parts, outputs)
        fields, self.scratch_values = self.settings(*largest(parts))
        table = np.zeros(len(parts), self._structure)
        table["w"] = self._w.data_ptr()
        table["b"] = 0 if self._b is None else self._b.data_ptr()
        table["x_step"], table["height"], table["width"] = self.shape[1:]
        table["channels"] = self.shape[1] // self._groups
        table["outputs"], table["y_height"], table["y_width"] = self.y_shape[1:]
        for name, values in zip(Part._fields, zip(*parts)):
            table[name] = values
        for name, value in fields.items():
            table[name] = value
        table["slope"] = self._slope
        group_size = table["channels"].astype(np.uint64) * self.dtype.itemsize
        #: Where the group of each job begins in a position of x, in bytes.
        self.x_offsets = table["first_output"].astype(np.uint64) // np.uint64(outputs) * group_size
        self.table, self._address = table, table.ctypes.data

    def jobs(self) -> np.ndarray:
        """Return the table of jobs, without the addresses of maps."""
        if self._threads != torch.get_num_threads():
            self._divide()
        return self.table

    def bottom(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map as the library reads it."""
        if x.dtype == self.dtype:
            return x.contiguous(memory_format=self.layout)
        return arranged(x, self.layout, self.dtype)

    def addend(self, other: torch.Tensor) -> torch.Tensor:
        """Return a map that is added to the result, as the library reads it."""
        return arranged(other, torch.channels_last, self.dtype)

    def empty_top(self) -> torch.Tensor:
        """Return memory for the result."""
        return self._empty(self.y_shape, self.dtype, torch.channels_last)

    def compute(self, x: torch.Tensor, other: torch.Tensor | None) -> torch.Tensor | None:
        """Return the convolution of x, or None where the library refuses a result.

        other: a map that is added before the ReLU, or None.
        """
        table = self.jobs()
        x, y = self.bottom(x), self.empty_top()
        if other is not None:
            other = self.addend(other)
        table["x"], table["y"] = x.data_ptr(), y.data_ptr()
        if self._groups > 1:
            table["x"] += self.x_offsets
        table["other"] = 0 if other is None else other.data_ptr()
        present = team(self._threads, self.scratch_values)
        return y if self._run(self._address, len(table), present) else None
