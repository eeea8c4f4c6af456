"""Operations on large maps that the C library computes, divided among threads."""

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
import torch.nn.functional as F

from .. import heap, large_pages
from ..native import library
from ..native.records import PANEL
from ..native.structures import WINDOWS

#: Tables of jobs that a layer keeps, for maps of different shapes, such as those of strips.
KEPT = 32


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
    """The share of a thread: a range of rows, which are tiles or positions, and of outputs."""

    first_row: int
    end_row: int
    first_output: int
    end_output: int


def is_usable(outputs: int = PANEL, groups: int = 1) -> bool:
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
    """Return the first indices of `parts` ranges of nearly equal size, and `count`, the end."""
    return [count * i // parts for i in range(parts + 1)]


def divide(rows: int, outputs: int, threads: int, enough: int | None = None) -> list[Part]:
    """Return the parts of the threads; fewer parts than threads where the work is too small.

    A part has some of the rows and all outputs, or all rows and some of the outputs. A thread
    prepares the rows and the weights of its part, so the larger of the two numbers is divided.
    enough: if each thread gets as many rows, the rows are divided in any case.
    """
    if rows >= outputs or (enough is not None and rows >= enough * threads):
        places = cuts(rows, threads)
        parts = [Part(start, end, 0, outputs) for start, end in zip(places, places[1:])]
    else:
        panels = cuts(math.ceil(outputs / PANEL), threads)
        places = [min(PANEL * panel, outputs) for panel in panels]
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


def panels(w: torch.Tensor, b: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return weights, K x ..., and biases, K values, in panels of PANEL outputs.

    The weights are K / PANEL x ... x PANEL. Zeros follow the last of K, also among the biases.
    """
    rest = -w.shape[0] % PANEL
    w = F.pad(w.flatten(1), (0, 0, 0, rest)).view(-1, PANEL, w[0].numel())
    return large_pages.copy(w.transpose(1, 2)), None if b is None else F.pad(b, (0, rest))


def largest(parts: Sequence[Part]) -> tuple[int, int]:
    """Return the largest number of rows and the largest number of outputs of a part."""
    rows = max(part.end_row - part.first_row for part in parts)
    return rows, max(part.end_output - part.first_output for part in parts)


def arranged(x: torch.Tensor, layout: torch.memory_format, dtype: torch.dtype) -> torch.Tensor:
    """Return a map in this layout and type."""
    # Planes are arranged faster before they are rounded.
    return x.contiguous(memory_format=layout).to(dtype)


def _empty(shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, memory_format=layout)


class Operation(ABC):
    """An operation on maps of one shape, without a gradient.

    run: the library's function. structure: the NumPy type of a job. y_shape: of the result. dtype:
    of the maps; maps of another type are converted. fields: the values that all jobs have.

    x_offsets: where each job begins in a position of x, in bytes; None if all begin at the start.
    scratch_values: the number of float32 values of scratch memory that a thread needs.
    """

    #: The layouts of the map that the library reads and of the one that it writes.
    layout = y_layout = torch.channels_last
    #: Whether the structure has the address of a map that is added to the result.
    adds = False
    x_offsets: np.ndarray | None = None
    scratch_values = 0

    def __init__(
        self,
        run: Callable[[int, int, int], int],
        structure: np.dtype,
        y_shape: Sequence[int],
        fields: Mapping[str, Any],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._run, self.y_shape, self.dtype = run, tuple(y_shape), dtype
        self._structure, self._fields = structure, fields
        self._empty = heap.empty if heap.is_large(self.top_bytes) else _empty
        self._threads = 0

    @property
    def function(self) -> int:
        """The address of the library's function."""
        return library.address_of(self._run)

    @property
    def top_bytes(self) -> int:
        """The bytes of the result."""
        return math.prod(self.y_shape) * self.dtype.itemsize

    @abstractmethod
    def rows(self) -> int:
        """Return the number of rows, such as tiles or positions, each of which is computed alone.

        The threads divide the rows among them.
        """

    def _divide(self, threads: int) -> np.ndarray:
        """Return the table of jobs of this number of threads."""
        places = cuts(self.rows(), threads)
        return self._table_of(threads, {"first_row": places[:-1], "end_row": places[1:]})

    def _table_of(self, count: int, fields: Mapping[str, Any]) -> np.ndarray:
        """Return a table of jobs with these fields, a value for all or one for each job."""
        table = np.zeros(count, self._structure)
        for name, value in {**self._fields, **fields}.items():
            table[name] = value
        return table

    def jobs(self) -> np.ndarray:
        """Return the table of jobs, without the addresses of maps."""
        threads = torch.get_num_threads()
        if self._threads != threads:
            self._table = self._divide(threads)
            self._address, self._threads = self._table.ctypes.data, threads
        return self._table

    def bottom(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map as the library reads it."""
        if x.dtype == self.dtype:
            return x.contiguous(memory_format=self.layout)
        return arranged(x, self.layout, self.dtype)

    def addend(self, other: torch.Tensor) -> torch.Tensor:
        """Return a map that is added to the result, as the library reads it."""
        return arranged(other, self.y_layout, self.dtype)

    def empty_top(self) -> torch.Tensor:
        """Return memory for the result."""
        return self._empty(self.y_shape, self.dtype, self.y_layout)

    def compute(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor | None:
        """Return the result for a map, or None where the library refuses the result.

        other: a map that is added, to a convolution before its ReLU, if `adds` is true.
        """
        table = self.jobs()
        x, y = self.bottom(x), self.empty_top()
        table["x"], table["y"] = x.data_ptr(), y.data_ptr()
        if self.x_offsets is not None:
            table["x"] += self.x_offsets
        if other is not None:
            other = self.addend(other)
            table["other"] = other.data_ptr()
        elif self.adds:
            table["other"] = 0
        present = team(self._threads, self.scratch_values)
        return y if self._run(self._address, len(table), present) else None

    def __call__(self, x: torch.Tensor, *other: torch.Tensor) -> torch.Tensor:
        """Return the result of `compute`, for maps whose result the library does not refuse."""
        y = self.compute(x, *other)
        assert y is not None
        return y


class Convolution(Operation):
    """A convolution of maps of one shape, without a gradient.

    run, structure, y_shape, dtype: as in `Operation`; shape: of the map, N x C x H x W. w: the
    weights, in the order in which the library reads them. b: K values, or None. slope: of the
    negative results in a ReLU that follows; None without a ReLU. groups: of channels; all groups
    have the same number of outputs, a multiple of PANEL.
    """

    #: See `divide`. Where the rows are divided, a core reads mostly rows that the same core has
    #: written. None for a convolution that prepares its weights longer than it reads its map.
    enough: int | None = None
    adds = True

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
        self._groups, self.shape = groups, tuple(shape)
        self._w, self._b = w, None if b is None else b.float().contiguous()
        fields = {
            "w": w.data_ptr(),
            "b": 0 if self._b is None else self._b.data_ptr(),
            "slope": 1.0 if slope is None else slope,
            **dict(zip(("x_step", "height", "width"), shape[1:])),
            "channels": shape[1] // groups,
            **dict(zip(("outputs", "y_height", "y_width"), y_shape[1:])),
        }
        super().__init__(run, structure, y_shape, fields, dtype)

    @abstractmethod
    def settings(self, rows: int, outputs: int) -> tuple[Mapping[str, Any], int]:
        """Return the further fields of the jobs, and the number of scratch values of a thread.

        rows, outputs: the largest numbers of rows and outputs of a job.
        """

    def undivided(self) -> np.ndarray:
        """Return a table with one job for all rows and outputs."""
        return self._divide(1)

    def _divide(self, threads: int) -> np.ndarray:
        outputs = self.y_shape[1] // self._groups
        parts = divide(self.rows(), self.y_shape[1], threads, self.enough)
        parts = split(parts, outputs)
        fields, self.scratch_values = self.settings(*largest(parts))
        table = self._table_of(len(parts), {**dict(zip(Part._fields, zip(*parts))), **fields})
        if self._groups > 1:
            group_size = np.uint64(self.shape[1] // self._groups * self.dtype.itemsize)
            self.x_offsets = table["first_output"].astype(np.uint64) // outputs * group_size
        return table


class Windowed(Convolution):
    """A convolution with square windows, of which the threads divide the rows.

    run, shape, w, b, slope: as in `Convolution`. weights: the shape of the weights in
    Caffe, K x ... x k x k. stride, pad: (vertical, horizontal).
    """

    def __init__(
        self,
        run: Callable[[int, int, int], int],
        shape: Sequence[int],
        weights: Sequence[int],
        w: torch.Tensor,
        b: torch.Tensor | None,
        stride: Sequence[int],
        pad: Sequence[int],
        slope: float | None,
    ) -> None:
        kernel = weights[2]
        self._window = dict(zip(("down", "across", "top", "left"), (*stride, *pad)), kernel=kernel)
        sizes = ((n + 2 * p - kernel) // s + 1 for n, s, p in zip(shape[2:], stride, pad))
        super().__init__(run, WINDOWS, shape, (shape[0], weights[0], *sizes), w, b, slope)

    def vertical(self) -> tuple[int, int, int]:
        """Return the stride, the size and the padding of the window, vertically."""
        return self._window["down"], self._window["kernel"], self._window["top"]

    def rows(self) -> int:
        return self.y_shape[0] * self.y_shape[2]
