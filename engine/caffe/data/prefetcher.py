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

    position: where the calls are, which the thread asks for after each call. `self.position` is
        the one after the call whose result was returned last, however many calls are ahead.
    """

    def __init__(
        self,
        call: Callable[[], T],
        count: int,
        name: str,
        position: Callable[[], Any] = lambda: None,
    ) -> None:
        self._count, self._name = count, name
        self._call = _with_position(call, position)
        self._jobs: SimpleQueue[Any] | None = None
        self._stop = threading.Event()
        self._results: deque[Future[tuple[T, Any]]] = deque()
        self.position = position()

    def next(self) -> T:
        """Return the result of the next call."""
        if self._jobs is None:
            self._jobs = SimpleQueue()
            weakref.finalize(self, _end, self._jobs, self._stop)
            arguments = self._jobs, self._stop
            threading.Thread(target=_work, args=arguments, name=self._name, daemon=True).start()
        while len(self._results) <= self._count:
            future: Future[tuple[T, Any]] = Future()
            self._results.append(future)
            self._jobs.put((future, self._call))
        if (error := self._results[0].exception()) is not None:
            raise error
        result, self.position = self._results.popleft().result()
        return result

    def discard(self) -> None:
        """Wait for the calls that were made in advance, and forget their results."""
        while self._results:
            if (error := self._results[0].exception()) is not None:
                raise error
            self._results.popleft()


def _with_position(
    call: Callable[[], T], position: Callable[[], Any]
) -> Callable[[], tuple[T, Any]]:
    return lambda: (call(), position())


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
