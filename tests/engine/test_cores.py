"""Whether other programs run on the cores of this process, from what the system counts."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from caffe import cores

BUSY = "import os\nos.sched_setaffinity(0, {%d})\nwhile True: pass"


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ((0.0, 5.0), (1.0, 6.0), True),  # another program on one core
        ((0.0, 5.0), (1.0, 5.1), False),  # little beside this process
        ((0.0, 5.0), (0.1, 5.1), False),  # too short for the clock of the system
        (None, (1.0, 6.0), False),  # the system did not say
        ((0.0, 5.0), None, False),
    ],
)
def test_others_run_where_they_keep_half_a_core_busy(first, last, expected):
    assert cores.others_run(first, last) is expected


def test_a_sample_is_missing_where_the_system_does_not_say():
    def unknown():
        raise FileNotFoundError("/proc/stat")

    assert cores.sample(unknown) is None
    clock, seconds = cores.sample(lambda: 3.0)
    assert seconds == 3.0 and clock <= time.perf_counter()


@pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="the system has no /proc/stat")
def test_the_time_of_this_process_does_not_count_as_that_of_others():
    # Other programs may run, so the counts are compared with what a program of known load adds.
    def count(seconds):
        before, begin = cores.others_time(), time.process_time()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return cores.others_time() - before, time.process_time() - begin

    core = min(os.sched_getaffinity(0))
    others, used = count(0.5)
    program = subprocess.Popen([sys.executable, "-c", BUSY % core])
    try:
        time.sleep(0.2)
        more, _ = count(0.5)
    finally:
        program.kill()
        program.wait()
    assert used > 0.05
    assert others <= 0.5 * len(os.sched_getaffinity(0)) - used + 0.05
    assert more > 0.1
