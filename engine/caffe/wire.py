"""Protobuf's binary format: whole messages, and a walker and writer of single fields.

Protobuf's parser turns every float into a Python number, which is too slow for the weights of a
net. `fields` leaves them as bytes, and `delimited` writes arrays without a copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from . import files
from .errors import FileError

#: The wire types of fields. Groups (3 and 4) do not occur in Caffe's messages.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED_SIZES = {FIXED32: 4, FIXED64: 8}

#: Parts of a message in their order: bytes, and arrays of which the memory is written.
Chunks = list[Any]


class MalformedError(ValueError):
    """Bytes that end inside a field or that no protobuf message contains."""


def parse_binary(data: bytes, message: Any, path: str) -> Any:
    """Parse `data`, the content of the file `path`, into `message` and return `message`.

    Raises FileError if `data` is not such a message.
    """
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise FileError(
            f"{path}: {len(data)} bytes that are not a complete {message.DESCRIPTOR.name}; the "
            "file is truncated or of another kind"
        ) from None
    return message


def read_binary(path: str | os.PathLike, message: Any) -> Any:
    """Read a file into `message` and return `message`. Raises FileError if that fails."""
    return parse_binary(files.read_bytes(path), message, os.fspath(path))


def write_binary(path: str | os.PathLike, message: Any) -> None:
    """Write `message` to a file. Raises FileError if the file cannot be written."""
    with files.atomic(path) as file:
        file.write(message.SerializeToString())


def decode_varint(buffer: memoryview, at: int) -> tuple[int, int]:
    """Return the unsigned integer that begins at `at`, and the position behind its last byte.

    Raises MalformedError if the bytes end first or the integer has more than 64 bits.
    """
    value = shift = 0
    while True:
        if at >= len(buffer) or shift > 63:
            raise MalformedError
        byte = buffer[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def decode_varints(buffer: memoryview) -> list[int]:
    """Return the signed integers of a packed field."""
    values, at = [], 0
    while at < len(buffer):
        value, at = decode_varint(buffer, at)
        values.append(signed(value))
    return values


def signed(value: int) -> int:
    """Return the int32 or int64 of a varint."""
    return value - (1 << 64) if value >= 1 << 63 else value


def fields(buffer: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Yield the (number, wire type, value) of each field of a message.

    The value is an unsigned integer for VARINT, else the field's bytes as a view of `buffer`.
    Raises MalformedError where the bytes are not a message.
    """
    at = 0
    while at < len(buffer):
        tag, at = decode_varint(buffer, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == VARINT:
            value, at = decode_varint(buffer, at)
            yield number, wire_type, value
            continue
        if wire_type == BYTES:
            size, at = decode_varint(buffer, at)
        elif wire_type in FIXED_SIZES:
            size = FIXED_SIZES[wire_type]
        else:
            raise MalformedError
        if at + size > len(buffer):
            raise MalformedError
        yield number, wire_type, buffer[at : at + size]
        at += size


def without(buffer: memoryview, field: int) -> Iterator[bytes]:
    """Yield the fields of a message, encoded, but for those with a number."""
    for number, wire_type, value in fields(buffer):
        if number == field:
            continue
        if wire_type == VARINT:
            yield integer(number, value)
        elif wire_type == BYTES:
            yield from delimited(number, [bytes(value)])
        else:
            yield encode_varint(number << 3 | wire_type) + bytes(value)


def decode_text(buffer: memoryview) -> str:
    """Return a string field; bytes that are not UTF-8 become replacement characters."""
    return bytes(buffer).decode("utf-8", "replace")


def encode_varint(value: int) -> bytes:
    """Return an integer, which may be negative, as a varint."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def integer(number: int, value: int) -> bytes:
    """Return the field `number` with an integer."""
    return encode_varint(number << 3 | VARINT) + encode_varint(value)


def delimited(number: int, chunks: Chunks) -> Chunks:
    """Return the field `number` with `chunks` as its content: a string, a message or an array."""
    size = sum(c.nbytes if isinstance(c, np.ndarray) else len(c) for c in chunks)
    return [encode_varint(number << 3 | BYTES) + encode_varint(size), *chunks]


def packed(number: int, values: Sequence[int]) -> Chunks:
    """Return the field `number` with packed integers; nothing if there are none."""
    return delimited(number, [b"".join(map(encode_varint, values))]) if len(values) else []


def write_chunks(path: str, chunks: Chunks) -> None:
    """Write a message that was encoded field by field. Raises FileError if that fails."""
    with files.atomic(path) as file:
        for chunk in chunks:
            file.write(chunk.data if isinstance(chunk, np.ndarray) else chunk)
