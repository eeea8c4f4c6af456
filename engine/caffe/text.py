"""Messages in protobuf's text format, letter for letter as BVLC Caffe's tools print them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf.text_encoding import CEscape

from . import weights


def to_text(message: Any, indent: str = "") -> str:
    """A message, a field a line, in the order of the fields' numbers."""
    return "".join(_lines(message, indent))


def write_text(path: str, message: Any) -> None:
    """Write `to_text(message)`; the file appears whole. Raises CaffeError if it cannot."""
    with weights.atomic(path) as file:
        file.write(to_text(message).encode())


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
        return _shorter(np.float32(value), 6, 9)
    if field.cpp_type == field.CPPTYPE_DOUBLE:
        return _shorter(np.float64(value), 15, 17)
    return str(value)


def _shorter(value: np.floating, few: int, all_: int) -> str:
    """`value` in `few` digits if that reads back the same, else in `all_`.

    C++'s protobuf takes no float below the normal ones to read back from fewer.
    """
    short = f"{value:.{few}g}"
    subnormal = value.itemsize == 4 and 0 < abs(value) < np.finfo(np.float32).tiny
    with np.errstate(over="ignore"):
        same = type(value)(short) == value or np.isnan(value)
    return short if same and not subnormal else f"{value:.{all_}g}"
