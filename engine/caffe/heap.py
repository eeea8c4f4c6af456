"""How the C library keeps memory that is free.

glibc gives the free end of its heap back to the system at once and takes it again page by page. A
pass through a large net frees and takes some hundred megabytes, and would spend a seventh of its
time so. Kept, the heap grows with the holes that passes leave in it, until it is given back.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

# Of glibc's malloc.h: bytes that may be free at the heap's end, and from which on a piece of memory
# is not of the heap; 32 MB is the most that it takes there.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TRIM, MMAP = 1 << 30, 1 << 25
#: By so much the process may grow over what it took after some pass.
SLACK = 48 << 20
#: What it takes is known when so many passes have begun, at first and after memory went back.
SETTLED = 2


@cache
def keep() -> bool:
    """Let free memory stay with this process, once; whether it does.

    Another C library is left as it is, and so is one that the environment gave these settings.
    """
    if {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"} & set(os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, TRIM)) and bool(mallopt(M_MMAP_THRESHOLD, MMAP))


class _Limit:
    """How much memory the process may take before what is free goes back to the system."""

    def __init__(self) -> None:
        self.most, self.passes = 0, 0

    def tidy(self) -> None:
        resident = _resident()
        self.passes += 1
        if self.passes == SETTLED:
            self.most = resident + SLACK
        elif self.passes > SETTLED and resident > self.most:
            ctypes.CDLL(None).malloc_trim(0)
            self.passes = 0


_limit = _Limit()


def tidy() -> None:
    """Before a pass that does not learn, give back what is free if that has become much.

    A pass that learns takes far more, and would take it again page by page.
    """
    if keep():
        _limit.tidy()


def _resident() -> int:
    """The memory of the process, in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
