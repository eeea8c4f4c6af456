"""Prototxts as protobuf's reader in C++ takes them, spelled so that its reader in Python does.

The reader in C++ takes comments in any encoding, `- 1` for -1, numbers such as 0x1 for a bool, and
the escapes `\\?` and `\\400`. Every line keeps its number. A byte order mark, which editors on
Windows write and the reader in C++ refuses, is left out.
"""

from __future__ import annotations

import codecs
import re

_COMMENT = rb"#[^\n]*"
_STRING = rb"\"(?:\\[^\n]|[^\"\\\n])*\"|'(?:\\[^\n]|[^'\\\n])*'"
_MINUS = rb"-(?P<gap>(?:\s|#[^\n]*\n)+)(?=[\w.])"
#: A bool as a hexadecimal or an octal number.
_BIT = rb"(?<![\w.+-])0(?:[xX]0*|0*)(?P<bit>[01])(?![\w.])"
_TOKEN = re.compile(
    b"(?P<comment>%s)|(?P<string>%s)|(?P<minus>%s)|%s" % (_COMMENT, _STRING, _MINUS, _BIT)
)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|[^\n])")


class NotTextError(ValueError):
    """Bytes outside comments that are not text in UTF-8. line: their line, from 1."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line} is not text in UTF-8")
        self.line = line


def respell(content: bytes) -> str:
    """Return a prototxt with the same meaning that protobuf's reader in Python takes.

    Raises NotTextError.
    """
    spelled = _TOKEN.sub(_respell_token, content.removeprefix(codecs.BOM_UTF8))
    try:
        return spelled.decode()
    except UnicodeDecodeError as error:
        raise NotTextError(spelled.count(b"\n", 0, error.start) + 1) from None


def _respell_token(match: re.Match[bytes]) -> bytes:
    if match["comment"] is not None:
        return _ascii(match["comment"])
    if match["string"] is not None:
        return _ESCAPE.sub(_respell_escape, match["string"])
    if match["minus"] is not None:
        return _ascii(match["gap"]) + b"-"
    return match["bit"].rjust(len(match[0]))


def _respell_escape(match: re.Match[bytes]) -> bytes:
    escape = match[1]
    if escape == b"?":
        return b"?"
    # As in C++, an octal number keeps its lowest 8 bits.
    octal = not escape.strip(b"01234567")
    return b"\\%03o" % (int(escape, 8) & 0xFF) if octal else match[0]


def _ascii(comment: bytes) -> bytes:
    """Return a comment without the bytes that no reader needs."""
    return comment.decode("ascii", "replace").encode("ascii", "replace")
