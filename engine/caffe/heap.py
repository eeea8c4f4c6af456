"""Memory that is not new to the process, and that comes in large pages where it is.

glibc gives the free end of its heap back to the system at once and takes it again page by page. A
pass through a large net frees and takes some hundred megabytes, and would spend a seventh of its
time so. Tensors of over 32 MB it always gives back; Linux brings them in pages of 2 MB if asked to.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

# Of glibc's malloc.h: bytes that may be free at the heap's end, and from which on a piece of memory
# is not of the heap; 32 MB is the most that it takes there.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TRIM, MMAP = 1 << 30, 1 << 25


# PyTorch asks for large pages if this is there when it takes memory for its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


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
