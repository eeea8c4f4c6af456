"""Timer: how long something took, on the GPU too."""

from __future__ import annotations

import time

import torch

from . import mode


class Timer:
    """A stopwatch: `start()`, `stop()`, then `ms` milliseconds.

    Work that a GPU has not finished yet is waited for. `ms` of a timer that runs stops it; of one
    that never ran it is 0.
    """

    def __init__(self) -> None:
        self._started: float | None = None
        self._seconds = 0.0

    def start(self) -> None:
        """Start, from zero; nothing happens to a timer that runs."""
        if self._started is None:
            self._started = self._now()

    def stop(self) -> None:
        """Stop a timer that runs."""
        if self._started is not None:
            self._seconds, self._started = self._now() - self._started, None

    @property
    def ms(self) -> float:
        self.stop()
        return self._seconds * 1000

    @staticmethod
    def _now() -> float:
        on = mode.device()
        if on.type == "cuda":
            torch.cuda.synchronize(on)
        return time.perf_counter()
