"""The memory that this process has used."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes.

    Linux keeps the value for this program alone in VmHWM. getrusage, which other systems have,
    includes what the process held before it started this program.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory() -> bool:
    """Begin `peak_memory` anew with the present memory; False where the system cannot do so."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


def return_free_memory() -> None:
    """Give memory that the process has freed back to the system, where the C library can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
