"""Shapes and lists of names as text, for messages."""

from __future__ import annotations

from typing import Iterable, Optional, Tuple

Shape = Tuple[int, ...]
#: Names that a message lists before it counts the rest.
LISTED = 4


def shape_text(shape: Optional[Shape]) -> str:
    """Return a shape as text: `21 x 512 x 1 x 1`."""
    return " x ".join(str(extent) for extent in shape or ())


def names_text(names: Iterable[str]) -> str:
    """Return the first names of a list and the number of the others."""
    names = list(names)
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
