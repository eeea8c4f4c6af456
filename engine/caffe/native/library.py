"""The C library of small layers and of convolutions: loaded where it is installed and fits."""

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
from .structures import CALL, CONVOLUTION, GRADIENT, LRN, POINTWISE, POOLING, SPREAD, STEM

FOLDER = Path(__file__).parent
#: The structures whose sizes the library tells, in its order.
STRUCTURES = (RECORD, CONVOLUTION, POINTWISE, POOLING, CALL, LRN, STEM, SPREAD, GRADIENT)
#: Where the installation leaves the library; engine/packing/native_library.py writes it.
PATH = FOLDER / "libnative.so"
#: CAFFE_NATIVE=0 in the environment leaves all operations to NumPy and PyTorch.
_SWITCHED_ON = os.environ.get("CAFFE_NATIVE", "1") != "0"


class Library(NamedTuple):
    """The functions of the library; arguments are addresses and numbers.

    run: runs records, by the address of a table, their number and the address of scratch memory;
    returns how many ran before one that refused its values. winograd, pointwise, stem, pooling,
    lrn, spread, gradient: run jobs of a convolution by Winograd's algorithm, of a 1 x 1
    convolution, of a net's first 7 x 7 convolution, of a pooling, of a local response
    normalization, of a transposed convolution along an axis or of the gradient of 3 x 3 weights, by
    the address of their table, their number, and the address of the structure `team` of vectors.h;
    return whether the results can be used.
    run_calls: runs several such calls, by the address of their table, their number and that of the
    team; returns how many ran before one whose results cannot be used. winograd_scratch: the number
    of values of a job's scratch memory, for its channels, the side of its kernels, the tiles of a
    block and the outputs of a group. stem_scratch: likewise, for the channels and the width of the
    result. gradient_scratch: likewise, for the channels, the outputs and the tiles of a block.
    convolves: whether the jobs are fast on this processor.
    """

    run: Callable[[int, int, int], int]
    winograd: Callable[[int, int, int], int]
    pointwise: Callable[[int, int, int], int]
    stem: Callable[[int, int, int], int]
    pooling: Callable[[int, int, int], int]
    lrn: Callable[[int, int, int], int]
    spread: Callable[[int, int, int], int]
    gradient: Callable[[int, int, int], int]
    run_calls: Callable[[int, int, int], int]
    winograd_scratch: Callable[[int, int, int, int], int]
    stem_scratch: Callable[[int, int], int]
    gradient_scratch: Callable[[int, int, int], int]
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
        spread, gradient = library.caffe_native_spread, library.caffe_native_gradient
        gradient_scratch = library.caffe_native_gradient_scratch
        stem, stem_scratch = library.caffe_native_stem, library.caffe_native_stem_scratch
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
    for function in (winograd, pointwise, stem, pooling, lrn, spread, gradient):
        function.argtypes, function.restype = [address, number, address], ctypes.c_int
    run_calls.argtypes, run_calls.restype = [address, number, address], number
    scratch.argtypes, scratch.restype = [number] * 4, number
    stem_scratch.argtypes, stem_scratch.restype = [number] * 2, number
    gradient_scratch.argtypes, gradient_scratch.restype = [number] * 3, number
    functions = run, winograd, pointwise, stem, pooling, lrn, spread, gradient, run_calls
    return Library(*functions, scratch, stem_scratch, gradient_scratch, bool(convolves()))


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
