"""Mutations of seeds: of protobuf messages by reflection, of texts, of bytes, of HDF5 files."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import h5py
import numpy as np
from google.protobuf.message import Message

INTEGERS = (0, 1, -1, 2, 3, 5, 255, 256, 65535, 1 << 20, 2**31 - 1, -(2**31), 2**31, 2**32 - 1)
LONG_INTEGERS = (*INTEGERS, 2**62, 2**63 - 1, -(2**63), 2**64 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 3e38, -3e38, 1e300, float("inf"), float("nan"))
STRINGS = (
    "",
    ".",
    "/",
    "a/b",
    "x\ny",
    "\x1b[31mred\x07",
    "é✓",
    "%s%n",
    "/dev/zero",
    "/dev/null",
    "missing/file",
    "a" * 5000,
    "0",
)


def integer(rng: random.Random, low: int, high: int) -> int:
    """Return an integer of a range, most of the time one at which programs fail."""
    choice = rng.choice(LONG_INTEGERS) if rng.random() < 0.7 else rng.randint(-4, 40)
    return min(max(choice, low), high)


def number_text(rng: random.Random) -> str:
    """Return a number as it may stand in a text."""
    if rng.random() < 0.6:
        return str(rng.choice(LONG_INTEGERS))
    return rng.choice(("nan", "inf", "-inf", "1e400", "0x10", "-0", "1.5", "1e-50", "007"))


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with one to eight local changes."""
    data = bytearray(content)
    for _ in range(1 << rng.randint(0, 3)):
        if not data:
            data += bytes(rng.randrange(256) for _ in range(8))
        at = rng.randrange(len(data))
        kind = rng.randrange(8)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + rng.randint(1, 16)]
        elif kind == 4:
            data[at:at] = data[at : at + rng.randint(1, 64)]
        elif kind == 5:
            size = rng.choice((1, 2, 4, 8))
            value = rng.choice(LONG_INTEGERS) & ((1 << 8 * size) - 1)
            data[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))
        elif kind == 6:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 9)))
        else:
            other = rng.randrange(len(data))
            data[at : at + 8] = data[other : other + 8]
    return bytes(data)


def messages(message: Message, depth: int = 0) -> Iterator[Message]:
    """Yield a message and all messages inside."""
    yield message
    for field, value in message.ListFields():
        if field.cpp_type == field.CPPTYPE_MESSAGE and depth < 40:
            for item in value if is_repeated(value) else [value]:
                yield from messages(item, depth + 1)


def is_repeated(value: Any) -> bool:
    """Whether the value of a field is a list."""
    return hasattr(value, "append") or hasattr(value, "add")


def mutate_message(message: Message, rng: random.Random, words: Sequence[str]) -> None:
    """Change a message in one to four places. words: values for its strings."""
    for _ in range(rng.randint(1, 4)):
        target = rng.choice(list(messages(message)))
        present = target.ListFields()
        if present and rng.random() < 0.6:
            field, value = rng.choice(present)
        else:
            field = rng.choice(list(target.DESCRIPTOR.fields))
            value = getattr(target, field.name)
        if is_repeated(value):
            _mutate_list(target, field, rng, words)
        elif rng.random() < 0.2:
            target.ClearField(field.name)
        elif field.cpp_type == field.CPPTYPE_MESSAGE:
            value.SetInParent()
        else:
            setattr(target, field.name, _scalar(field, rng, words))


def _mutate_list(target: Message, field: Any, rng: random.Random, words: Sequence[str]) -> None:
    value = getattr(target, field.name)
    count, kind = len(value), rng.randrange(5)
    if kind == 0 and count:
        del value[rng.randrange(count)]
    elif kind == 1 and count > 1:
        items = list(value)
        rng.shuffle(items)
        copies = (
            [type(item).FromString(item.SerializePartialToString()) for item in items]
            if (field.cpp_type == field.CPPTYPE_MESSAGE)
            else items
        )
        del value[:]
        value.extend(copies)
    elif field.cpp_type == field.CPPTYPE_MESSAGE:
        if count and kind < 4:
            value.add().CopyFrom(value[rng.randrange(count)])
        elif count < 200:
            value.add()
    elif count and kind < 4:
        value[rng.randrange(count)] = _scalar(field, rng, words)
    else:
        value.extend(_scalar(field, rng, words) for _ in range(rng.choice((1, 1, 2, 40))))


def _scalar(field: Any, rng: random.Random, words: Sequence[str]) -> Any:
    if field.cpp_type == field.CPPTYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    if field.cpp_type == field.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice(FLOATS)
    if field.cpp_type == field.CPPTYPE_STRING:
        text = rng.choice(words) if words and rng.random() < 0.7 else rng.choice(STRINGS)
        return text.encode() if field.type == field.TYPE_BYTES else text
    low, high = {
        field.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
        field.CPPTYPE_UINT32: (0, 2**32 - 1),
        field.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
        field.CPPTYPE_UINT64: (0, 2**64 - 1),
    }[field.cpp_type]
    return integer(rng, low, high)


