"""How every command line of the project ends: an error is one line on stderr and exit code 1."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Callable

#: Environment variable; with any value but "", errors show their traceback.
TRACEBACK = "FCN_TRACEBACK"
NO_CAFFE = (
    "no module named caffe: run `make setup` and use .venv/bin/python, or put the python folder "
    "of a BVLC Caffe on PYTHONPATH"
)
FAILED = 1
#: The shell's exit code of a program that was stopped with Ctrl-C: 128 + SIGINT.
INTERRUPTED = 130


def run(main: Callable[[], object]) -> None:
    """Call `main()`, and end the program with one error line if it fails.

    ValueError, OSError, RuntimeError, ImportError and MemoryError print their message on stderr
    and exit with 1; Ctrl-C exits with 130. With FCN_TRACEBACK=1 in the environment the error is
    raised instead.
    The log of Caffe is limited (`limit_log`).
    """
    limit_log()
    pass_on_settings()
    try:
        main()
    except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:
        if os.environ.get(TRACEBACK):
            raise
        sys.stdout.flush()
        print(f"error: {_one_line(message(error))}", file=sys.stderr)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        print("\nstopped; the same command continues", file=sys.stderr)
        sys.exit(INTERRUPTED)


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


def _one_line(text: str) -> str:
    """Return a text in one line, with escapes for the control characters of a terminal."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def require_caffe() -> None:
    """End the program with one error line if there is no module named caffe.

    For programs that import a package which imports caffe.
    """
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
