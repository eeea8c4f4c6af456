"""How a tool runs: its flags, where its log goes, and how it ends."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import caffe

from .. import glog, module_search, start
from ..errors import CaffeError, UsageError
from ..files import STRICT
from ..forks import FORK
from ..layers.registry import MODULES
from ..log_files import LogFiles
from ..run.failures import amount, lacks_memory, one_line
from .gflags import Flags, answer, parse, show_usage

#: Environment variable; with any value but "", exceptions of users' layers show their traceback.
TRACEBACK = "CAFFE_TRACEBACK"

__all__ = ["Flags", "parse", "run", "show_usage"]


def run(
    program: str,
    usage: str,
    flags: Flags,
    body: Callable[[SimpleNamespace, list[str]], int],
    argv: Sequence[str] | None,
) -> int:
    """Run `body(flags, arguments)` on a command line (sys.argv if None); return the exit status.

    For every exception, where BVLC Caffe would abort, the tool logs one fatal line and returns 1.
    With CAFFE_TRACEBACK=1 in the environment, exceptions that are not the engine's own are raised.
    Ctrl-C leaves one line, and the exit status is that of the shell, 130.
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
    with _logging(program, values), _working_folder_on_path():
        try:
            return body(values, positional)
        except CaffeError as error:
            glog.write(f"{program}.py", str(error), level=3)
            return 1
        except Exception as error:
            if os.environ.get(TRACEBACK):
                raise
            glog.write(f"{program}.py", describe(error), level=3)
            return 1
        except KeyboardInterrupt:
            print(f"{program}: interrupted", file=sys.stderr)
            return start.INTERRUPTED


def describe(error: Exception) -> str:
    """Return one line about an exception of a user's layer or of the system.

    The line has the layer, the type and the message, and the place where it was raised.
    """
    if lacks_memory(error):
        return (
            f"no memory: asked for {amount(error) or 'more than there is'}; use smaller images or "
            "batches, or a machine with more memory"
        )
    notes = "; ".join(getattr(error, "__notes__", ()))
    message = one_line(error)
    if isinstance(error, OSError) and not notes:
        return message
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno}; {TRACEBACK}=1 shows the traceback)"
    return f"{notes}{': ' if notes else ''}{type(error).__name__}: {message}{place}"


@contextmanager
def _working_folder_on_path() -> Iterator[None]:
    """Find modules of Python layers in the working folder, as `python -m` does.

    The installed command needs this, because its own folder is the first of the module path.
    """
    folder = os.getcwd()
    added = not {"", folder} & set(sys.path)
    if added:
        sys.path.insert(0, folder)
    try:
        yield
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)


@contextmanager
def _logging(program: str, values: SimpleNamespace) -> Iterator[None]:
    """Send the log where glog's flags say; set what the flags `fork`, `layers` and others name.

    Workers that the tool starts find all of them in their environment.
    """
    settings = {glog.LEVEL: str(values.minloglevel)}
    if getattr(values, "fork", ""):
        settings[FORK] = values.fork
    if getattr(values, "allow_python_layers", ""):
        settings[module_search.SETTING] = values.allow_python_layers
    if getattr(values, "layers", ""):
        settings[MODULES] = values.layers
    if getattr(values, "strict", False):
        settings[STRICT] = "1"
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
