"""Calls that a thread makes in advance."""

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
    """Returns 0, 1, 2 ..., and raises an error for the number `bad`."""

    def __init__(self, bad=-1):
        self.count, self.bad = 0, bad

    def call(self):
        number = self.count
        if number == self.bad:
            raise ValueError(f"number {number}")
        self.count += 1
        return number


def test_results_come_in_order_and_only_the_set_number_of_calls_runs_in_advance():
    numbers = Numbers()
    prefetcher = Prefetcher(numbers.call, 3, "three")
    assert numbers.count == 0 and not threads("three")
    assert prefetcher.next() == 0
    wait_until(lambda: numbers.count == 4)
    assert [prefetcher.next() for _ in range(5)] == [1, 2, 3, 4, 5]
    wait_until(lambda: numbers.count == 9)
    time.sleep(0.05)
    assert numbers.count == 9


def test_with_no_calls_in_advance_a_call_runs_when_its_result_is_read():
    numbers = Numbers()
    prefetcher = Prefetcher(numbers.call, 0, "none")
    assert [prefetcher.next(), prefetcher.next(), numbers.count] == [0, 1, 2]


def test_an_error_is_raised_in_place_of_its_result_and_again_after_it():
    numbers = Numbers(bad=2)
    prefetcher = Prefetcher(numbers.call, 4, "error")
    assert [prefetcher.next(), prefetcher.next()] == [0, 1]
    for _ in range(3):
        with pytest.raises(ValueError, match="number 2"):
            prefetcher.next()
    wait_until(lambda: not threads("error"))
    assert numbers.count == 2


def test_the_thread_ends_when_the_reader_is_deleted():
    class Reader:
        def __init__(self):
            self.prefetcher = Prefetcher(lambda: self, 2, "gone")

    reader = Reader()
    reader.prefetcher.next()
    assert threads("gone") and threads("gone")[0].daemon
    del reader
    # A running call keeps the reader alive until the call returns.
    wait_until(lambda: gc.collect() >= 0 and not threads("gone"))


def test_a_running_call_does_not_keep_the_process_alive(program):
    code = (
        "import time; from caffe.data.prefetcher import Prefetcher; n = iter([0] + [60] * 9)\n"
        "Prefetcher(lambda: time.sleep(next(n)), 5, 'slow').next()"
    )
    assert program("-c", code, PREFORK_END="complete").returncode == 0


@pytest.mark.slow
def test_a_process_ends_in_peace_while_opencv_decodes_an_image():
    # A process of its own: a forked one ends without the teardown that aborted.
    code = (
        "import cv2, numpy; from caffe.data.prefetcher import Prefetcher\n"
        "code = cv2.imencode('.png', numpy.zeros((600, 600, 3), numpy.uint8))[1]\n"
        "reader = Prefetcher(lambda: [cv2.imdecode(code, 1) for _ in range(3)], 50, 'reader')\n"
        "reader.next()"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
