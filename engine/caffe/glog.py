"""Log lines in glog's format on standard error, as BVLC Caffe writes them.

The environment variable GLOG_minloglevel (0 info, 1 warnings, 2 errors) says which lines are
written: those of its level and above.
"""

from __future__ import annotations

import datetime
import os
import sys
import threading

from .launch import solver_rank

LEVEL = "GLOG_minloglevel"
_LETTERS = "IWEF"


def shown(level: int = 0) -> bool:
    """Return whether lines of this level are written.

    Of several workers that train together, worker 0 alone writes lines of level 0.
    """
    return level >= _least_level() and not (level == 0 and solver_rank())


def _least_level() -> int:
    try:
        return int(os.environ.get(LEVEL, "0"))
    except ValueError:  # glog, too, reads what is no number as 0
        return 0


def write(place: str, message: str, level: int = 0) -> None:
    """Write a log line. `place` is the file and line that BVLC Caffe's line names."""
    if shown(level):
        _write(place, message, level)


def _write(place: str, message: str, level: int) -> None:
    now = datetime.datetime.now()
    stamp = f"{_LETTERS[level]}{now:%m%d %H:%M:%S.%f}"
    end = "" if message.endswith("\n") else "\n"
    sys.stderr.write(f"{stamp} {threading.get_native_id():5d} {place}] {message}{end}")


def log(message: str) -> None:
    """Write a script's own line to the log, from any worker."""
    if _least_level() <= 0:
        _write("caffe.py:1", message, 0)


def init_log(*args: object) -> None:
    """Do nothing: pycaffe starts its log here, with arguments that this log does not need."""
