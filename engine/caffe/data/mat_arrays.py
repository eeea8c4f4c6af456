"""Arrays of numbers in MATLAB files of version 5, which MATLAB writes by default.

SciPy's reader is not used: one flipped byte in a file can crash it, and the process with it. Every
size is checked here before values are read. The format is that of MathWorks' "MAT-File Format".
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .. import files
from ..errors import FileError

#: Bytes before the first element: a text, the version, and the order of bytes.
_HEADER = 128
_VERSION = 0x0100
_MATRIX, _COMPRESSED = 14, 15
#: Types of stored numbers, and classes of arrays.
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8"}
_STORED[13] = "u8"
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8"}
_CLASSES[15] = "u8"
#: The flag of an array with imaginary parts.
_COMPLEX = 0x0800


class _Element(NamedTuple):
    kind: int
    content: memoryview


def read_array(path: str | os.PathLike, name: str) -> np.ndarray:
    """Return the array `name`, with MATLAB's axes. Raises FileError if there is none to read."""
    content = memoryview(files.read_bytes(path))
    try:
        for array in _arrays(content, name):
            return array
    except (ValueError, zlib.error) as error:
        raise FileError(f"{os.fspath(path)}: is a damaged MATLAB file: {error}") from None
    raise FileError(f"{os.fspath(path)}: has no array `{name}`")


def _arrays(content: memoryview, name: str) -> Iterator[np.ndarray]:
    """Yield the arrays of a name, which are one or none in files of MATLAB."""
    if len(content) < _HEADER or bytes(content[126:128]) not in (b"IM", b"MI"):
        raise ValueError("it has no header of version 5 (save -v6, -v7)")
    order = "<" if bytes(content[126:128]) == b"IM" else ">"
    (version,) = struct.unpack_from(f"{order}H", content, 124)
    if version != _VERSION:
        raise ValueError(f"its version is {version:#x}, needs {_VERSION:#x} (save -v6, -v7)")
    for element in _elements(content[_HEADER:], order):
        if element.kind == _COMPRESSED:
            (element,) = _elements(memoryview(zlib.decompress(element.content)), order)
        if element.kind == _MATRIX:
            flags, shape, label, *rest = _elements(element.content, order)
            if bytes(label.content).decode("latin-1") == name:
                yield _numbers(flags, shape, rest, order)


def _elements(content: memoryview, order: str) -> Iterator[_Element]:
    """Yield the elements of a file or of an array; those begin at multiples of 8 bytes."""
    at = 0
    while at < len(content):
        if len(content) - at < 8:
            raise ValueError("it ends within an element")
        kind, size = struct.unpack_from(f"{order}II", content, at)
        start = at + 8
        if kind >> 16:  # Up to 4 bytes lie in the place of the size.
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        end = start + size
        if end > len(content) or (start == at + 4 and size > 4):
            raise ValueError(f"an element has {size} bytes, of which {len(content) - start} exist")
        yield _Element(kind, content[start:end])
        # Compressed elements follow each other without a gap.
        at = end if kind == _COMPRESSED else max(at + 8, -(-end // 8) * 8)


def _numbers(flags: _Element, shape: _Element, parts: list[_Element], order: str) -> np.ndarray:
    if len(flags.content) < 4:
        raise ValueError("an array has no class")
    (word,) = struct.unpack_from(f"{order}I", flags.content)
    if word & 0xFF not in _CLASSES or word & _COMPLEX or len(parts) != 1:
        raise ValueError(f"an array is of class {word & 0xFF}, needs one of real numbers")
    if parts[0].kind not in _STORED:
        raise ValueError(f"an array has values of type {parts[0].kind}, needs numbers")
    axes = np.frombuffer(shape.content[: len(shape.content) // 4 * 4], f"{order}i4").tolist()
    stored = np.dtype(f"{order}{_STORED[parts[0].kind]}")
    if min(axes, default=-1) < 0 or math.prod(axes) * stored.itemsize != len(parts[0].content):
        raise ValueError(f"an array of the shape {axes} has {len(parts[0].content)} bytes")
    values = np.frombuffer(parts[0].content, stored).astype(_CLASSES[word & 0xFF])
    return values.reshape(axes, order="F")
