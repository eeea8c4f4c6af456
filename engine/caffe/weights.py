"""Weights (.caffemodel) and solver states (.solverstate): read in either format, written in binary.

hdf5.py has the HDF5 format. The binary files are read field by field in mapped pages. Their values
stay there until a blob needs them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

from . import files, hdf5, wire
from .blob import Blob
from .errors import FileError
from .hdf5 import is_hdf5
from .io import RAW_DTYPES, blobproto_to_array
from .lazy import MappedFile
from .proto import caffe_pb2
from .records import LayerWeights, SolverState, StoredBlob, StoredLayers, contiguous_array

__all__ = [
    "LayerWeights",
    "SolverState",
    "StoredBlob",
    "is_hdf5",
    "read_blob",
    "read_net",
    "read_state",
    "read_structure",
    "write_net",
    "write_state",
]

#: The fields of a BlobProto: num, channels, height and width; data and diff as float; shape;
#: data and diff as double.
LEGACY_SHAPE, FLOATS, SHAPE, DOUBLES = (1, 2, 3, 4), (5, 6), 7, (8, 9)
#: C3D's fields: num, channels, length, height and width; data and diff as float.
VOLUME_SHAPE, VOLUME_FLOATS = (1, 2, 3, 4, 5), (6, 7)
#: NVCaffe's fields: the types of data and of diff, and their bytes.
RAW_TYPES, RAW = (10, 11), (12, 13)


def read_blob(path: str | os.PathLike) -> np.ndarray:
    """Return the float32 array of a BlobProto file (.binaryproto), such as a mean.

    C3D's blobs have a length as well: N x C x L x H x W. Raises FileError if the file cannot be
    read.
    """
    name = os.fspath(path)
    data = files.read_bytes(path)
    if _is_volume(memoryview(data)):
        blob = _blob(name, memoryview(data))
        return np.array(blob.data, np.float32).reshape(blob.shape)
    proto = wire.parse_binary(data, caffe_pb2.BlobProto(), name)
    try:
        return blobproto_to_array(proto).astype(np.float32)
    except ValueError as error:
        raise FileError(f"{name}: {error}") from None


def read_net(path: str) -> StoredLayers:
    """Return the layers of a .caffemodel (of any age) or .h5 file: names, and blobs by index.

    Raises FileError if the file is truncated or of another kind.
    """
    if is_hdf5(path):
        return hdf5.read_net(path)
    buffer = MappedFile.view(path)
    layers, v1, v0 = [], [], []
    with _content_of(path, ".caffemodel", len(buffer)):
        for number, wire_type, value in wire.fields(buffer):
            if number == 100 and wire_type == wire.BYTES:
                layers.append(_layer(path, value, 1, 7))
            elif number == 2 and wire_type == wire.BYTES:
                v1.append(_layer(path, value, 4, 6))
                v0 += [
                    _layer(path, v0_layer, 1, 50)
                    for field, kind, v0_layer in wire.fields(value)
                    if field == 1 and kind == wire.BYTES
                ]
    if layers and v1 and not v0:
        raise FileError(f"{path}: has both `layer` and `layers`; a .caffemodel file has one form")
    if not (layers or v1):
        raise FileError(f"{path}: has no layers; a .caffemodel file is needed")
    return [(name, dict(enumerate(blobs))) for name, blobs in v0 or v1 or layers]


def read_structure(path: str) -> Any:
    """Return the NetParameter of a .caffemodel without its blobs, which are not read.

    The name of the net and the layers' other fields are there; nothing is for files in the formats
    of the first Caffes (V0, V1) and HDF5. Raises FileError as `read_net` does.
    """
    net = caffe_pb2.NetParameter()
    if is_hdf5(path):
        return net
    buffer = MappedFile.view(path)
    with _content_of(path, ".caffemodel", len(buffer)):
        for number, wire_type, value in wire.fields(buffer):
            if number == 1 and wire_type == wire.BYTES:
                net.name = wire.decode_text(value)
            elif number == 100 and wire_type == wire.BYTES:
                kept = b"".join(wire.without(value, 7))
                wire.parse_binary(kept, net.layer.add(), path)
    return net


def read_state(path: str) -> SolverState:
    """Return the content of a .solverstate or .solverstate.h5 file.

    Raises FileError if the file is truncated or of another kind.
    """
    if is_hdf5(path):
        return hdf5.read_state(path)
    buffer = MappedFile.view(path)
    state = SolverState(0, "", 0, [])
    has_iteration = False
    with _content_of(path, ".solverstate", len(buffer)):
        for number, wire_type, value in wire.fields(buffer):
            if number == 1 and wire_type == wire.VARINT:
                state.iter, has_iteration = value, True
            elif number == 2 and wire_type == wire.BYTES:
                state.learned_net = wire.decode_text(value)
            elif number == 3 and wire_type == wire.BYTES:
                state.history.append(_blob(path, value))
            elif number == 4 and wire_type == wire.VARINT:
                state.current_step = value
    if not has_iteration:
        raise FileError(f"{path}: has no iteration; a .solverstate file is needed")
    return state


@contextmanager
def _content_of(path: str, kind: str, size: int) -> Iterator[None]:
    """Turn a MalformedError in the `with` block into a FileError that names `path`."""
    try:
        yield
    except wire.MalformedError:
        raise FileError(
            f"{path}: is neither an HDF5 file nor a complete {kind} ({size:,} bytes); the file is "
            "truncated or of another kind; fetch or write it again"
        ) from None


def _layer(
    path: str, buffer: memoryview, name_field: int, blobs_field: int
) -> tuple[str, list[StoredBlob]]:
    """Return the name and the blobs of a layer message with these field numbers."""
    name, blobs = "", []
    for number, wire_type, value in wire.fields(buffer):
        if number == name_field and wire_type == wire.BYTES:
            name = wire.decode_text(value)
        elif number == blobs_field and wire_type == wire.BYTES:
            blobs.append(_blob(path, value))
    return name, blobs


def _is_volume(buffer: memoryview) -> bool:
    """Return whether the bytes are a BlobProto of C3D, which has an integer before the values."""
    try:
        first = [(number, wire_type) for number, wire_type, _ in islice(wire.fields(buffer), 5)]
    except wire.MalformedError:
        return False
    return first == [(number, wire.VARINT) for number in VOLUME_SHAPE]


def _volume(path: str, buffer: memoryview) -> StoredBlob:
    """Return the blob of a BlobProto of C3D."""
    shape = dict.fromkeys(VOLUME_SHAPE, 0)
    pieces: dict[int, list[memoryview]] = {number: [] for number in VOLUME_FLOATS}
    for number, wire_type, value in wire.fields(buffer):
        if number in shape and wire_type == wire.VARINT:
            shape[number] = wire.signed(value)
        elif number in pieces and wire_type != wire.VARINT:
            pieces[number].append(value)
    data, diff = (_array(pieces[number], "<f4") for number in VOLUME_FLOATS)
    size = tuple(shape.values())
    if data.size != math.prod(size):
        raise FileError(f"{path}: a blob of shape {size} holds {data.size} values")
    return StoredBlob(path, size, data, diff if diff.size == data.size else None, True)


def _blob(path: str, buffer: memoryview) -> StoredBlob:
    """Return the blob of a BlobProto."""
    if _is_volume(buffer):
        return _volume(path, buffer)
    shape: tuple[int, ...] | None = None
    legacy_shape = dict.fromkeys(LEGACY_SHAPE, 0)
    legacy = False
    pieces: dict[int, list[memoryview]] = {number: [] for number in FLOATS + DOUBLES + RAW}
    raw_types = dict.fromkeys(RAW_TYPES, 0)
    for number, wire_type, value in wire.fields(buffer):
        if number == SHAPE and wire_type == wire.BYTES:
            shape = _dims(value)
        elif number in pieces and wire_type != wire.VARINT:
            pieces[number].append(value)
        elif number in legacy_shape and wire_type == wire.VARINT:
            legacy_shape[number], legacy = wire.signed(value), True
        elif number in raw_types and wire_type == wire.VARINT:
            raw_types[number] = value
    # double_data is what a double-precision solver wrote; it counts before data, as in Caffe.
    data, diff = (
        _first_values(
            _raw_array(path, pieces[raw], raw_types[raw_type]),
            _array(pieces[double], "<f8"),
            _array(pieces[single], "<f4"),
        )
        for single, double, raw, raw_type in zip(FLOATS, DOUBLES, RAW, RAW_TYPES)
    )
    legacy = legacy and shape is None
    size = tuple(legacy_shape.values()) if legacy else shape or ()
    if data.size != math.prod(size):
        raise FileError(f"{path}: a blob of shape {size} holds {data.size} values")
    return StoredBlob(path, size, data, diff if diff.size == data.size else None, legacy)


def _first_values(*arrays: np.ndarray) -> np.ndarray:
    """Return the first array that has values, or an empty one."""
    return next((array for array in arrays if array.size), arrays[-1])


def _raw_array(path: str, pieces: Sequence[memoryview], storage_type: int) -> np.ndarray:
    """Return NVCaffe's `raw_data`, or its `raw_diff`, as float32 or float64."""
    if not pieces:
        return np.empty(0, np.float32)
    try:
        values = _array(pieces, RAW_DTYPES[storage_type])
    except KeyError:
        raise FileError(
            f"{path}: raw_data of the type {storage_type}; one of {sorted(RAW_DTYPES)} is needed"
        ) from None
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _dims(buffer: memoryview) -> tuple[int, ...]:
    """Return the shape of a BlobShape."""
    dims: list[int] = []
    for number, wire_type, value in wire.fields(buffer):
        if number == 1:
            packed = wire_type == wire.BYTES
            dims += wire.decode_varints(value) if packed else [wire.signed(value)]
    return tuple(dims)


