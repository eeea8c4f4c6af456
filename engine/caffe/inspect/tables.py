"""A report as a table: plain text, Markdown, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..printable import printable
from .compare import Difference
from .costs import Memory
from .findings import Finding
from .report import CropRow, LayerRow, Report, Totals
from .stored import BlobRow

#: The columns of the layer table: the head, and a row's entry.
COLUMNS: dict[str, Callable[[LayerRow], str]] = {
    "layer": lambda r: r.name,
    "type": lambda r: r.type,
    "bottoms": lambda r: " ".join(r.bottoms),
    "tops": lambda r: "(in place)" if r.in_place else " ".join(r.tops),
    "shape": lambda r: " ".join(map(shape_text, r.shapes)),
    "kernel": lambda r: window_text(r),
    "stride px": lambda r: sides(r.stride),
    "field px": lambda r: sides(r.field),
    "first at px": lambda r: sides(r.first),
    "map": lambda r: map_text(r),
    "parameters": lambda r: f"{r.parameter_count:,}" if r.parameters else "",
    "multiply-adds": lambda r: "?" if r.multiply_adds is None else number(r.multiply_adds),
    "memory": lambda r: megabytes(r.activation_bytes) if r.activation_bytes else "",
    "lr / decay": lambda r: factor_text(r),
    "fillers": lambda r: ", ".join(i.filler or "none" for i in r.parameters),
    "note": lambda r: r.note,
}
#: The columns of the CSV table: counts without separators, and memory in bytes, for programs.
CSV_COLUMNS: dict[str, Callable[[LayerRow], str]] = {
    **{name: entry for name, entry in COLUMNS.items() if name != "memory"},
    "parameters": lambda r: str(r.parameter_count) if r.parameters else "",
    "multiply-adds": lambda r: "" if r.multiply_adds is None else str(r.multiply_adds),
    "bytes": lambda r: "" if r.activation_bytes is None else str(r.activation_bytes),
}
#: Columns of numbers, which are aligned to the right.
NUMBERS = ("parameters", "multiply-adds", "memory")


def sides(values: Iterable[Any]) -> str:
    """Return the entries of several axes as text: one if they are equal, else `3x5`."""
    entries = [str(value) for value in values]
    return entries[0] if len(set(entries)) == 1 else "x".join(entries)


def number(value: int) -> str:
    """Return a count with thousands separators; "" for 0."""
    return f"{value:,}" if value else ""


def megabytes(count: int) -> str:
    """Return a number of bytes in MB of 1,000,000 bytes, or in kB or B where it is small."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.1f} kB"


def shape_text(shape: tuple[int, ...] | None) -> str:
    """Return a shape as `1x3x500x500`, `scalar`, or `?` where it is unknown."""
    if shape is None:
        return "?"
    return "x".join(map(str, shape)) if shape else "scalar"


def window_text(row: LayerRow) -> str:
    """Return kernel, stride, pad, dilation and group: `3 /2 p1 d2 g4`, without defaults."""
    if not row.kernel:
        return ""
    text = sides(row.kernel)
    for mark, values, default in (
        ("/", row.window_stride, 1),
        ("p", row.pad, 0),
        ("d", row.dilation, 1),
        ("g", (row.group,), 1),
    ):
        if set(values) != {default}:
            text += f" {mark}{sides(values)}"
    return text


def map_text(row: LayerRow) -> str:
    """Return the coordinate map as `1/8 x + 12`; for several axes, one after another."""
    maps = []
    for scale, shift in zip(row.scale, row.shift):
        text = "x" if scale == "1" else f"{scale} x"
        if shift != "0":
            text += f" - {shift[1:]}" if shift.startswith("-") else f" + {shift}"
        maps.append(text)
    return maps[0] if len(set(maps)) == 1 else ", ".join(maps)


def factor_text(row: LayerRow) -> str:
    """Return the factors of learning rate and decay of each parameter: `1/1 2/0`."""
    return " ".join(f"{i.lr_mult:g}/{i.decay_mult:g}" for i in row.parameters)


