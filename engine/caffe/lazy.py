"""Values that stay in their file until they are needed, and are then read by several threads.

The weights of a file are not the pages of a mapped file, for two reasons: values may begin at any
byte, mostly not at a multiple of 4, and a program that reads mapped pages ends with SIGBUS when
another program truncates the file. Values are therefore read into memory of their own. A file that
was written to in the meantime is refused. A file that was replaced by a rename, as this engine
writes files, or removed keeps its content for as long as it is open here.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import torch

from . import files, large_pages, pages
from .errors import FileError
from .native import library

#: Bytes of a blob from which its values are read when they are first needed. Smaller blobs are
#: read when the net is loaded.
LARGE = 1 << 24
#: Bytes that a thread reads at a time: into their place, and to be rounded. With smaller pieces,
#: threads wait longer for the interpreter's lock; larger ones leave the core's cache.
PIECE, ROUNDED_PIECE = 1 << 23, 1 << 21
#: All of the first axis.
ALL = slice(None)


class MappedFile(mmap.mmap):
    """The pages of a file, to be read, and the open file itself.

    path: the file's name when it was opened.
    handle: the open file, from which `os.preadv` reads. It is closed with the last view of the
        pages.
    """

    path: str
    handle: int
    _state: tuple[int, int]

    @classmethod
    def view(cls, path: str) -> memoryview:
        """Return a view of the content of a file. Raises FileError if it cannot be read."""
        with files.reading(path), files.open_regular(path) as file:
            if os.fstat(file.fileno()).st_size == 0:
                return memoryview(b"")
            mapped = cls(file.fileno(), 0, access=mmap.ACCESS_READ)
            mapped.path, mapped.handle = path, os.dup(file.fileno())
            mapped._state = mapped._present_state()
            return memoryview(mapped)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)

    def changed(self) -> bool:
        """Return whether the file was written to since it was opened."""
        return self._state != self._present_state()

    def _present_state(self) -> tuple[int, int]:
        stat = os.fstat(self.handle)
        return stat.st_size, stat.st_mtime_ns


class FileValues:
    """The values of a blob in a file, which a call returns as a tensor in memory of its own.

    values: the values, mostly a view of a `MappedFile`.
    shape: the shape of the tensor.
    path: the file, for messages.

    The values are read once, whichever thread calls first.
    """

    def __init__(self, values: np.ndarray, shape: Sequence[int], path: str) -> None:
        self._values, self._shape, self._path = values, shape, path
        self._lock = threading.Lock()
        self._tensor: torch.Tensor | None = None

    def __call__(self) -> torch.Tensor:
        with self._lock:
            if self._tensor is None:
                self._tensor = self._read(torch.float32)
            return self._tensor

    def rounded(self, dtype: torch.dtype, rows: slice = ALL) -> torch.Tensor:
        """Return the values in a lower precision; float32 takes up memory for a piece at a time.

        rows: which part of the first axis to return.
        """
        with self._lock:
            if self._tensor is not None:
                return self._tensor[rows].to(dtype)
        return self._read(dtype, rows)

    def can_wait(self) -> bool:
        """Return whether the values are many and lie in a file that stays open."""
        return self._values.nbytes >= LARGE and self._file() is not None

    def _file(self) -> MappedFile | None:
        """Return the file from which the values can be read as they are."""
        file = getattr(self._values.base, "obj", None)
        readable = self._values.dtype == np.float32 and hasattr(os, "preadv")
        return file if readable and isinstance(file, MappedFile) else None

    def _read(self, dtype: torch.dtype, rows: slice = ALL) -> torch.Tensor:
        file, values = self._file(), self._values.reshape(self._shape)
        values = values if rows == ALL else values[rows]
        try:
            if file is None:
                return self._copied(values, dtype)
            return self._read_from(file, values, dtype).view(values.shape)
        except MemoryError:
            raise FileError(
                f"{self._path}: no memory for {self._values.size} of its values "
                f"({self._values.nbytes / 2**20:.0f} MB); free memory, or load the file on a "
                "machine that has more"
            ) from None

    def _copied(self, values: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
        # A writable array has no other owner, so it becomes the memory of the tensor.
        copied = values.astype(np.float32, copy=not values.flags.writeable)
        return torch.from_numpy(copied).to(dtype)

    def _read_from(self, file: MappedFile, values: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
        """Return values, which lie one behind the other in the file."""
        size, itemsize = values.size, values.itemsize
        first = values.ctypes.data - np.frombuffer(file, np.uint8).ctypes.data
        piece_bytes = PIECE if dtype == torch.float32 else min(PIECE, ROUNDED_PIECE)
        count = max(1, piece_bytes // itemsize)
        tensor = large_pages.empty(size, dtype)

        starts, lock = iter(range(0, size, count)), threading.Lock()

        def next_start() -> int | None:
            with lock:
                return next(starts, None)

        def read() -> None:
            """Read pieces until another thread has taken the last one."""
            buffer = None if dtype == torch.float32 else np.empty(count, np.float32)
            while (start := next_start()) is not None:
                part = tensor[start : start + count]
                _provide_pages(part)
                piece = part if buffer is None else torch.from_numpy(buffer[: len(part)])
                _fill(piece.numpy().view(np.uint8).data, file.handle, first + start * itemsize)
                if buffer is not None:
                    _round(piece, part)

        with files.reading(file.path):
            _call_in_threads(read, torch.get_num_threads() if size > count else 0)
        if file.changed():
            raise FileError(f"{file.path}: was changed before its weights were read; load it again")
        return tensor


def _round(values: torch.Tensor, rounded: torch.Tensor) -> None:
    """Write float32 values in the precision of `rounded`, in this thread where that is possible."""
    native = library.load() if rounded.dtype == torch.bfloat16 else None
    if native is None:
        rounded.copy_(values)
    else:
        native.round(values.data_ptr(), rounded.data_ptr(), len(values))


def _provide_pages(tensor: torch.Tensor) -> None:
    """Have the system provide the pages of new memory at once, where it can.

    Page by page, at the first write to each, the same takes half as long again.
    """
    pages.advise(tensor.data_ptr(), tensor.nbytes, pages.POPULATE_WRITE)


def _fill(buffer: memoryview, handle: int, offset: int) -> None:
    """Read from an open file into `buffer` until `buffer` is full or the file ends."""
    at = 0
    while at < len(buffer):
        count = os.preadv(handle, [buffer[at:]], offset + at)
        if not count:
            return  # The file became shorter, as `MappedFile.changed` tells.
        at += count


def _call_in_threads(call: Callable[[], None], count: int) -> None:
    """Call `call` in each of `count` threads, or in this one if no thread can start."""
    results = []
    with ThreadPoolExecutor(max(1, count)) as threads:
        # No thread can start while the interpreter ends, for example.
        with suppress(RuntimeError):
            for _ in range(count):
                results.append(threads.submit(call))
        if not results:
            call()
    for result in results:
        result.result()
