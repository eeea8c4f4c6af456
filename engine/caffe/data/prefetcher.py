"""`Prefetcher`: calls that a thread makes in advance, while the net computes."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Returns the results of `call()`, in order, with up to `count` calls made in advance.

    One thread named `name` makes the calls, one after another. The thread starts with the first
    `next()`, ends with this object or after an error, and does not keep the process alive. The
    `next()` to which a failed call belongs raises the call's error, and so does every later one.
    """

    def __init__(self, call: Callable[[], T], count: int, name: str) -> None:
        self._call, self._count, self._name = call, count, name
        self._jobs: SimpleQueue[Any] | None = None
        self._stop = threading.Event()
        self._results: deque[Future[T]] = deque()

    def next(self) -> T:
        """Return the result of the next call."""
        if self._jobs is None:
            self._jobs = SimpleQueue()
            weakref.finalize(self, _end, self._jobs, self._stop)
            arguments = self._jobs, self._stop
            threading.Thread(target=_work, args=arguments, name=self._name, daemon=True).start()
        while len(self._results) <= self._count:
            future: Future[T] = Future()
            self._results.append(future)
            self._jobs.put((future, self._call))
        if (error := self._results[0].exception()) is not None:
            raise error
        return self._results.popleft().result()


def _end(jobs: SimpleQueue, stop: threading.Event) -> None:
    stop.set()
    jobs.put(None)


def _work(jobs: SimpleQueue, stop: threading.Event) -> None:
    """Make the calls in the queue until `_end`, or until a call raises an error."""
    # Between two calls the thread holds no reference to the object that owns the call, so that
    # the object can be freed.
    while (job := jobs.get()) is not None and not stop.is_set():
        future, call = job
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
            return
        finally:
            del job, future, call
