"""Messages as text, the same on every protobuf release."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path
from typing import Any, Iterator, Union

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_ESCAPES = {
    **{ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"},
    **{ord('"'): '\\"', ord("'"): "\\'", ord("\\"): "\\\\"},
}


def _number(value: float, code: str) -> str:
    """A float ("f") in 6 digits or a double ("d") in 15, if that reads back as the same.

    Else in 9 or 17 digits, as C++'s protobuf 3.12 prints them, to which no 6 digits of a float
    below the normal ones read back.
    """
    few, most = (6, 9) if code == "f" else (15, 17)
    text = f"{value:.{few}g}"
    same = struct.pack(code, float(text)) == struct.pack(code, value)
    subnormal = code == "f" and 0 < abs(value) < 2**-126
    return text if same and not subnormal else f"{value:.{most}g}"


def _quoted(value: Union[str, bytes]) -> str:
    data = value.encode("utf-8") if isinstance(value, str) else value
    return '"' + "".join(_ESCAPES.get(b) or _printable(b) for b in data) + '"'


def _printable(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"


def _scalar(field: FieldDescriptor, value: Any) -> str:
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    if field.cpp_type == field.CPPTYPE_BOOL:
        return "true" if value else "false"
    if field.cpp_type == field.CPPTYPE_STRING:
        return _quoted(value)
    if field.cpp_type == field.CPPTYPE_FLOAT:
        return _number(value, "f")
    if field.cpp_type == field.CPPTYPE_DOUBLE:
        return _number(value, "d")
    return str(value)


def _lines(message: Message, indent: str) -> Iterator[str]:
    for field, value in message.ListFields():
        single = isinstance(value, (Message, str, bytes, int, float))
        for item in [value] if single else value:
            if isinstance(item, Message):
                yield f"{indent}{field.name} {{\n"
                yield from _lines(item, indent + "  ")
                yield f"{indent}}}\n"
            else:
                yield f"{indent}{field.name}: {_scalar(field, item)}\n"


def to_text(message: Message) -> str:
    """A message in protobuf's text format, as Caffe's own tools print it.

    Fields come in the order of their numbers. A float has 6 digits where they read back as the
    same float (`1`, `0.0001`, `1e-10`), else 9. In strings, quotes and all that is not ASCII are
    escaped.
    """
    return "".join(_lines(message, ""))


def write(message: Message, path: Union[str, Path]) -> None:
    """Writes `to_text(message)`; the file appears whole, by rename.

    Raises OSError if the folder cannot be made or written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=str(path.parent), prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="ascii", newline="\n") as file:
            file.write(to_text(message))
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)
        os.replace(part, str(path))
    except BaseException:
        os.unlink(part)
        raise
