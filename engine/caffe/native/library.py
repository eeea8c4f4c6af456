"""The C library that runs tables of instructions: loaded where it is installed and fits."""

from __future__ import annotations

import ctypes
import os
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .. import glog
from .records import RECORD

#: Where the installation leaves the library; engine/packing/native_library.py writes it.
PATH = Path(__file__).with_name("libinstructions.so")
SOURCE = PATH.with_name("instructions.c")
#: CAFFE_NATIVE=0 in the environment leaves all operations to NumPy.
_SWITCHED_ON = os.environ.get("CAFFE_NATIVE", "1") != "0"


class Library(NamedTuple):
    """run: runs records, by the address of a table, their number and the address of scratch memory;
    returns how many ran before one that refused its values.
    """

    run: Callable[[int, int, int], int]


class UnusableError(Exception):
    """The library cannot be used; the message says why."""


def open_library(path: Path) -> Library:
    """Load a library. Raises UnusableError where it is broken or compiled from another source."""
    try:
        library = ctypes.CDLL(str(path))
        checksum, size = library.caffe_native_checksum, library.caffe_native_record_size
        run, source = library.caffe_native_run, zlib.crc32(SOURCE.read_bytes())
    except (OSError, AttributeError) as error:
        raise UnusableError(f"{path} cannot be loaded: {error}") from error
    checksum.restype, size.restype = ctypes.c_uint32, ctypes.c_int64
    if checksum() != source or size() != RECORD.itemsize:
        raise UnusableError(
            f"{path} is compiled from another {SOURCE.name}; compile it again with make native"
        )
    run.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    run.restype = ctypes.c_int64
    return Library(run)


@cache
def load() -> Library | None:
    """Return the library; None where it is switched off, missing or unusable.

    A line of the log says why a library that is there cannot be used.
    """
    if not (_SWITCHED_ON and PATH.exists()):
        return None
    try:
        return open_library(PATH)
    except UnusableError as error:
        glog.write("library.py:1", f"Small layers are computed by NumPy: {error}", level=1)
        return None
