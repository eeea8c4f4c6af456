"""The layers and shapes in a .caffemodel or .solverstate, without parsing its numbers.

Both files are protocol buffers: sequences of (field number, wire type, value). Walking over the
lengths finds the names and the shapes, and whether the file is truncated, in milliseconds for half
a gigabyte.
"""

from __future__ import annotations

import mmap
import os
from typing import Collection, Dict, Iterator, List, Tuple, Union

from fcn_common.places import writable

Buffer = Union[mmap.mmap, bytes, memoryview]
Shapes = Dict[str, List[Tuple[int, ...]]]

# Field numbers in caffe.proto: NetParameter.layers (V1) and .layer, and of each the name and blobs.
_NET_LAYERS_V1, _NET_LAYER = 2, 100
_NAME_AND_BLOBS = {_NET_LAYERS_V1: (4, 6), _NET_LAYER: (1, 7)}
_BLOB_SHAPE, _SHAPE_DIM, _STATE_CURRENT_STEP = 7, 1, 4
#: The last of num, channels, height and width, the fields of a shape in Caffe before 2014.
_LEGACY_DIMS = 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class TruncatedError(ValueError):
    """Raised if the bytes end inside a field, or are not a protocol buffer."""


def contents(path: str) -> Shapes:
    """Return name -> shape of each blob for the layers with weights, in the file's order.

    Raises OSError for a file that cannot be read, and ValueError for a file that is truncated,
    empty or not a .caffemodel.
    """
    shapes: Shapes = {}
    try:
        with _mapped(path) as data:
            for field, start, end in _fields(data, 0, len(data)):
                if field in _NAME_AND_BLOBS:
                    name, blobs = _layer(data, start, end, *_NAME_AND_BLOBS[field])
                    if blobs:
                        shapes[name] = blobs
    except TruncatedError as error:
        raise ValueError(
            f"{path}: truncated, or not a .caffemodel ({error}); download or train it again"
        ) from None
    if not shapes:
        raise ValueError(f"{path}: has no layer with weights, a .caffemodel needs at least one")
    return shapes


def layer_bytes(path: str, name: str) -> Tuple[bytes, bool]:
    """Return the message of the layer `name`, and whether it is a V1LayerParameter.

    Raises what `contents` raises, and ValueError for a file without such a layer with weights.
    """
    contents(path)
    with _mapped(path) as data:
        for field, start, end in _fields(data, 0, len(data)):
            if field in _NAME_AND_BLOBS:
                layer, blobs = _layer(data, start, end, *_NAME_AND_BLOBS[field])
                if blobs and layer == name:
                    return bytes(data[start:end]), field == _NET_LAYERS_V1
    raise ValueError(f"{path}: has no layer {name} with weights")


def write_without(path: str, out: str, names: Collection[str]) -> None:
    """Write to `out` the .caffemodel at `path` without the layers `names`."""
    with _mapped(path) as data, open(writable(out), "wb") as file:
        copied = 0
        for field, start, end in _fields(data, 0, len(data)):
            layer = field in _NAME_AND_BLOBS and _layer(data, start, end, *_NAME_AND_BLOBS[field])
            if not (layer and layer[0] in names):
                file.write(data[copied:end])
            copied = end


def complete_state(path: str) -> bool:
    """Return whether a .solverstate is complete. Caffe writes `current_step` last."""
    try:
        with _mapped(path) as data:
            fields = [field for field, _, _ in _fields(data, 0, len(data))]
    except (OSError, ValueError):
        return False
    return fields[-1:] == [_STATE_CURRENT_STEP]


def complete_model(path: str) -> bool:
    """Return whether a .caffemodel is complete."""
    try:
        return bool(contents(path))
    except (OSError, ValueError):
        return False


def _mapped(path: str) -> mmap.mmap:
    if os.path.getsize(path) == 0:
        raise TruncatedError("0 bytes")
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _layer(
    data: Buffer, start: int, end: int, name_field: int, blobs_field: int
) -> Tuple[str, List[Tuple[int, ...]]]:
    name, blobs = "", []
    for field, first, last in _fields(data, start, end):
        if field == name_field:
            name = bytes(data[first:last]).decode("utf-8", "replace")
        elif field == blobs_field:
            blobs.append(_blob_shape(data, first, last))
    return name, blobs


def _blob_shape(data: Buffer, start: int, end: int) -> Tuple[int, ...]:
    legacy = {}
    for field, first, last in _fields(data, start, end):
        if field == _BLOB_SHAPE:
            return tuple(_dims(data, first, last))
        if field <= _LEGACY_DIMS:
            legacy[field] = _varint(data, first, end)[0]
    return tuple(legacy.get(field, 1) for field in range(1, _LEGACY_DIMS + 1)) if legacy else ()


def _dims(data: Buffer, start: int, end: int) -> Iterator[int]:
    for field, first, last in _fields(data, start, end):
        if field == _SHAPE_DIM:
            while first < last:
                dim, first = _varint(data, first, last)
                yield dim


def _fields(data: Buffer, at: int, end: int) -> Iterator[Tuple[int, int, int]]:
    """Yield (field number, first byte, end) of each value between `at` and `end`."""
    while at < end:
        tag, at = _varint(data, at, end)
        field, wire = tag >> 3, tag & 7
        start = at
        if wire == _VARINT:
            at = _varint(data, at, end)[1]
        elif wire == _BYTES:
            length, start = _varint(data, at, end)
            at = start + length
        elif wire in (_FIXED32, _FIXED64):
            at += 4 if wire == _FIXED32 else 8
        else:
            raise TruncatedError(f"byte {start} is not a field of a protocol buffer")
        if field == 0:
            raise TruncatedError(f"byte {start} is not a field of a protocol buffer")
        if at > end:
            raise TruncatedError(f"the value at byte {start} ends at byte {at}, the file at {end}")
        yield field, start, at


def _varint(data: Buffer, at: int, end: int) -> Tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            break
    raise TruncatedError(f"the number before byte {at} has no end")
