"""How every command line of the project ends: an error is one line on stderr and exit code 1."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import sys
import threading
from types import FrameType
from typing import Callable, Optional

#: Environment variable; with any value but "", errors show their traceback.
TRACEBACK = "FCN_TRACEBACK"
NO_CAFFE = (
    "no module named caffe: run `make setup` and use .venv/bin/python, or put the python folder "
    "of a BVLC Caffe on PYTHONPATH"
)
FAILED = 1
#: The shell's exit code of a program that was stopped with Ctrl-C: 128 + SIGINT.
INTERRUPTED = 130
#: The shell's exit code of a program that writes into a closed pipe: 128 + SIGPIPE.
PIPE_CLOSED = 141


def run(main: Callable[[], object]) -> None:
    """Call `main()`, and end the program with one error line if it fails.

    ValueError, OSError, RuntimeError, ImportError and MemoryError print their message on stderr
    and exit with 1. Ctrl-C exits with 130; the line is the exception's, if it has one. With
    FCN_TRACEBACK=1 in the environment the error is raised instead. The log of Caffe is limited
    (`limit_log`). A reader of the output that is gone ends the program silently, with 141 as the
    shell has for SIGPIPE.
    """
    # The end of the interpreter would walk all objects of the imported modules, for 0.4 s.
    gc.freeze()
    limit_log()
    pass_on_settings()
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    except BrokenPipeError:  # such as `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(PIPE_CLOSED)
    except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:
        if os.environ.get(TRACEBACK):
            raise
        sys.stdout.flush()
        print(f"error: {one_line(message(error))}", file=sys.stderr)
        sys.exit(FAILED)
    except KeyboardInterrupt as interrupt:
        # One more interrupt would be shown as an error of the interpreter's end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        line = str(interrupt) or "stopped; the same command continues"
        # The terminal shows ^C in the present line.
        print("\n" * sys.stderr.isatty() + line, file=sys.stderr)
        sys.exit(INTERRUPTED)


def end_at_interrupt() -> None:
    """Let Ctrl-C end the process with one line until `run`, while a program is loaded.

    For the first lines of programs. An exception would pass through half of an import, which turns
    it into other errors.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    if main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def end_loading_at_interrupt() -> None:
    """Call `end_at_interrupt` while `python -m` loads the package of a program."""
    if sys.argv[:1] == ["-m"]:  # as runpy sets it meanwhile
        end_at_interrupt()


def _end(number: int, frame: Optional[FrameType]) -> None:
    os.write(2, b"stopped; the same command continues\n")
    os._exit(INTERRUPTED)


def limit_log() -> None:
    """Limit the log of Caffe to warnings and errors, unless GLOG_minloglevel is set.

    BVLC Caffe reads the variable when it is imported.
    """
    os.environ.setdefault("GLOG_minloglevel", "1")


def pass_on_settings() -> None:
    """Hand FCN_PYTHON_LAYERS and FCN_STRICT on to the engine, for models from strangers.

    The engine reads CAFFE_PYTHON_LAYERS and CAFFE_STRICT; BVLC Caffe reads neither.
    """
    for name in ("PYTHON_LAYERS", "STRICT"):
        if os.environ.get(f"FCN_{name}"):
            os.environ.setdefault(f"CAFFE_{name}", os.environ[f"FCN_{name}"])


def one_line(text: str) -> str:
    """Return a text in one line, with escapes for the control characters of a terminal."""
    return printable(" ".join(text.split()))


def printable(text: str, keep: str = "") -> str:
    """Return a text, such as a name in a file, with escapes for control characters but `keep`."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )


def require_caffe() -> None:
    """End the program with one error line if there is no module named caffe.

    For programs that import a package which imports caffe; Ctrl-C during the imports leaves one
    line.
    """
    end_at_interrupt()
    if importlib.util.find_spec("caffe") is None:
        print(f"error: {NO_CAFFE}", file=sys.stderr)
        sys.exit(FAILED)


def message(error: Exception) -> str:
    """Return the text that tells a user what went wrong, without the type of the exception."""
    if isinstance(error, ModuleNotFoundError) and error.name == "caffe":
        return NO_CAFFE
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError) and not isinstance(error, RuntimeError):
        return f"no memory: {str(error) or 'the machine has none left'}; use smaller images"
    return str(error) or type(error).__name__