def mutate_text(content: bytes, rng: random.Random, words: Sequence[str]) -> bytes:
    """Return a text with one to four changed words, numbers or lines."""
    lines = content.decode("utf-8", "replace").split("\n")
    for _ in range(rng.randint(1, 4)):
        at, kind = rng.randrange(len(lines)), rng.randrange(7)
        parts = lines[at].split(" ")
        i = rng.randrange(len(parts))
        if kind == 0:
            parts[i] = number_text(rng)
        elif kind == 1:
            parts[i] = rng.choice(words)
        elif kind == 2:
            del lines[at : at + rng.choice((1, 1, 3))]
            lines = lines or [""]
            continue
        elif kind == 3:
            lines[at:at] = lines[at : at + rng.choice((1, 2, 5))]
            continue
        elif kind == 4:
            parts[i] = rng.choice(("{", "}", "{" * 1100, '"', "'", "#", ":", "\\", "<", "\0", "["))
        elif kind == 5:
            parts[i] += rng.choice(("{", "}", '"', ":", "x", "\x1b[2J", "\r", "é"))
        else:
            parts[i] = parts[i][: rng.randint(0, len(parts[i]))]
        lines[at] = " ".join(parts)
    return "\n".join(lines).encode("utf-8", "replace")


def mutate_hdf5(content: bytes, rng: random.Random) -> bytes:
    """Return an HDF5 file of which one to three objects have changed."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        for _ in range(rng.randint(1, 3)):
            names: list[str] = []
            file.visit(names.append)
            if not names:
                break
            _mutate_object(file, rng.choice(names), rng)
    return buffer.getvalue()


def _mutate_object(file: Any, name: str, rng: random.Random) -> None:
    parent, _, last = name.rpartition("/")
    group = file[parent] if parent else file
    kind = rng.randrange(9)
    if kind == 0:
        del group[last]
    elif kind == 1:
        group.move(last, rng.choice(("x", "0", "7", "-1", "é", "1e3", "00", "a b")) + last[:3])
    elif kind == 2:
        group[f"link{len(group)}"] = h5py.SoftLink(rng.choice(("/data", "/nowhere", name)))
    elif kind == 3:
        group[f"9{len(group)}"] = rng.choice(
            (h5py.ExternalLink("/dev/zero", "/data"), h5py.SoftLink("/"))
        )
    elif kind == 4 and parent:
        group[f"loop{len(group)}"] = file["/"]
    elif kind == 5:
        group.create_group(f"{rng.randrange(99)}g{len(group)}").attrs["layer_name"] = rng.choice(
            (1, "text", np.zeros(3), np.array([255, 0, 27], np.uint8), h5py.Empty("f"))
        )
    else:
        attribute = dict(file[name].attrs)
        del group[last]
        _add_dataset(group, last, rng)
        group[last].attrs.update(attribute)


def _add_dataset(group: Any, name: str, rng: random.Random) -> None:
    kind = rng.randrange(8)
    if kind == 0:
        group.create_dataset(name, shape=(1 << 40, 1 << 20), chunks=(1, 1), dtype="f4")
    elif kind == 1:
        group.create_dataset(name, data=h5py.Empty("f4"))
    elif kind == 2:
        group.create_dataset(name, data=rng.choice((b"bytes", "text", True, 3 + 4j)))
    elif kind == 3:
        group.create_dataset(name, data=np.zeros(3, [("a", "f4"), ("b", "i2")]))
    elif kind == 4:
        data = np.zeros((1, 1 << rng.randint(0, 20)))
        group.create_dataset(name, data=data, compression="gzip")
    elif kind == 5:
        group.create_dataset(name, data=["x", "yy"], dtype=h5py.string_dtype())
    elif kind == 6:
        shape = [rng.choice((0, 1, 2, 3)) for _ in range(rng.randint(0, 6))]
        group.create_dataset(name, data=np.ones(shape, rng.choice(("f4", "f8", "i4", "u1"))))
    else:
        group.create_group(name)


def mutate_png(content: bytes, rng: random.Random) -> bytes:
    """Return a PNG file that claims other sizes or types, with right checksums."""
    data = bytearray(content)
    if rng.random() < 0.5:
        struct.pack_into(">II", data, 16, *(rng.choice((0, 1, 3, 60000, 2**31 - 1)) for _ in "hw"))
    else:
        data[24 + rng.randrange(5)] = rng.randrange(20)
    struct.pack_into(">I", data, 29, zlib.crc32(bytes(data[12:29])))
    return bytes(data) if rng.random() < 0.7 else mutate_bytes(bytes(data), rng)


def write(path: str, content: bytes) -> None:
    """Write a case; a folder of the name is not there."""
    with open(path, "wb") as file:
        file.write(content)
    os.utime(path, (0, 0))