def _array(pieces: Sequence[memoryview], dtype: str) -> np.ndarray:
    """Return the array of a repeated field, without a copy if the field is in one piece."""
    content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if len(content) % np.dtype(dtype).itemsize:
        raise wire.MalformedError
    return np.frombuffer(content, dtype)


def write_net(
    path: str, name: str, layers: Sequence[LayerWeights], with_diff: bool = False
) -> None:
    """Write a net as a .caffemodel, byte for byte as BVLC Caffe writes it.

    Raises FileError if the file cannot be written.
    """
    chunks = wire.delimited(1, [name.encode()])
    for layer in layers:
        # Protobuf writes fields in the order of their numbers; the blobs are field 7.
        before, after = caffe_pb2.LayerParameter(), caffe_pb2.LayerParameter()
        before.CopyFrom(layer.param)
        after.CopyFrom(layer.param)
        for field, _ in layer.param.ListFields():
            (after if field.number < 7 else before).ClearField(field.name)
            if field.number == 7:
                after.ClearField(field.name)
        content: wire.Chunks = [before.SerializeToString()]
        for blob in layer.blobs:
            content += wire.delimited(7, _blob_chunks(blob, with_diff))
        content.append(after.SerializeToString())
        chunks += wire.delimited(100, content)
    wire.write_chunks(path, chunks)


