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
from .structures import (
    BAND,
    BOTTOM_GRADIENT,
    CALL,
    CONVOLUTION,
    GRADIENT,
    INNER,
    LRN,
    POINTWISE,
    POOLING,
    SPREAD,
    STEM,
    WINDOWS,
)

FOLDER = Path(__file__).parent
#: The structures of which the library reports the sizes, in its order.
STRUCTURES = (
    *(RECORD, CONVOLUTION, POINTWISE, POOLING, CALL, LRN, STEM, SPREAD, INNER, GRADIENT),
    *(BOTTOM_GRADIENT, WINDOWS, WINDOWS, BAND),
)
#: Where the installation leaves the library; engine/packing/native_library.py writes it.
PATH = FOLDER / "libnative.so"
#: CAFFE_NATIVE=0 in the environment leaves all operations to NumPy and PyTorch.
_SWITCHED_ON = os.environ.get("CAFFE_NATIVE", "1") != "0"


class Library(NamedTuple):
    """The functions of the library; arguments are addresses and numbers.

    run: runs records, by the address of a table, their number and the address of scratch memory;
    returns how many ran before one that refused its values.
    winograd, pointwise, depthwise, bands, image, stem, pooling, lrn, spread, inner, gradient,
    bottom_gradient: run jobs of a convolution by Winograd's algorithm, of a 1 x 1 convolution, of a
    depthwise convolution, of successive convolutions of these two kinds, of a convolution of few
    planes, of a net's first 7 x 7 convolution, of a pooling, of a local response normalization, of
    a transposed convolution along an axis, of an InnerProduct, or of the gradient of a
    convolution's weights or bottom. The arguments are the address of their table, their number, and
    the address of the structure `team` of vectors.h. They return whether the results can be used.
    run_calls: runs several such calls, by the address of their table, their number and that of the
    team; returns how many ran before one whose results cannot be used.
    winograd_scratch: the number of values of a job's scratch memory, for its channels, the side of
    its kernels, the tiles of a block and the outputs of a group. stem_scratch: likewise, for the
    channels and the width of the result. gradient_scratch: likewise, for the channels, the side of
    the kernels, the tiles of a block, the outputs of a group, and the channels whose sums are in
    memory at a time. bottom_scratch: likewise, for the channels, the side of the kernels and the
    tiles of a block.
    round: rounds float32 values to bfloat16, by the addresses of both and their number.
    convolves: whether the jobs are fast on this processor.
    """

    run: Callable[[int, int, int], int]
    winograd: Callable[[int, int, int], int]
    pointwise: Callable[[int, int, int], int]
    depthwise: Callable[[int, int, int], int]
    bands: Callable[[int, int, int], int]
    image: Callable[[int, int, int], int]
    stem: Callable[[int, int, int], int]
    pooling: Callable[[int, int, int], int]
    lrn: Callable[[int, int, int], int]
    spread: Callable[[int, int, int], int]
    inner: Callable[[int, int, int], int]
    gradient: Callable[[int, int, int], int]
    bottom_gradient: Callable[[int, int, int], int]
    run_calls: Callable[[int, int, int], int]
    winograd_scratch: Callable[[int, int, int, int], int]
    stem_scratch: Callable[[int, int], int]
    gradient_scratch: Callable[[int, int, int, int, int], int]
    bottom_scratch: Callable[[int, int, int], int]
    round: Callable[[int, int, int], None]
    convolves: bool


_NUMBER, _ADDRESS = ctypes.c_int64, ctypes.c_void_p
_TABLE = [_ADDRESS, _NUMBER, _ADDRESS]
#: The types of the arguments and of the result of each function of `Library`.
_SIGNATURES: dict[str, tuple[list[Any], Any]] = {
    "run": (_TABLE, _NUMBER),
    "winograd": (_TABLE, ctypes.c_int),
    "pointwise": (_TABLE, ctypes.c_int),
    "depthwise": (_TABLE, ctypes.c_int),
    "bands": (_TABLE, ctypes.c_int),
    "image": (_TABLE, ctypes.c_int),
    "stem": (_TABLE, ctypes.c_int),
    "pooling": (_TABLE, ctypes.c_int),
    "lrn": (_TABLE, ctypes.c_int),
    "spread": (_TABLE, ctypes.c_int),
    "inner": (_TABLE, ctypes.c_int),
    "gradient": (_TABLE, ctypes.c_int),
    "bottom_gradient": (_TABLE, ctypes.c_int),
    "run_calls": (_TABLE, _NUMBER),
    "winograd_scratch": ([_NUMBER] * 4, _NUMBER),
    "stem_scratch": ([_NUMBER] * 2, _NUMBER),
    "gradient_scratch": ([_NUMBER] * 5, _NUMBER),
    "bottom_scratch": ([_NUMBER] * 3, _NUMBER),
    "round": ([_ADDRESS, _ADDRESS, _NUMBER], None),
}


class UnusableError(Exception):
    """The library cannot be used; the message says why."""


def source_checksum(folder: Path = FOLDER) -> int:
    """Return the checksum of the C files in a folder, which a library of them has."""
    files = sorted(p for p in folder.iterdir() if p.suffix in (".c", ".h"))
    return zlib.crc32(b"".join(p.read_bytes() for p in files))


def open_library(path: Path) -> Library:
    """Load a library. Raises UnusableError where it is broken or compiled from other sources."""
    try:
        library = ctypes.CDLL(str(path))
        checksum, sizes = library.caffe_native_checksum, library.caffe_native_sizes
        functions = {name: getattr(library, f"caffe_native_{name}") for name in _SIGNATURES}
        convolves = library.caffe_native_convolves
    except (OSError, AttributeError) as error:
        raise UnusableError(f"{path} cannot be loaded: {error}") from error
    checksum.restype, sizes.restype = ctypes.c_uint32, _NUMBER
    structures = [dtype.itemsize for dtype in STRUCTURES]
    if checksum() != source_checksum() or [sizes(i) for i in range(len(STRUCTURES))] != structures:
        raise UnusableError(
            f"{path} is compiled from other C files; compile it again with make native"
        )
    for name, signature in _SIGNATURES.items():
        functions[name].argtypes, functions[name].restype = signature
    return Library(**functions, convolves=bool(convolves()))


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


def required() -> Library:
    """Return the library. Raises UnusableError where `load` returns None."""
    native = load()
    if native is None:
        raise UnusableError(f"{PATH} is not in use; ask `load` before its functions are needed")
    return native