def layer_table(rows: Sequence[LayerRow]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of the layer table, without columns that are empty."""
    lines = [[entry(row) for entry in COLUMNS.values()] for row in rows]
    used = [i for i in range(len(COLUMNS)) if any(line[i] for line in lines)]
    head = list(COLUMNS)
    return [head[i] for i in used], [[line[i] for i in used] for line in lines]


def crop_table(crops: Sequence[CropRow]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of the table of Crop layers."""
    head = ["crop", "of", "to", "offset", "needed", "cut before", "cut after", "how"]
    lines = []
    for c in crops:
        needed = sides("none" if n is None else n for n in c.needed) if c.needed else "?"
        after = sides("?" if n is None else n for n in c.after)
        lines.append(
            [c.name, c.bottom, c.like, sides(c.offset), needed, sides(c.before), after, c.reason]
        )
    return head, lines


def total_table(totals: Totals) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of the table of sums."""
    lines = [
        ["parameters", f"{totals.parameters:,}"],
        ["of these learn", f"{totals.learned_parameters:,}"],
        ["multiply-adds of a forward pass", f"{totals.multiply_adds:,}"],
        ["activations", megabytes(totals.activation_bytes)],
        ["inference, BVLC Caffe", memory_text(totals.bvlc_inference)],
        [f"training ({totals.solver}), BVLC Caffe", memory_text(totals.bvlc_training)],
        ["inference, this engine, about", memory_text(totals.engine_inference)],
        [f"training ({totals.solver}), this engine, about", memory_text(totals.engine_training)],
    ]
    return ["total", "value"], lines


def memory_text(memory: Memory) -> str:
    """Return a sum of memory with its parts."""
    parts = [
        f"{name} {megabytes(count)}"
        for name, count in (
            ("blobs", memory.values),
            ("their gradients", memory.gradients),
            ("parameters", memory.parameters),
            ("their gradients and the solver's arrays", memory.updates),
            ("buffers", memory.buffers),
        )
        if count
    ]
    return f"{megabytes(memory.total)} ({', '.join(parts)})"


def plain(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table as text with aligned columns."""
    lines = [[printable(text) for text in line] for line in lines]
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    texts = []
    for line in [head, ["-" * w for w in widths], *lines]:
        entries = [
            text.rjust(w) if title in NUMBERS else text.ljust(w)
            for title, text, w in zip(head, line, widths)
        ]
        texts.append("  ".join(entries).rstrip() + "\n")
    return "".join(texts)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    marks = ["---:" if title in NUMBERS else "---" for title in head]
    escaped = [[printable(text).replace("|", "\\|") for text in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, marks, *escaped])


def finding_table(findings: Sequence[Finding]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of the table of findings."""
    return ["warning", "layer", "about"], [list(finding) for finding in findings]


def weight_table(rows: Sequence[BlobRow]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of the table of a weights file."""
    head = ["layer", "blob", "net", "file", "state", "min", "max", "mean", "std", "zeros", "NaN"]
    lines = []
    for row in rows:
        s, values = row.statistics, [""] * 6
        if s is not None:
            numbers = (s.minimum, s.maximum, s.mean, s.deviation)
            values = ["" if n is None else f"{n:.4g}" for n in numbers]
            values += [
                f"{100 * s.zeros:.1f} %",
                str(s.nan + s.infinite) if s.nan + s.infinite else "",
            ]
        shapes = ["" if x is None else shape_text(x) for x in (row.net_shape, row.file_shape)]
        lines.append([row.layer, str(row.index), *shapes, row.state, *values])
    return head, lines


def difference_text(differences: Sequence[Difference], render: Callable[..., str] = plain) -> str:
    """Return the differences of two nets, changes of meaning apart from changes of form."""
    texts = []
    for meaning, title in ((True, "differs in meaning"), (False, "differs in form alone")):
        lines = [[d.kind, d.layer, d.message] for d in differences if d.meaning == meaning]
        if lines:
            texts.append(f"{title}: {len(lines)}\n\n" + render(["kind", "layer", "about"], lines))
    return "\n".join(texts) or "no differences\n"


def report_text(
    report: Report,
    findings: Sequence[Finding] = (),
    render: Callable[..., str] = plain,
    weights: Sequence[BlobRow] = (),
) -> str:
    """Return the tables of a report, rendered by `plain` or `markdown`, with a line about gaps."""
    title = f"{printable(report.name) or 'net without a name'}, phase {report.phase}\n\n"
    tables = [render(*layer_table(report.rows))]
    if report.crops:
        tables.append(render(*crop_table(report.crops)))
    tables.append(render(*total_table(report.totals)))
    if weights:
        tables.append(render(*weight_table(weights)))
    if findings:
        tables.append(render(*finding_table(findings)))
    text = title + "\n".join(tables)
    if report.totals.incomplete:
        text += "\nThe sums leave out the layers whose shapes are unknown; see their notes.\n"
    return text


def csv_text(report: Report) -> str:
    """Return the layer table as CSV, with every column, and memory in bytes."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows([entry(row) for entry in CSV_COLUMNS.values()] for row in report.rows)
    return file.getvalue()
