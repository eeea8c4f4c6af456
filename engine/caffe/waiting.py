"""How the threads of PyTorch wait for each other while other programs use the processor.

The threads of OpenMP spin at the end of a piece of work, for about a millisecond, before they
sleep. On a quiet machine that is fastest. If another program occupies the core of one thread, the
other threads spin instead of letting that thread run: a training on two busy cores was 2 to 10
times as slow as with short spinning.

libgomp, the OpenMP of PyTorch's packages, fixes the length when the program starts, but spins only
shortly while the process has more OpenMP threads than cores. `Watch` measures how long the threads
of this process wait for a core, from the engine's import on. While they do, it keeps a second, idle
team of threads.

Nothing is done with CAFFE_FAST=0 in the environment, if the environment sets OMP_WAIT_POLICY or
GOMP_SPINCOUNT, with one thread, with fewer threads than cores, without Linux or without libgomp.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Protocol

import torch

from . import mode
from .cores import WAITED_AT_IMPORT, others_run_since_import, waited

#: Environment variables by which a user sets how threads wait.
USER_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
#: Seconds between two measurements.
PERIOD = 0.5
#: The share of a core that the threads wait for, from which on others are busy, and up to which
#: they are not. On a quiet machine it is below 0.01.
BUSY, QUIET = 0.10, 0.04


class Team(Protocol):
    """An idle team of OpenMP threads."""

    def close(self) -> None:
        """End the threads."""


class IdleTeam:
    """A thread with an OpenMP team of its own, which sleeps."""

    def __init__(self) -> None:
        self._end, self._started = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="caffe-idle-team", daemon=True)
        self._thread.start()
        self._started.wait()

    def _run(self) -> None:
        # Large enough for PyTorch to use all threads, which starts the team.
        torch.zeros(1 << 18).add_(1)
        self._started.set()
        self._end.wait()

    def close(self) -> None:
        """End the threads."""
        self._end.set()
        self._thread.join()


@cache
def reason_against() -> str:
    """Return why libgomp's way of waiting stays; "" if a `Watch` may change it."""
    if not mode.fast():
        return mode.NOT_FAST
    for name in USER_SETTINGS:
        if name in os.environ:
            return f"{name} is set"
    try:
        if "libgomp" not in Path("/proc/self/maps").read_text():
            return "PyTorch does not use libgomp"
        waited()
    except (OSError, IndexError):
        return "the system does not say how long threads wait"
    return ""


class Watch:
    """Decides before each pass how threads wait.

    clock: returns seconds. waits: returns the seconds for which threads have waited for a core.
    start: starts an idle team. first: an earlier result of both functions, with which the first
    measurement is compared. others: whether other programs run. The first measurement calls it,
    because a single thread need not wait if one of two cores is busy.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        waits: Callable[[], float] = waited,
        start: Callable[[], Team] = IdleTeam,
        first: tuple[float, float] | None = None,
        others: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock, self._waits, self._start = clock, waits, start
        self._last, self._others = first, others
        self._is_first = True
        self._due = 0.0
        #: The idle team while others are busy, else None. No line of the log says so, because logs
        #: are compared with those of other runs.
        self.team: Team | None = None

    def is_due(self) -> bool:
        """Return whether PERIOD has gone by since the last measurement."""
        return self._clock() >= self._due

    def before_pass(self) -> None:
        """Measure, if PERIOD has gone by, and start or end the idle team."""
        now = self._clock()
        if now < self._due:
            return
        self._due = now + PERIOD
        waits, last = self._waits(), self._last
        self._last = now, waits
        is_busy = self._is_first and self._others()
        self._is_first = False
        if last is None:
            return
        share = (waits - last[1]) / (now - last[0])
        if self.team is None and (share > BUSY or is_busy):
            self.team = self._start()
        elif self.team is not None and share < QUIET:
            self.team.close()
            self.team = None


_watch = Watch(first=WAITED_AT_IMPORT, others=others_run_since_import)


def before_pass() -> None:
    """Have threads wait as suits the load of the machine; called before each pass."""
    if not _watch.is_due():
        return
    threads = torch.get_num_threads()
    if threads > 1 and not reason_against() and threads >= len(os.sched_getaffinity(0)):
        _watch.before_pass()
