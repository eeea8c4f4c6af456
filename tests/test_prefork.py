"""Programs in forked processes end as programs of the interpreter do."""

from __future__ import annotations

import os
import signal

import pytest

from tests import prefork

LATE = """
import atexit, threading, time
atexit.register(print, "last")
threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
print("main")
"""
#: By code: the exit status, standard output, and the last line of standard error.
ENDS = {
    "print(3)": (0, "3\n", ""),
    "import sys; sys.exit()": (0, "", ""),
    "import sys; sys.exit(3)": (3, "", ""),
    "import sys; print('x', end=''); sys.exit(-1)": (255, "x", ""),
    "import sys; sys.exit('no such file')": (1, "", "no such file"),
    "1 / 0": (1, "", "ZeroDivisionError: division by zero"),
    "raise KeyboardInterrupt": (-signal.SIGINT, "", "KeyboardInterrupt"),
    LATE: (0, "main\nthread\nlast\n", ""),
}


@pytest.mark.parametrize(
    ("code", "end"),
    [*((code, "short") for code in ENDS), (LATE, "complete"), ("1 / 0", "complete")],
)
def test_a_program_has_the_status_and_the_outputs_of_a_new_process(program, code, end):
    status, out, last_line = ENDS[code]
    result = program("-c", code, PREFORK_END=end)
    assert (result.returncode, result.stdout) == (status, out)
    assert (result.stderr.splitlines() or [""])[-1] == last_line


@pytest.mark.parametrize(
    ("arguments", "environment", "alike"),
    [
        (["-c", ""], {}, True),
        (["script.py"], {"CAFFE_FAST": "0"}, True),
        (["-S", "-c", ""], {}, False),
        (["-c", ""], {"MALLOC_ARENA_MAX": "1"}, False),
    ],
)
def test_variables_read_at_the_start_of_python_need_a_new_process(arguments, environment, alike):
    assert prefork.starts_alike(arguments, {**os.environ, **environment}) == alike
