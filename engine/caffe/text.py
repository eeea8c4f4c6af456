"""Messages in protobuf's text format: reading prototxts, and printing as BVLC Caffe prints."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from google.protobuf import text_format
from google.protobuf.text_encoding import CEscape

from . import files, glog, spelling, unknown
from .errors import PrototxtError
from .proto.origins import forks_of
from .unknown import Unknown


def read_text(path: str | os.PathLike, message: Any) -> Any:
    """Parse a prototxt file into `message` and return `message`.

    Unknown fields that only tune how a fork computes are left out with a warning in the log. Raises
    FileError if the file cannot be read, and PrototxtError, with every unknown field or with line
    and column, if the file does not describe such a message.
    """
    _, fields = read_known(path, message)
    refuse_unknown(path, fields)
    return message


def read_known(path: str | os.PathLike, message: Any) -> tuple[str, list[Unknown]]:
    """Parse what the schema knows of a prototxt file into `message`.

    Return the text of the file, and what the schema lacks. Raises as `read_text` does, but not for
    unknown fields.
    """
    path = os.fspath(path)
    text = _content(path)
    fields: list[Unknown] = []
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        try:
            text = unknown.with_window_lists(text, message.DESCRIPTOR)
            fields = unknown.scan(text, message.DESCRIPTOR)
            message.Clear()
            text_format.Parse(unknown.without(text, fields), message)
        except unknown.MalformedTextError:
            raise _syntax_error(path, text, message, error) from None
        except text_format.ParseError as second_error:
            raise _syntax_error(path, text, message, second_error) from None
    if "\\" in text:
        check_strings(path, message)
    return text, fields


def check_strings(path: str, message: Any) -> None:
    """Raise PrototxtError for a message with a string whose bytes are no UTF-8.

    Protobuf has bytes, or raises an error, where it is asked for such a string.
    """
    try:
        for field, value in message.ListFields():
            for item in value if hasattr(value, "append") else [value]:
                if field.cpp_type == field.CPPTYPE_MESSAGE:
                    check_strings(path, item)
                elif field.type == field.TYPE_STRING and isinstance(item, bytes):
                    item.decode()
    except UnicodeDecodeError as error:
        raise PrototxtError(f"{path}: a string is not UTF-8 text: {error}") from None


#: What scripts of DeepLab, FlowNet 2 and others replace in a template, with sed for example.
_PLACEHOLDER = re.compile(r"#[^\n]*|\"[^\"\n]*\"|'[^'\n]*'|(\$\{\w+\}|\$\w+|\{\{\s*\w+\s*\}\})")


def _syntax_error(path: str, text: str, message: Any, error: Exception) -> PrototxtError:
    blanks = list(dict.fromkeys(filter(None, _PLACEHOLDER.findall(text))))
    if blanks:
        return PrototxtError(
            f"{path}: is a template: {', '.join(blanks)} {'need' if blanks[1:] else 'needs'} "
            "values; write them in their places, as the scripts beside the template do"
        )
    place = re.sub(r"\s+", " ", str(error)).strip()
    line = re.match(r"\d+", place)
    end = ""
    if line and int(line[0]) >= len(text.rstrip().splitlines()):
        end = "; the text ends in this line and may be truncated"
    return PrototxtError(f"{path}:{place} (reading a {message.DESCRIPTOR.name}{end})")


def refuse_unknown(path: str | os.PathLike, fields: Iterable[Unknown]) -> None:
    """Raise PrototxtError for unknown fields; warn of those that only tune how a fork computes."""
    serious = [item for item in fields if not warn_of_tuning(path, item)]
    if serious:
        raise PrototxtError(f"{os.fspath(path)}: {unknown.refusal([], serious, [])}")


def warn_of_tuning(path: str | os.PathLike, item: Unknown) -> bool:
    """Return whether the engine does without a field; such a field is logged as left out.

    These are the fields that only tune how a fork computes, those that write or show detections,
    and those with which forks draw training data.
    """
    if item.tunes:
        warn_left_out(path, item, "it only tunes how a fork computes")
    elif item.shows:
        warn_left_out(path, item, "it only writes or shows detections")
    elif item.trains:
        origin = " or ".join(forks_of(item.name, item.message)[:2]) or "an unknown fork"
        warn_left_out(path, item, f"the engine does not do this step of training with {origin}")
    return item.tunes or item.shows or item.trains


def warn_left_out(path: str | os.PathLike, item: Unknown, reason: str) -> None:
    """Log that a field is left out."""
    name = f"{item.name}: {item.value}" if item.value else item.name
    of_layer = f" of layer {item.layer!r}" if item.layer else ""
    message = f"{os.fspath(path)}:{item.line}: left out {name}{of_layer}: {reason}"
    glog.write("upgrade_proto.cpp:90", message, 1)


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
