"""How long the threads of this process have waited for a core, and what else runs."""

from __future__ import annotations

import time
from pathlib import Path


def waited() -> float:
    """Return how long the threads of this process have waited for a core, in seconds.

    Raises OSError where the system does not say.
    """
    total = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            continue
    return total * 1e-9


def others_run() -> bool:
    """Return whether other programs have kept a core busy for the last minute, and still do.

    False where the system does not say.
    """
    try:
        load, _, _, runnable, _ = Path("/proc/loadavg").read_text().split()
    except (OSError, ValueError):
        return False
    return float(load) > 0.5 and int(runnable.partition("/")[0]) > 1


def _sample() -> tuple[float, float] | None:
    try:
        return time.perf_counter(), waited()
    except (OSError, IndexError):
        return None


#: The clock, and what `waited` returned, when the engine's import began. None where unknown.
AT_IMPORT = _sample()
