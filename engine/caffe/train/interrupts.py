"""Delays signals: Ctrl-C never interrupts an iteration, and no handler interrupts an update.

Python runs the handlers of signals in the main thread, between any two operations, and a handler
may raise, as that of Ctrl-C does. In other threads no handler runs, so nothing has to wait there.
"""

from __future__ import annotations

import _signal
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, ClassVar

#: The signals that programs have handlers for. Some systems lack some of them.
HANDLED = tuple(
    int(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT")
    if hasattr(signal, name)
)


# The functions of `signal` call these, and look up the name of each handler, which takes 10 us.
_get_handler, _set_handler = _signal.getsignal, _signal.signal


class _Waiting:
    """A handler that takes the place of another one, and calls that one later.

    patience: how many signals wait; a further one is handled at once.
    """

    def __init__(self, number: int, handler: Callable[..., Any], patience: float) -> None:
        self._number, self._handler, self.patience = number, handler, patience
        self._waits = True
        self._signals: list[FrameType | None] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._waits and len(self._signals) < self.patience:
            self._signals.append(frame)
        else:
            self._signals.clear()
            self._handler(number, frame)

    def restore_patience(self, patience: float) -> None:
        """Set the patience again, and handle the last signal now if more have waited."""
        self.patience = patience
        if len(self._signals) > patience:
            frame = self._signals[-1]
            self._signals.clear()
            self._handler(self._number, frame)

    def end(self) -> None:
        """Put the other handler back and let it handle the signals that have waited."""
        self._waits = False
        _set_handler(self._number, self._handler)
        while self._signals:
            self._handler(self._number, self._signals.pop(0))


class _Held:
    """A block during which signals wait; their handlers run at its end.

    patience: how many signals of a kind wait; a further one is handled at once.
    """

    patience: ClassVar[float]

    def __init__(self) -> None:
        #: Handlers in place of others, and those of a longer block with their patience in that one.
        self._waiting: list[_Waiting] = []
        self._borrowed: list[tuple[_Waiting, float]] = []

    @staticmethod
    def waits(handler: object) -> bool:
        """Return whether a handler has to wait."""
        return callable(handler)

    def __enter__(self) -> None:
        if threading.get_ident() != threading.main_thread().ident:
            return
        for number in HANDLED:
            handler = _get_handler(number)
            if type(handler) is _Waiting:
                self._borrowed.append((handler, handler.patience))
                handler.patience = self.patience
            elif self.waits(handler):
                waiting = _Waiting(number, handler, self.patience)
                self._waiting.append(waiting)
                _set_handler(number, waiting)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        first: BaseException | None = None
        while self._waiting or self._borrowed:
            try:
                if self._waiting:
                    self._waiting.pop().end()
                else:
                    waiting, patience = self._borrowed.pop()
                    waiting.restore_patience(patience)
            except BaseException as raised:
                first = first or raised
        if first is not None:
            raise first


class UpdateHeld(_Held):
    """A block for an update: all of Python's handlers wait, even for repeated signals."""

    patience = float("inf")


class IterationHeld(_Held):
    """A block for an iteration: Ctrl-C waits for the end of the iteration, unless it comes twice.

    A program's own handler does not wait, because the iteration may read what the handler sets.
    """

    patience = 1

    @staticmethod
    def waits(handler: object) -> bool:
        """Return whether the handler is the one of Ctrl-C that Python sets."""
        return handler is signal.default_int_handler
