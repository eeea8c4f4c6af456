"""Signals during a training, with the effects that they have in `caffe train`.

    SIGINT (Ctrl-C)   a snapshot after this iteration, then the end; twice: the end at once
    SIGTERM           the same, for clusters that announce the end
    SIGHUP            a snapshot after this iteration

While nothing is trained, as in a scoring, SIGINT and SIGTERM end the program at once.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from types import FrameType
from typing import Iterator, Optional

#: The shell's exit code of a program that SIGTERM ended: 128 + 15.
TERMINATED = 143
STOP = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))
SNAPSHOT = tuple(getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name))


class Requests:
    """The requests of signals to a running training."""

    def __init__(self) -> None:
        self._training = False
        #: The signal that asked to stop, until the training stops.
        self.stop: Optional[int] = None
        self._snapshot = False

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Take the signals in a block. In a thread that handles no signals, do nothing."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._take) for number in (*STOP, *SNAPSHOT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Let signals wait for the end of a block: an iteration and its snapshot."""
        self._training = True
        try:
            yield
        finally:
            self._training = False

    def take_snapshot(self) -> bool:
        """Return whether a snapshot was asked for since the last call, also before a stop."""
        request, self._snapshot = self._snapshot, False
        return request or self.stop is not None

    def _take(self, number: int, frame: Optional[FrameType]) -> None:
        if number in SNAPSHOT:
            self._snapshot = True
        elif self._training and self.stop is None:
            self.stop = number
        else:
            raise_for(number, "")


def raise_for(number: int, message: str) -> None:
    """End the program as its signal does: KeyboardInterrupt for SIGINT, else SystemExit.

    message: what the user reads; "" for the usual line.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt(message)
    with contextlib.suppress(OSError):
        print(message or "stopped by SIGTERM; the same command continues", file=sys.stderr)
    sys.exit(TERMINATED)
