"""A result for the tests of pages and files."""

from __future__ import annotations

import os

from PIL import Image

from experiments.report import Figure, Number, Result, Table

ROWS = [["a | b", Number(0.5, ".1f")], ["<c>", Number(float("nan"))]]
RESULT = Result(
    "some", "Some & all", ["A `word` <b>."], [Table("Title", ["net", "value"], ROWS)], [], 61.0
)


def write_figure(out: str, name: str = "some", file: str = "a.png") -> Figure:
    """Write a PNG into the folder of a result."""
    os.makedirs(os.path.join(out, name), exist_ok=True)
    Image.new("RGB", (4, 4)).save(os.path.join(out, name, file))
    return Figure(file, "A `caption`.")
