"""Loads the C library of small layers and of convolutions, if it is installed and fits."""

from __future__ import annotations

import ctypes
import os
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .. import glog
from .records import RECORD
from .structures import CALL, CONVOLUTION, INNER, LRN, POINTWISE, POOLING, SPREAD, STEM

FOLDER = Path(__file__).parent
#: The structures whose sizes the library tells, in its order.
STRUCTURES = (RECORD, CONVOLUTION, POINTWISE, POOLING, CALL, LRN, STEM, SPREAD, INNER)
#: Where the installation leaves the library; engine/packing/native_library.py writes it.
PATH = FOLDER / "libnative.so"
#: CAFFE_NATIVE=0 in the environment leaves all operations to NumPy and PyTorch.
_SWITCHED_ON = os.environ.get("CAFFE_NATIVE", "1") != "0"


class Library(NamedTuple):
    """The functions of the library; arguments are addresses and numbers.

    run(table, count, scratch): runs records; returns the number of records before the first one
        that refused its values.
    winograd, pointwise, stem, pooling, lrn, spread, inner (table, count, team): run the jobs of a
        convolution by Winograd's algorithm, a 1 x 1 convolution, the first 7 x 7 convolution of a
        net, a max pooling, a local response normalization, a transposed convolution along an axis,
        an InnerProduct; return whether the results can be used. team: the structure of vectors.h.
    run_calls(table, count, team): makes several such calls; returns the number of calls before the
        first one whose results cannot be used.
    winograd_scratch(channels, side of the kernels, tiles of a block, outputs of a group),
        stem_scratch(channels, width of the result): return the number of values of a job's scratch
        memory.
    convolves: whether the jobs are fast on this processor.
    """

    run: Callable[[int, int, int], int]
    winograd: Callable[[int, int, int], int]
    pointwise: Callable[[int, int, int], int]
    stem: Callable[[int, int, int], int]
    pooling: Callable[[int, int, int], int]
    lrn: Callable[[int, int, int], int]
    spread: Callable[[int, int, int], int]
    inner: Callable[[int, int, int], int]
    run_calls: Callable[[int, int, int], int]
    winograd_scratch: Callable[[int, int, int, int], int]
    stem_scratch: Callable[[int, int], int]
    convolves: bool


class UnusableError(Exception):
    """The library cannot be used; the message says why."""


def source_checksum(folder: Path = FOLDER) -> int:
    """Return the checksum of the C files in a folder, which a library of them has."""
    files = sorted(p for p in folder.iterdir() if p.suffix in (".c", ".h"))
    return zlib.crc32(b"".join(p.read_bytes() for p in files))


def open_library(path: Path) -> Library:
    """Load a library. Raises UnusableError where it is broken or compiled from other sources."""
    number, address = ctypes.c_int64, ctypes.c_void_p
    try:
        library = ctypes.CDLL(str(path))
        checksum, sizes = library.caffe_native_checksum, library.caffe_native_sizes
        run, scratch = library.caffe_native_run, library.caffe_native_winograd_scratch
        winograd, pointwise = library.caffe_native_winograd, library.caffe_native_pointwise
        pooling, lrn = library.caffe_native_pooling, library.caffe_native_lrn
        spread = library.caffe_native_spread
        stem, stem_scratch = library.caffe_native_stem, library.caffe_native_stem_scratch
        inner = library.caffe_native_inner
        run_calls, convolves = library.caffe_native_run_calls, library.caffe_native_convolves
    except (OSError, AttributeError) as error:
        raise UnusableError(f"{path} cannot be loaded: {error}") from error
    checksum.restype, sizes.restype = ctypes.c_uint32, number
    structures = [dtype.itemsize for dtype in STRUCTURES]
    if checksum() != source_checksum() or [sizes(i) for i in range(len(STRUCTURES))] != structures:
        raise UnusableError(
            f"{path} is compiled from other C files; compile it again with make native"
        )
    run.argtypes, run.restype = [address, number, address], number
    for function in (winograd, pointwise, stem, pooling, lrn, spread, inner):
        function.argtypes, function.restype = [address, number, address], ctypes.c_int
    run_calls.argtypes, run_calls.restype = [address, number, address], number
    scratch.argtypes, scratch.restype = [number] * 4, number
    stem_scratch.argtypes, stem_scratch.restype = [number] * 2, number
    functions = run, winograd, pointwise, stem, pooling, lrn, spread, inner, run_calls
    return Library(*functions, scratch, stem_scratch, bool(convolves()))


def address_of(function: Any) -> int:
    """Return the address of a function of a loaded library."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


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
        glog.write("library.py:1", f"The C library is not used: {error}", level=1)
        return None
