"""The C library of small layers for tests: the installed one, or one compiled for this session."""

from __future__ import annotations

import fcntl
import shutil
import sys
from pathlib import Path

from caffe.native import library

PACKING = Path(__file__).resolve().parents[2] / "engine" / "packing"


def packing_module():
    """The module that compiles the library."""
    sys.path.insert(0, str(PACKING))
    try:
        import native_library
    finally:
        sys.path.remove(str(PACKING))
    return native_library


def session_library(folder):
    """The library, or why there is none. folder: shared by all processes of the session."""
    installed = library.load()
    if installed is not None:
        return installed
    compiler = packing_module()
    if shutil.which(compiler.compiler()[0]) is None:
        return "there is no C compiler, so NumPy computes small layers, which other tests cover"
    path = folder / library.PATH.name
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reason = "" if path.exists() else compiler.compile_library(library=path)
    return f"the compiler fails: {reason}" if reason else library.open_library(path)
