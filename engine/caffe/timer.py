"""`Timer`: elapsed time, of work on a GPU too."""

from __future__ import annotations

import time

import torch

from . import mode


class Timer:
    """A stopwatch: `start()`, `stop()`, then `ms`, in milliseconds.

    Starting and stopping wait for the work of the GPU. Reading `ms` stops a running timer; `ms` of
    a timer that never ran is 0.
    """

    def __init__(self) -> None:
        self._started: float | None = None
        self._seconds = 0.0

    def start(self) -> None:
        """Start from zero. A running timer runs on."""
        if self._started is None:
            self._started = self._now()

    def stop(self) -> None:
        """Stop. A timer that does not run stays as it is."""
        if self._started is not None:
            self._seconds, self._started = self._now() - self._started, None

    @property
    def ms(self) -> float:
        """The milliseconds from the last start to its stop."""
        self.stop()
        return self._seconds * 1000

    @staticmethod
    def _now() -> float:
        on = mode.device()
        if on.type == "cuda":
            torch.cuda.synchronize(on)
        return time.perf_counter()
