"""The C library's heap: memory that a pass frees stays with the process, within limits.

By default glibc returns the free end of its heap to the system at once, and gets it back page by
page. A pass through a large net frees and allocates some hundred megabytes, and would spend a
seventh of its time on that.

Side effect: the first forward pass of any net changes two settings of malloc for the whole process
(`keep`). From then on the heap grows by the holes between blocks that live on; an inference returns
free memory when the process has grown (`tidy`). Nothing changes

- with CAFFE_MALLOPT=0 or CAFFE_FAST=0 in the environment,
- if the environment has settings of malloc (MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_,
  GLIBC_TUNABLES),
- with another C library than glibc.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from . import mode, pages
from .large_pages import ALIGNMENT

#: The environment variable that leaves malloc's settings alone if it is 0.
SWITCH = "CAFFE_MALLOPT"
#: Environment variables by which a user sets malloc.
USER_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
# Parameters of mallopt, from glibc's malloc.h: the free bytes at the heap's end that are kept, and
# the size from which on a block lies outside the heap; 32 MB is the most that glibc accepts.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TRIM, MMAP = 1 << 30, 1 << 25
# The number of blocks outside the heap that glibc allows, by default.
M_MMAP_MAX, MMAPS = -4, 65536
#: Bytes by which the process may grow over its memory in the first passes after a trim.
SLACK = 48 << 20
#: The number of passes, at first and after a trim, that show how much memory a pass needs.
SETTLED = 2
#: Seconds of processor time for a byte of returned memory that is allocated again: a page fault
#: takes 2 us for 4 KB on a virtual machine.
FAULT = 0.5e-9
#: Seconds between two looks at the memory of the process; a look takes 20 us.
SHORT = 2e-3
#: The least processor time between two trims, in units of the time of the page faults that a trim
#: causes: passes over images of changing sizes lose about 2 % of their time.
SHARE = 64


@cache
def _function(name: str) -> Any:
    """Return a function of the C library; None if there is none of this name."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None


@cache
def reason_against() -> str:
    """Return why this process leaves malloc's settings alone; "" if `keep` changes them."""
    if not mode.fast():
        return mode.NOT_FAST
    if os.environ.get(SWITCH) == "0":
        return f"{SWITCH}=0 is set"
    for name in USER_SETTINGS:
        if name in os.environ:
            return f"{name} is set"
    return "" if _function("mallopt") and _function("malloc_trim") else "there is no glibc"


@cache
def keep() -> bool:
    """Let free memory stay with this process, once; return whether it does."""
    if reason_against():
        return False
    mallopt = _function("mallopt")
    return bool(mallopt(M_TRIM_THRESHOLD, TRIM)) and bool(mallopt(M_MMAP_THRESHOLD, MMAP))


def is_large(size: int) -> bool:
    """Return whether malloc takes a block of this size, in bytes, from the system each time."""
    return size > MMAP - (1 << 12)


def empty(shape: Sequence[int], dtype: torch.dtype, layout: torch.memory_format) -> torch.Tensor:
    """Return a new tensor on the CPU whose memory, too, stays with the process when it is freed.

    Above MMAP, malloc would take the memory from the system each time, and return it. PyTorch asks
    for aligned memory: malloc then needs a larger block than the one that the last tensor of this
    shape left, and takes new memory instead. Therefore NumPy allocates the block, and the tensor
    begins at its first aligned address.
    """
    shape = tuple(shape)
    size = math.prod(shape) * dtype.itemsize
    if not is_large(size) or not keep():
        return torch.empty(shape, dtype=dtype, memory_format=layout)
    mallopt = _function("mallopt")
    mallopt(M_MMAP_MAX, 0)
    try:
        block = np.empty(size + ALIGNMENT, np.uint8)
    finally:
        mallopt(M_MMAP_MAX, MMAPS)
    # NumPy asks for pages of 2 MB, which some virtual machines take long to provide.
    pages.advise(block.ctypes.data, block.nbytes, pages.NO_HUGE_PAGE)
    start = -block.ctypes.data % ALIGNMENT
    values = torch.from_numpy(block[start : start + size]).view(dtype)
    if layout != torch.channels_last:
        return values.view(shape)
    n, channels, height, width = shape
    return values.view(n, height, width, channels).permute(0, 3, 1, 2)


def tidy() -> None:
    """Return free memory to the system, before a pass that does not learn, if there is much of it.

    A pass that learns allocates far more, and would have to get it back page by page. Passes that
    follow each other within SHORT are too small to need memory, and do not look.
    """
    if keep() and _looks.is_due():
        _trimmer.before_pass()


class _Looks:
    """When the memory of the process was last looked at."""

    def __init__(self) -> None:
        self._last = -SHORT

    def is_due(self) -> bool:
        """Return whether SHORT has gone by since this last returned true."""
        now = time.perf_counter()
        if now - self._last < SHORT:
            return False
        self._last = now
        return True


class _ResidentMemory:
    """The memory of this process, as the system says. The file stays open: it is read often.

    A program may close all files of its process, as daemons do when they start, and open others.
    Then the file is opened again.
    """

    def __init__(self) -> None:
        self._process, self._file = 0, -1

    def __call__(self) -> int:
        try:
            if self._process != os.getpid():  # first, and in a copy of the process
                return self._open_and_read()
            try:
                return self._read()
            except (OSError, ValueError, IndexError):  # another file, or none
                return self._open_and_read()
        except OSError:
            return 0

    def _open_and_read(self) -> int:
        self._file, self._process = os.open("/proc/self/statm", os.O_RDONLY), os.getpid()
        return self._read()

    def _read(self) -> int:
        return int(os.pread(self._file, 256, 0).split()[1]) * mmap.PAGESIZE


_resident_memory = _ResidentMemory()


def resident_memory() -> int:
    """Return the memory of this process, in bytes; 0 if the system does not say."""
    return _resident_memory()


@cache
def machine_memory() -> int:
    """Return the memory of this machine, in bytes; 2^63 - 1 if the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 2**63 - 1


class Trimmer:
    """Decides before each pass whether to return free memory.

    It does if the process has grown by SLACK since the pass whose number after the last trim is
    SETTLED, and if the processor has worked long enough since to make up for the page faults.

    resident: returns the memory of the process, in bytes. clock: returns the processor's seconds.
    trim: returns free memory to the system.
    """

    def __init__(
        self,
        resident: Callable[[], int] = resident_memory,
        clock: Callable[[], float] = time.process_time,
        trim: Callable[[], object] = lambda: _function("malloc_trim")(0),
    ) -> None:
        self._resident, self._clock, self._trim = resident, clock, trim
        self.limit = self.passes = 0
        self._earliest = 0.0

    def before_pass(self) -> None:
        """Count a pass, and trim the heap if that is due."""
        resident = self._resident()
        self.passes += 1
        if self.passes == SETTLED:
            self.limit = resident + SLACK
        elif self.passes > SETTLED and resident > self.limit and self._clock() >= self._earliest:
            self._trim()
            self.passes = 0
            returned = max(0, resident - self._resident())
            self._earliest = self._clock() + SHARE * FAULT * returned


_trimmer, _looks = Trimmer(), _Looks()
