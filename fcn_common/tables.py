"""Tables as Markdown and as plain text, with columns of equal width."""

from __future__ import annotations

from numbers import Number
from typing import Any, Iterable, List, Optional, Sequence


def markdown(
    head: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    right: Optional[Sequence[bool]] = None,
    padded: bool = True,
) -> List[str]:
    """Return the lines of a Markdown table.

    right: for each column, whether its cells are set to the right; by default the columns that
        hold a number are.
    padded: whether columns are filled up to equal width, for readers of the source text.

    A `|` in a cell is escaped. Raises ValueError if a row has another length than `head`.
    """
    values = [list(row) for row in rows]
    right = _right(head, values) if right is None else list(right)
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in [head, *values]]
    if not padded:
        rule = ["---:" if number else "---" for number in right]
        return ["| " + " | ".join(row) + " |" for row in [cells[0], rule, *cells[1:]]]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    lines = ["| " + " | ".join(_fill(row, widths, right)) + " |" for row in cells]
    marks = ["-" * (w + 1) + (":" if number else "-") for w, number in zip(widths, right)]
    return [lines[0], "|" + "|".join(marks) + "|", *lines[1:]]


def plain(
    head: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    right: Optional[Sequence[bool]] = None,
    gap: int = 2,
) -> List[str]:
    """Return the lines of a table for a terminal: no rules, `gap` spaces between columns.

    `right` is as for `markdown`. Raises ValueError if a row has another length than `head`.
    """
    values = [list(row) for row in rows]
    right = _right(head, values) if right is None else list(right)
    cells = [[str(cell) for cell in row] for row in [head, *values]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return [(" " * gap).join(_fill(row, widths, right)).rstrip() for row in cells]


def _right(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> List[bool]:
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"table row {list(row)!r}: has {len(row)} cells, needs {len(head)}")
    return [any(isinstance(row[i], Number) for row in rows) for i in range(len(head))]


def _fill(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> List[str]:
    return [c.rjust(w) if number else c.ljust(w) for c, w, number in zip(row, widths, right)]
