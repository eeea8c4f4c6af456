"""How a tool runs: its flags, where its log goes, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import caffe

from .. import glog, start
from ..errors import CaffeError, UsageError
from ..forks import FORK
from ..log_files import LogFiles
from .gflags import Flags, answer, parse, show_usage

__all__ = ["Flags", "parse", "run", "show_usage"]


def run(
    program: str,
    usage: str,
    flags: Flags,
    body: Callable[[SimpleNamespace, list[str]], int],
    argv: Sequence[str] | None,
    runs_layers: bool = False,
) -> int:
    """Run `body(flags, arguments)` on a command line (sys.argv if None); return the exit status.

    Where BVLC Caffe aborts, the tool logs one fatal line and returns 1. Ctrl-C leaves one line, and
    the exit status is that of the shell, 130.

    runs_layers: whether the tool runs layers. An OSError may then come from a Python layer, whose
    exceptions are raised with their traceback.
    """
    start.ready()
    try:
        values, positional = parse(sys.argv[1:] if argv is None else argv, flags, program)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    if values.query == "version":
        print(f"{program} version {caffe.__version__}")
        return 0
    if values.query == "tab_completion_word":
        return 0
    if values.query:
        answer(values.query, getattr(values, values.query), program, usage, flags)
        return 1
    errors = CaffeError if runs_layers else (CaffeError, OSError)
    with _logging(program, values):
        try:
            return body(values, positional)
        except errors as error:
            glog.write(f"{program}.py", str(error), level=3)
            return 1
        except KeyboardInterrupt:
            print(f"{program}: interrupted", file=sys.stderr)
            return start.INTERRUPTED


@contextmanager
def _logging(program: str, values: SimpleNamespace) -> Iterator[None]:
    """Send the log where glog's flags say; set the fork that a tool's flag `fork` names.

    Workers that the tool starts find both in their environment.
    """
    settings = {glog.LEVEL: str(values.minloglevel)}
    if getattr(values, "fork", ""):
        settings[FORK] = values.fork
    folder = values.log_dir or os.environ.get("GOOGLE_LOG_DIR", "")
    files = None
    if folder and not values.logtostderr:
        links, size = values.log_link, values.max_log_size
        files = LogFiles(program, folder, links, size, values.logfile_mode)
        settings["GLOG_log_dir"] = folder
    everything = values.logtostderr or values.alsologtostderr or files is None
    color = values.colorlogtostderr and sys.stderr.isatty()
    level = 0 if everything else values.stderrthreshold
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        with glog.destination(glog.Destination(files, level, values.log_prefix, color)):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
