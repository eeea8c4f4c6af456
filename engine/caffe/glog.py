"""Log lines in glog's format on standard error, as BVLC Caffe writes them.

`GLOG_minloglevel` in the environment (0 info, 1 warnings, 2 errors) says which are left out.
"""

from __future__ import annotations

import datetime
import os
import sys
import threading

from .launch import solver_rank

LEVEL = "GLOG_minloglevel"
_LEVELS = "IWEF"


def shown(level: int = 0) -> bool:
    """Whether lines of this level are written; of workers that train together, 0 alone informs."""
    return level >= _level() and not (level == 0 and solver_rank())


def _level() -> int:
    try:
        return int(os.environ.get(LEVEL, "0"))
    except ValueError:
        return 0


def write(place: str, message: str, level: int = 0) -> None:
    """One log line: `place` is the file and line that BVLC Caffe's line names."""
    if shown(level):
        _write(place, message, level)


def _write(place: str, message: str, level: int) -> None:
    now = datetime.datetime.now()
    stamp = f"{_LEVELS[level]}{now:%m%d %H:%M:%S.%f}"
    end = "" if message.endswith("\n") else "\n"
    sys.stderr.write(f"{stamp} {threading.get_native_id():5d} {place}] {message}{end}")


def log(message: str) -> None:
    """Write a line of the user's own into the log, from whichever worker."""
    if _level() <= 0:
        _write("caffe.py:1", message, 0)


def init_log(*args: object) -> None:
    """pycaffe's start of logging; this log needs none, so any arguments are taken."""
