"""What every command line here does with an error: one line on stderr and exit code 1."""

from __future__ import annotations

import os
import sys
from typing import Callable

TRACEBACK = "FCN_TRACEBACK"
NO_CAFFE = (
    "no module named caffe: run `make setup` and use .venv/bin/python, or put the python folder "
    "of a BVLC Caffe on PYTHONPATH"
)


def run(main: Callable[[], object]) -> None:
    """Call `main()`. Bad input ends with its message and exit code 1.

    With FCN_TRACEBACK=1 in the environment the traceback is shown instead. Caffe's own log shows
    warnings and errors only, unless GLOG_minloglevel is set.
    """
    os.environ.setdefault("GLOG_minloglevel", "1")
    try:
        main()
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if os.environ.get(TRACEBACK):
            raise
        text = str(error) or type(error).__name__
        if isinstance(error, ModuleNotFoundError) and error.name == "caffe":
            text = NO_CAFFE
        elif isinstance(error, OSError) and error.strerror and error.filename:
            text = f"{error.filename}: {error.strerror}"
        sys.stdout.flush()
        print(f"error: {text}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nstopped; the same command continues", file=sys.stderr)
        sys.exit(130)
