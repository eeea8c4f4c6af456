"""Reading ahead of the net."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time

import pytest
from caffe.data.prefetcher import Prefetcher


def threads(name):
    return [thread for thread in threading.enumerate() if thread.name == name]


def wait_until(fact):
    end = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.01)


class Numbers:
    """Gives 0, 1, 2 ..., and an error for the number `bad`."""

    def __init__(self, bad=-1):
        self.made, self.bad = 0, bad

    def call(self):
        number = self.made
        if number == self.bad:
            raise ValueError(f"number {number}")
        self.made += 1
        return number


def test_results_come_in_order_and_are_made_so_many_ahead():
    numbers = Numbers()
    ahead = Prefetcher(numbers.call, 3, "three")
    assert numbers.made == 0 and not threads("three")
    assert ahead.next() == 0
    wait_until(lambda: numbers.made == 4)
    assert [ahead.next() for _ in range(5)] == [1, 2, 3, 4, 5]
    wait_until(lambda: numbers.made == 9)
    time.sleep(0.05)
    assert numbers.made == 9


def test_with_none_ahead_a_result_is_made_when_it_is_asked_for():
    numbers = Numbers()
    ahead = Prefetcher(numbers.call, 0, "none")
    assert [ahead.next(), ahead.next(), numbers.made] == [0, 1, 2]


def test_an_error_comes_where_its_result_would_and_stays():
    numbers = Numbers(bad=2)
    ahead = Prefetcher(numbers.call, 4, "error")
    assert [ahead.next(), ahead.next()] == [0, 1]
    for _ in range(3):
        with pytest.raises(ValueError, match="number 2"):
            ahead.next()
    wait_until(lambda: not threads("error"))
    assert numbers.made == 2


def test_the_thread_ends_with_whom_it_reads_for():
    class Reader:
        def __init__(self):
            self.ahead = Prefetcher(lambda: self, 2, "gone")

    reader = Reader()
    reader.ahead.next()
    assert threads("gone") and threads("gone")[0].daemon
    del reader
    # A call that is being made keeps its object until it is done.
    wait_until(lambda: gc.collect() >= 0 and not threads("gone"))


def test_a_process_ends_while_something_is_read_ahead():
    code = (
        "import time; from caffe.data.prefetcher import Prefetcher; n = iter([0] + [60] * 9)\n"
        "Prefetcher(lambda: time.sleep(next(n)), 5, 'slow').next()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)
