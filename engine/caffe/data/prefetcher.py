"""`Prefetcher`: calls that a thread makes in advance, while the net computes."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")
#: Seconds that the end of a process waits for a call, such as one to a camera that is silent.
LAST_CALL = 2.0
#: What a thread and its prefetcher share: the jobs, the request to stop, and a lock that the thread
#: holds during a call.
Channel = tuple[SimpleQueue, threading.Event, Any]


class Prefetcher(Generic[T]):
    """Returns the results of `call()`, in order, with up to `count` calls made in advance.

    One thread named `name` makes the calls, one after another. The thread starts with the first
    `next()`, ends with this object or after an error, and does not keep the process alive. The
    `next()` of a failed call raises the call's error, and so does every later `next()`.

    A process that is forked goes on with the same results: the fork waits for the end of a call,
    and the child starts a thread of its own.

    position: returns where the calls are; the thread calls it after each call. `self.position` is
        the position after the call whose result was returned last, no matter how many calls are
        ahead.
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
        self._channel: Channel | None = None
        self._results: deque[Future[tuple[T, Any]]] = deque()
        self.position = position()

    def next(self) -> T:
        """Return the result of the next call."""
        if self._channel is None:
            self._start()
        assert self._channel is not None
        while len(self._results) <= self._count:
            future: Future[tuple[T, Any]] = Future()
            self._results.append(future)
            self._channel[0].put((future, self._call))
        if (error := self._results[0].exception()) is not None:
            raise error
        result, self.position = self._results.popleft().result()
        return result

    def discard(self) -> None:
        """Wait for the calls that were made in advance, and forget their results."""
        if self._results and self._channel is None:  # after a fork
            self._start()
        while self._results:
            if (error := self._results[0].exception()) is not None:
                raise error
            self._results.popleft()

    def _start(self) -> None:
        """Start a thread, with the results that are still missing as its jobs."""
        channel = self._channel = SimpleQueue(), threading.Event(), threading.RLock()
        _prefetchers.add(self)
        for future in self._results:
            if not future.done():
                channel[0].put((future, self._call))
        weakref.finalize(self, _end, channel)
        threading.Thread(target=_work, args=(channel,), name=self._name, daemon=True).start()

    def hold(self, seconds: float = -1) -> None:
        """Wait for the end of a call and let none begin.

        seconds: how long to wait at most; below 0 there is no limit.
        """
        if self._channel is not None:
            self._channel[2].acquire(timeout=seconds)

    def finish(self) -> None:
        """Let no call begin, before the process ends."""
        self.hold(LAST_CALL)

    def release(self) -> None:
        """Let calls begin again."""
        if self._channel is not None:
            self._channel[2].release()

    def forget_thread(self) -> None:
        """Start another thread with the next call; this process has none."""
        self._channel = None


def _with_position(
    call: Callable[[], T], position: Callable[[], Any]
) -> Callable[[], tuple[T, Any]]:
    return lambda: (call(), position())


_prefetchers: weakref.WeakSet[Prefetcher] = weakref.WeakSet()


def _for_each(call: Callable[[Prefetcher], None]) -> Callable[[], None]:
    def run() -> None:
        for prefetcher in list(_prefetchers):
            call(prefetcher)

    return run


# At the end of a process Python stops threads where they come back from C++; within OpenCV that
# aborts the process. No call runs any more once each prefetcher is held.
atexit.register(_for_each(Prefetcher.finish))

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_for_each(Prefetcher.hold),
        after_in_parent=_for_each(Prefetcher.release),
        after_in_child=_for_each(Prefetcher.forget_thread),
    )


def _end(channel: Channel) -> None:
    channel[1].set()
    channel[0].put(None)


def _work(channel: Channel) -> None:
    """Make the calls in the queue until `_end`, or until a call raises an error."""
    # Between two calls the thread holds no reference to the object that owns the call, so that
    # the object can be freed.
    jobs, stop, busy = channel
    while (job := jobs.get()) is not None and not stop.is_set():
        future, call = job
        with busy:
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
                return
            finally:
                del job, future, call
