"""How the C library keeps memory that is free.

glibc gives the free end of its heap back to the system at once and takes it again page by page. A
pass through a large net frees and takes some hundred megabytes, and would spend a seventh of its
time so.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

# Of glibc's malloc.h: bytes that may be free at the heap's end, and from which on a piece of memory
# is not of the heap; 32 MB is the most that it takes there.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TRIM, MMAP = 1 << 30, 1 << 25


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
