"""The result of an experiment: paragraphs, tables and figures, kept on disk, and as Markdown.

OUT/NAME/result.json    the text, the tables, and the names of the figures beside it
"""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

from fcn_common import files, tables

RESULT = "result.json"
#: The title and the first paragraph of a page with all results.
TITLE = "The papers' experiments at a small scale"
INTRODUCTION = (
    "Unless a section says otherwise, the experiments use the demo's drawn scenes and nets of an "
    "eighth of the published width, and scores are those of the held-out split `test`. Nets of the "
    "published size may behave differently. All outcomes are reported, also where they contradict "
    "the papers."
)


class Number(NamedTuple):
    """A measured value and its format; NaN and None are printed as `-`."""

    value: Optional[float]
    format: str = ",.4g"

    def __str__(self) -> str:
        if self.value is None or not math.isfinite(self.value):
            return "-"
        integral = self.format.endswith("d")
        return format(int(self.value) if integral else float(self.value), self.format)


Cell = Union[str, Number]


class Table(NamedTuple):
    """head: the titles of the columns. rows: cells are text, or `Number`s, never typed digits."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @property
    def numeric(self) -> List[bool]:
        """Whether each column holds a number."""
        columns = range(len(self.head))
        return [any(isinstance(row[i], Number) for row in self.rows) for i in columns]

    def check(self, name: str) -> None:
        """Raise ValueError for a row of another length than the head, or for a typed number."""
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(
                    f"{name}: table {self.title!r} has a row of {len(row)} cells, "
                    f"needs {len(self.head)}, one for each column"
                )
            for cell in row:
                if isinstance(cell, Number):
                    continue
                if not isinstance(cell, str) or re.fullmatch(r"[-+]?[\d.,]+(e[-+]?\d+)?%?", cell):
                    raise ValueError(
                        f"{name}: table {self.title!r} has the cell {cell!r}, "
                        "needs a report.Number for a number and a str for text"
                    )


class Figure(NamedTuple):
    """file: the name of a PNG in the folder of the result."""

    file: str
    caption: str


class Result(NamedTuple):
    """The result of an experiment.

    text: paragraphs; text between backquotes is shown as code. seconds: how long the experiment
    ran, which `running.make` sets.
    """

    name: str
    title: str
    text: Sequence[str]
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    seconds: float = 0.0

    @property
    def duration(self) -> str:
        """The seconds as text, in minutes where they are 120 or more."""
        return f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"

    @property
    def command(self) -> str:
        """The command that makes the result."""
        return f"python -m experiments.{self.name}"


def percent(share: Optional[float]) -> Number:
    """Return a share between 0 and 1 as a number in percent."""
    return Number(None if share is None else 100 * share, ".1f")


def count(number: Optional[float]) -> Number:
    """Return a number that is printed as an integer with separators of thousands."""
    return Number(number, ",.0f")


def save(result: Result, out: str) -> None:
    """Write OUT/NAME/result.json.

    Raises ValueError for a table whose rows do not fit the head or hold a typed number, OSError for
    a figure that does not exist.
    """
    folder = os.path.join(out, result.name)
    for table in result.tables:
        table.check(result.name)
    for figure in result.figures:
        if not os.path.isfile(os.path.join(folder, figure.file)):
            raise FileNotFoundError(f"{os.path.join(folder, figure.file)}: no such figure")
    files.write_json(os.path.join(folder, RESULT), _to_json(result))


def load(out: str, name: str) -> Result:
    """Return the result in OUT/NAME. Raises OSError without one, ValueError for a damaged one."""
    path = os.path.join(out, name, RESULT)
    with open(path) as file:
        try:
            return _from_json(json.load(file))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: is not a result ({error}); remove the file") from None


def exists(out: str, name: str) -> bool:
    """Return whether OUT/NAME has a result."""
    return os.path.isfile(os.path.join(out, name, RESULT))


def document(results: Sequence[Result], folders: Sequence[str]) -> str:
    """Return all results as Markdown; folders: where the figures lie, relative to the text."""
    parts = [markdown(result, folder) for result, folder in zip(results, folders)]
    return "\n\n".join([f"# {TITLE}", INTRODUCTION, *parts]) + "\n"


def markdown(result: Result, folder: str) -> str:
    """Return a result as Markdown; folder: where its figures lie, relative to the text."""
    parts = [f"## {result.title}", *result.text]
    for table in result.tables:
        parts.append(f"**{table.title}**")
        parts.append("\n".join(tables.markdown(table.head, table.rows, table.numeric)))
    for figure in result.figures:
        parts.append(f"![{figure.caption}]({'/'.join(filter(None, [folder, figure.file]))})")
        parts.append(f"*{figure.caption}*")
    parts.append(f"`{result.command}`, {result.duration}.")
    return "\n\n".join(parts)


def _to_json(result: Result) -> Dict[str, Any]:
    def cells(table: Table) -> List[List[Any]]:
        return [[_cell_to_json(cell) for cell in row] for row in table.rows]

    return {
        **result._asdict(),
        "tables": [{**table._asdict(), "rows": cells(table)} for table in result.tables],
        "figures": [figure._asdict() for figure in result.figures],
    }


def _cell_to_json(cell: Cell) -> Any:
    if isinstance(cell, str):
        return cell
    finite = cell.value is not None and math.isfinite(cell.value)
    value = float(cell.value) if finite else None  # type: ignore[arg-type]
    return {"value": value, "format": cell.format}


def _from_json(fields: Dict[str, Any]) -> Result:
    fields["tables"] = [
        Table(
            table["title"],
            table["head"],
            [[c if isinstance(c, str) else Number(**c) for c in row] for row in table["rows"]],
        )
        for table in fields["tables"]
    ]
    fields["figures"] = [Figure(**figure) for figure in fields["figures"]]
    return Result(**fields)
