"""Text from files, made safe to show: a name may hold the control characters of a terminal."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """Return the text with an escape such as \\x1b in place of each character that is not visible.

    keep: characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else escape(c) for c in text)


def escape(character: str) -> str:
    """Return the escape of a character, as Python writes the character in a string."""
    return character.encode("unicode_escape").decode("ascii")
