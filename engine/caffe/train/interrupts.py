"""Signals that wait: Ctrl-C never ends an iteration, nor any handler an update, half way.

Python runs the handlers of signals in the main thread, between any two operations, and a handler
may raise, as that of Ctrl-C does. In other threads no handler runs, so nothing has to wait there.
"""

from __future__ import annotations

import _signal
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

#: The signals that programs have handlers for. Some systems lack some of them.
HANDLED = tuple(
    int(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT")
    if hasattr(signal, name)
)


# The functions of `signal` call these, and look up the name of each handler, which takes 10 us.
_get_handler, _set_handler = _signal.getsignal, _signal.signal


class _Waiting:
    """A handler in place of another one, which it calls later.

    patience: how many signals wait; a further one is handled at once.
    """

    def __init__(self, number: int, handler: Callable[..., Any], patience: float) -> None:
        self._number, self._handler, self._patience = number, handler, patience
        self._waits = True
        self._signals: list[FrameType | None] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._waits and len(self._signals) < self._patience:
            self._signals.append(frame)
        else:
            self._signals.clear()
            self._handler(number, frame)

    def end(self) -> None:
        """Put the other handler back and let it handle the signals that have waited."""
        self._waits = False
        _set_handler(self._number, self._handler)
        while self._signals:
            self._handler(self._number, self._signals.pop(0))


class _Held:
    """A block during which signals wait; their handlers run at its end."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._waiting: list[_Waiting] = []

    def _handler(self, number: int) -> Callable[..., Any] | None:
        """Return the handler that has to wait, or None."""
        handler = _get_handler(number)
        return handler if callable(handler) else None

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in HANDLED:
            handler = self._handler(number)
            if handler is not None:
                waiting = _Waiting(number, handler, self._patience)
                self._waiting.append(waiting)
                _set_handler(number, waiting)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        first: BaseException | None = None
        while self._waiting:
            try:
                self._waiting.pop().end()
            except BaseException as raised:
                first = first or raised
        if first is not None:
            raise first


class UpdateHeld(_Held):
    """An update: every handler of Python's waits, however many signals come."""

    def __init__(self) -> None:
        super().__init__(float("inf"))


class IterationHeld(_Held):
    """An iteration: Ctrl-C waits for its end, unless it comes twice.

    A program's own handler does not wait, since it may be there to be asked during the iteration.
    """

    def __init__(self) -> None:
        super().__init__(1)

    def _handler(self, number: int) -> Callable[..., Any] | None:
        handler = _get_handler(number)
        return handler if handler is signal.default_int_handler else None
