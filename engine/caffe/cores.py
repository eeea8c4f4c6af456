"""How long the threads of this process have waited for a core, and what else runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

#: Clock and seconds.
Sample = tuple[float, float]
#: The share of a core from which on other programs count as running, and the least seconds between
#: two samples that give a share: the system counts in steps of 0.01 s.
SHARE, SHORTEST = 0.5, 0.2


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


def others_time() -> float:
    """Return the seconds of processor time that other programs have had on this process's cores.

    The start of the count is arbitrary. Raises OSError where the system does not say.
    """
    cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *columns = line.split()
        if name in cores:
            user, nice, system, _idle, _iowait, irq, softirq = map(int, columns[:7])
            ticks += user + nice + system + irq + softirq
    return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


def others_run(first: Sample | None, last: Sample | None) -> bool:
    """Return whether other programs kept half a core busy between two samples of `others_time`.

    False where the system does not say, and for samples that are too close for its clock.
    """
    if first is None or last is None or last[0] - first[0] < SHORTEST:
        return False
    return (last[1] - first[1]) / (last[0] - first[0]) > SHARE


def sample(seconds: Callable[[], float]) -> Sample | None:
    """Return the clock and what a function returns; None where the system does not say."""
    try:
        return time.perf_counter(), seconds()
    except (OSError, AttributeError, ValueError, IndexError):
        return None


#: `waited` and `others_time` when the engine's import began.
WAITED_AT_IMPORT, OTHERS_AT_IMPORT = sample(waited), sample(others_time)


def others_run_since_import() -> bool:
    """Return whether other programs have kept half a core busy since the engine's import began."""
    return others_run(OTHERS_AT_IMPORT, sample(others_time))
