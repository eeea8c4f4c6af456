"""Log lines in glog's format, as BVLC Caffe writes them: on standard error and in files.

The environment variable GLOG_minloglevel (0 info, 1 warnings, 2 errors) says which lines are
written: those of its level and above. A program says with `destination` where they go.
"""

from __future__ import annotations

import datetime
import operator
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .launch import solver_rank
from .log_files import LogFiles
from .printable import printable

#: glog's variables: the least level, whether all lines go to standard error, the folder of files.
LEVEL, TO_STDERR, FOLDER = "GLOG_minloglevel", "GLOG_logtostderr", "GLOG_log_dir"
_LETTERS = "IWEF"
#: How a terminal colours lines of a level, as glog does; others keep their colour.
_COLORS = {1: "\033[0;33m{}\033[m", 2: "\033[0;31m{}\033[m", 3: "\033[0;31m{}\033[m"}


@dataclass(frozen=True)
class Destination:
    """Where lines go.

    files: the files of all lines, or None. stderr_level: the least level of lines that go to
    standard error. prefix: whether a line begins with level, time, thread and place. color: whether
    warnings and errors are coloured on standard error.
    """

    files: LogFiles | None = None
    stderr_level: int = 0
    prefix: bool = True
    color: bool = False


_destination = [Destination()]


@contextmanager
def destination(place: Destination) -> Iterator[None]:
    """Send the lines that are written in the `with` block to `place`."""
    _destination.append(place)
    try:
        yield
    finally:
        _destination.remove(place)
        if place.files is not None:
            place.files.close()


def shown(level: int = 0) -> bool:
    """Return whether lines of this level are written.

    Of several workers that train together, worker 0 alone writes lines of level 0.
    """
    return level >= _least_level() and not (level == 0 and solver_rank())


def _least_level() -> int:
    try:
        return int(os.environ.get(LEVEL, "0"))
    except ValueError:  # glog, too, reads what is not a number as 0
        return 0


def write(place: str, message: str, level: int = 0, text: str = "") -> None:
    """Write a log line, and below it the lines of `text`.

    place: the file and line that BVLC Caffe's line names. Control characters of the message, which
    a name in a file may have, are written as escapes.
    """
    if shown(level):
        _write(place, printable(message, keep="\t") + (f"\n{text}" if text else ""), level)


def _write(place: str, message: str, level: int) -> None:
    now = datetime.datetime.now()
    stamp = f"{_LETTERS[level]}{now:%m%d %H:%M:%S.%f}"
    line = message if message.endswith("\n") else message + "\n"
    target = _destination[-1]
    if target.prefix:
        line = f"{stamp} {threading.get_native_id():5d} {place}] {line}"
    if target.files is not None:
        target.files.write(level, line)
    if level >= target.stderr_level:
        color = _COLORS.get(level) if target.color else None
        sys.stderr.write(color.format(line) if color else line)


def log(message: str) -> None:
    """Write a script's own line to the log, from any worker. Raises TypeError for other objects."""
    if not isinstance(message, str):
        raise TypeError(f"log needs a str, found {type(message).__name__}")
    if _least_level() <= 0:
        _write("caffe.py:1", printable(message, keep="\t\n"), 0)


def init_log(level: int | None = None, stderr: bool | None = None) -> None:
    """Set the least level of the lines that are written, and where they go.

    level: 0 info, 1 warnings, 2 errors; None leaves GLOG_minloglevel as it is. stderr: whether all
        lines go to standard error, by default what GLOG_logtostderr says. As with glog, errors
        alone go there otherwise, and all lines to files in GLOG_log_dir or the folder of temporary
        files.
    """
    if level is not None:
        os.environ[LEVEL] = str(operator.index(level))
    if stderr is None:
        stderr = os.environ.get(TO_STDERR, "").lower() in ("1", "t", "true", "y", "yes")
    if _destination[0].files is not None:
        _destination[0].files.close()
    if stderr:
        _destination[0] = Destination()
    else:
        folder = os.environ.get(FOLDER) or tempfile.gettempdir()
        _destination[0] = Destination(LogFiles("python", folder), stderr_level=2)
