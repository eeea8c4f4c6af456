"""Messages in protobuf's text format, the same text with every protobuf release."""

from __future__ import annotations

import struct
from typing import Any, Iterator, Union

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from fcn_common.files import PathLike, write_text

_ESCAPES = {
    **{ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"},
    **{ord('"'): '\\"', ord("'"): "\\'", ord("\\"): "\\\\"},
}
#: struct code -> digits that are tried first, and digits that every number of this type needs.
_DIGITS = {"f": (6, 9), "d": (15, 17)}
#: The smallest normal float. C++ prints smaller ones with 9 digits.
_SMALLEST_NORMAL = 2**-126


def to_text(message: Message) -> str:
    """Return a message in protobuf's text format, as the tools of BVLC Caffe print it.

    Fields are in the order of their numbers. A float has 6 digits if these read back as the same
    float (`1`, `0.0001`, `1e-10`), else 9; a double has 15 or 17. In strings, quotes and all bytes
    outside of ASCII are escaped.
    """
    return "".join(_lines(message, ""))


def write(message: Message, path: PathLike) -> None:
    """Write `to_text(message)` to `path`, atomically.

    Raises OSError if the folder cannot be made or written to.
    """
    write_text(path, to_text(message))


def _number(value: float, code: str) -> str:
    """Return a float (code "f") or a double (code "d") as C++'s protobuf 3.12 prints it."""
    few, most = _DIGITS[code]
    text = f"{value:.{few}g}"
    same = struct.pack(code, float(text)) == struct.pack(code, value)
    subnormal = code == "f" and 0 < abs(value) < _SMALLEST_NORMAL
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