def write_state(
    path: str, iteration: int, learned_net: str, current_step: int, history: Sequence[Blob]
) -> None:
    """Write a solver's state as a .solverstate, byte for byte as BVLC Caffe writes it.

    Raises FileError if the file cannot be written.
    """
    chunks = [wire.integer(1, iteration), *wire.delimited(2, [learned_net.encode()])]
    for blob in history:
        chunks += wire.delimited(3, _blob_chunks(blob, with_diff=False))
    wire.write_chunks(path, [*chunks, wire.integer(4, current_step)])


def _blob_chunks(blob: Blob | StoredBlob, with_diff: bool) -> wire.Chunks:
    """Return the content of a BlobProto."""
    chunks: wire.Chunks = []
    if isinstance(blob, StoredBlob):
        field = DOUBLES[0] if blob.data.dtype == np.float64 else FLOATS[0]
        values = wire.delimited(field, [blob.data]) if blob.data.size else []
        if blob.legacy:
            volume = len(blob.shape) == len(VOLUME_SHAPE)
            numbers = VOLUME_SHAPE if volume else LEGACY_SHAPE
            shape = [wire.integer(*axis) for axis in zip(numbers, blob.shape)]
            if volume:
                values = wire.delimited(VOLUME_FLOATS[0], [blob.data]) if blob.data.size else []
            return [*shape, *values]
        shape = _shape(blob)
        return [*shape, *values] if field > SHAPE else [*values, *shape]
    if blob.count:
        chunks += wire.delimited(5, [contiguous_array(blob.values)])
        if with_diff:
            chunks += wire.delimited(6, [contiguous_array(blob.gradient)])
    return chunks + _shape(blob)


def _shape(blob: Blob | StoredBlob) -> wire.Chunks:
    """Return the field with the blob's shape. As BVLC Caffe, leave it out for a blob of no axes."""
    return wire.delimited(SHAPE, wire.packed(1, blob.shape)) if len(blob.shape) else []
