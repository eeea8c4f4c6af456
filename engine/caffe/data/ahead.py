"""Calls made ahead in a thread, in order, for what reads files while a net computes."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Gives the results of `call()`, call after call, each made up to `count` calls before.

    The calls run one after the other in one thread, which begins with the first `next()`, ends with
    this object or after an error, and does not keep the process from ending. The error is raised by
    the `next()` to which the call belongs, and by those after it.
    """

    def __init__(self, call: Callable[[], T], count: int, name: str) -> None:
        self._call, self._count, self._name = call, count, name
        self._asked: SimpleQueue[Any] | None = None
        self._stop = threading.Event()
        self._coming: deque[Future[T]] = deque()

    def next(self) -> T:
        """The result of the next call."""
        if self._asked is None:
            self._asked = SimpleQueue()
            weakref.finalize(self, _end, self._asked, self._stop)
            work = self._asked, self._stop
            threading.Thread(target=_work, args=work, name=self._name, daemon=True).start()
        while len(self._coming) <= self._count:
            future: Future[T] = Future()
            self._coming.append(future)
            self._asked.put((future, self._call))
        if (error := self._coming[0].exception()) is not None:
            raise error
        return self._coming.popleft().result()


def _end(asked: SimpleQueue, stop: threading.Event) -> None:
    stop.set()
    asked.put(None)


def _work(asked: SimpleQueue, stop: threading.Event) -> None:
    """Make the calls that are asked for, until they are no longer, or one raises an error."""
    # Between two calls nothing here refers to whom they are made for, so that he can go.
    while (job := asked.get()) is not None and not stop.is_set():
        future, call = job
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
            return
        finally:
            del job, future, call
