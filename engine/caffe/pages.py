"""Advice to the system about the pages of memory."""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import cache
from typing import Any

#: From Linux's mman.h: large pages where possible; pages of the usual size only; provide the pages
#: for writing at once, which Linux does since 5.14.
HUGE_PAGE, NO_HUGE_PAGE, POPULATE_WRITE = 14, 15, 23


def advise(address: int, size: int, advice: int) -> None:
    """Tell the system how the pages inside of a block of memory will be used, where it listens.

    size: in bytes. advice: a constant of the C library's `madvise`.
    """
    madvise = _madvise()
    begin = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
    if madvise is not None and begin < end:
        madvise(begin, end - begin, advice)


@cache
def _madvise() -> Any:
    """Return the C library's `madvise`; None on systems other than Linux."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(None).madvise
    except (AttributeError, OSError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function
