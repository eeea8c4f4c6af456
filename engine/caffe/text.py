"""Messages in protobuf's text format: reading prototxts, and printing as BVLC Caffe prints."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf import text_format
from google.protobuf.text_encoding import CEscape

from . import files, spelling
from .errors import PrototxtError


def read_text(path: str | os.PathLike, message: Any) -> Any:
    """Parse a prototxt file into `message` and return `message`.

    Raises FileError if the file cannot be read, and PrototxtError, with line and column, if it
    does not describe such a message.
    """
    path = os.fspath(path)
    try:
        text_format.Parse(_content(path), message)
    except text_format.ParseError as error:
        place = re.sub(r"\s+", " ", str(error)).strip()
        raise PrototxtError(f"{path}:{place} (reading a {message.DESCRIPTOR.name})") from None
    return message


def _content(path: str) -> str:
    """Return a prototxt as protobuf's reader takes it. Raises FileError or PrototxtError."""
    try:
        return spelling.respell(files.read_bytes(path))
    except spelling.NotTextError as error:
        raise PrototxtError(
            f"{path}:{error.line}: is not text in UTF-8; save the file in UTF-8 (comments alone "
            "may have any encoding)"
        ) from None


def write_text(path: str | os.PathLike, message: Any) -> None:
    """Write `to_text(message)` to a file. Raises FileError if the file cannot be written."""
    with files.atomic(path) as file:
        file.write(to_text(message).encode())


def to_text(message: Any, indent: str = "") -> str:
    """Return a message as text, one field a line, in the order of the field numbers."""
    return "".join(_lines(message, indent))


def _lines(message: Any, indent: str) -> Iterator[str]:
    for field, value in message.ListFields():
        for item in value if hasattr(value, "append") else [value]:
            if field.cpp_type == field.CPPTYPE_MESSAGE:
                yield f"{indent}{field.name} {{\n{to_text(item, indent + '  ')}{indent}}}\n"
            else:
                yield f"{indent}{field.name}: {_scalar(field, item)}\n"


def _scalar(field: Any, value: Any) -> str:
    if field.cpp_type == field.CPPTYPE_ENUM:
        return field.enum_type.values_by_number[value].name
    if field.cpp_type == field.CPPTYPE_BOOL:
        return "true" if value else "false"
    if field.cpp_type == field.CPPTYPE_STRING:
        return f'"{CEscape(value, as_utf8=False)}"'
    if field.cpp_type == field.CPPTYPE_FLOAT:
        return _number(np.float32(value), 6, 9)
    if field.cpp_type == field.CPPTYPE_DOUBLE:
        return _number(np.float64(value), 15, 17)
    return str(value)


def _number(value: np.floating, short: int, exact: int) -> str:
    """Return `value` in `short` digits if these read back as the same value, else in `exact`.

    Protobuf in C++ prints every subnormal float in `exact` digits.
    """
    text = f"{value:.{short}g}"
    subnormal = value.itemsize == 4 and 0 < abs(value) < np.finfo(np.float32).tiny
    with np.errstate(over="ignore"):
        same = type(value)(text) == value or np.isnan(value)
    return text if same and not subnormal else f"{value:.{exact}g}"
