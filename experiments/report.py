"""Results of experiments: kept on disk, recognised as done, laid out as one page.

runs/experiments/NAME/result.json    text, tables, the names of the figures, which lie beside it
runs/experiments/index.html          all of them, and experiments.md, the same in Markdown
"""

from __future__ import annotations

import argparse
import html
import json
import math
import os
import re
import signal
import sys
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from fcn_common.files import write_text
from solvers import available, device
from solvers.device import Gpu

OUT = os.path.join(available.ROOT, "runs", "experiments")
DEMO = os.path.join(available.ROOT, "runs", "demo")
RESULT, SETTINGS, SECONDS = "result.json", "settings.json", "seconds.json"


class Number(NamedTuple):
    """A measured value and how it is printed; NaN and None are printed as `-`."""

    value: Optional[float]
    format: str = ",.4g"

    def __str__(self) -> str:
        if self.value is None or not math.isfinite(self.value):
            return "-"
        whole = self.format.endswith("d")
        return format(int(self.value) if whole else float(self.value), self.format)


Cell = Union[str, Number]


class Table(NamedTuple):
    """head: the columns' titles. rows: cells are words, or `Number`s, never typed digits."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


class Figure(NamedTuple):
    """file: the name of a PNG in the folder of its result."""

    file: str
    caption: str


class Result(NamedTuple):
    """What an experiment found.

    text: paragraphs; words between backquotes are shown as code.
    seconds: how long it ran; `make` fills it in.
    """

    name: str
    title: str
    text: Sequence[str]
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    seconds: float = 0.0


Run = Callable[..., Result]


def percent(share: Optional[float]) -> Number:
    """A share between 0 and 1 as a number in percent."""
    return Number(None if share is None else 100 * share, ".1f")


def count(number: Optional[float]) -> Number:
    return Number(number, ",.0f")


def save(result: Result, out: str) -> None:
    """Write out/NAME/result.json, whole.

    Raises ValueError for a table whose rows do not fit its head or with a number as text, OSError
    for a figure that is not there.
    """
    folder = os.path.join(out, result.name)
    for table in result.tables:
        _check(result.name, table)
    for figure in result.figures:
        if not os.path.isfile(os.path.join(folder, figure.file)):
            raise FileNotFoundError(f"{os.path.join(folder, figure.file)}: no such figure")
    os.makedirs(folder, exist_ok=True)
    fields = dict(
        result._asdict(),
        tables=[dict(t._asdict(), rows=[[_plain(c) for c in r] for r in t.rows])
                for t in result.tables],
        figures=[f._asdict() for f in result.figures],
    )  # fmt: skip
    write_text(os.path.join(folder, RESULT), json.dumps(fields, indent=1) + "\n")


def load(out: str, name: str) -> Result:
    """The result of out/NAME. Raises OSError if there is none, ValueError if it is damaged."""
    path = os.path.join(out, name, RESULT)
    with open(path) as file:
        try:
            fields = json.load(file)
            fields["tables"] = [
                Table(t["title"], t["head"], [[_cell(c) for c in r] for r in t["rows"]])
                for t in fields["tables"]
            ]
            fields["figures"] = [Figure(**f) for f in fields["figures"]]
            return Result(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: is no result ({error}); remove it") from None


def make(run: Run, out: str = OUT, demo: str = DEMO, gpu: Gpu = None, **arguments: Any) -> Result:
    """The result of an experiment: read if it is done, else worked out by `run` and saved.

    arguments: of `run`, beside these. Raises ValueError if out/NAME was begun with other settings,
    which are the constants of the experiment's module, `arguments`, and the demo run's own.
    """
    name = name_of(run)
    out, demo = os.path.abspath(out), os.path.abspath(demo)
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    _settings(folder, run, demo, arguments)
    if os.path.isfile(os.path.join(folder, RESULT)):
        print(f"{name}: done already ({os.path.join(folder, RESULT)})")
        return load(out, name)
    print(f"{name}: {device.engine()}; runs on {device.use(gpu)}")
    path, started = os.path.join(folder, SECONDS), time.time()
    before = _read(path) or 0.0
    try:
        result = run(out, demo, gpu=gpu, **arguments)
    finally:
        seconds = before + time.time() - started
        write_text(path, json.dumps(seconds) + "\n")
    result = result._replace(seconds=seconds)
    save(result, out)
    print("\n" + markdown(result, "") + "\n")
    return result


def name_of(run: Run) -> str:
    """The name of an experiment: that of its module, also where this was run as a program."""
    return os.path.splitext(os.path.basename(run.__code__.co_filename))[0]


def page(results: Sequence[Result], out: str) -> List[str]:
    """Write out/index.html and out/experiments.md; their paths."""
    os.makedirs(out, exist_ok=True)
    paths = [os.path.join(out, "index.html"), os.path.join(out, "experiments.md")]
    write_text(paths[0], _HTML.format(title=TITLE, body="\n".join(_body(results))))
    write_text(paths[1], document(results, [r.name for r in results]))
    return paths


def document(results: Sequence[Result], folders: Sequence[str]) -> str:
    """All results as one Markdown text; `folders` hold their figures, as seen from the text."""
    parts = [markdown(result, folder) for result, folder in zip(results, folders)]
    return "\n\n".join([f"# {TITLE}", INTRODUCTION, *parts]) + "\n"


def markdown(result: Result, folder: str) -> str:
    """A result as Markdown."""
    parts = [f"## {result.title}", *result.text]
    for table in result.tables:
        parts.append(f"**{table.title}**")
        parts.append("\n".join(_markdown_table(table)))
    for figure in result.figures:
        parts.append(f"![{figure.caption}]({'/'.join(filter(None, [folder, figure.file]))})")
        parts.append(f"*{figure.caption}*")
    parts.append(f"`python -m experiments.{result.name}`, {_duration(result.seconds)}.")
    return "\n\n".join(parts)


TITLE = "The papers' experiments, small"
INTRODUCTION = (
    "Measured, where a section does not say otherwise, on the demo's drawn scenes with nets of an "
    "eighth of the published width; scores are of its held-out split `test`. What such small nets "
    "show need not hold for the published ones, and is reported as it came out."
)

_HTML = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.55 Georgia, "Times New Roman", serif; color: #1a1a1a; background: #fff;
  max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }}
h1, h2, nav, table, figcaption, .ran {{ font-family: system-ui, "Helvetica Neue", Arial,
  sans-serif; }}
h1 {{ font-size: 1.8rem; line-height: 1.2; margin: 1rem 0; }}
h2 {{ font-size: 1.3rem; margin: 3rem 0 .5rem; padding-top: 1rem; border-top: 1px solid #ccc; }}
nav ul {{ list-style: none; padding: 0; margin: 1.5rem 0; font-size: .95rem; }}
nav li {{ margin: .3rem 0; }}
a {{ color: #0b4f8a; }}
code {{ font-size: .88em; background: #f3f3f1; padding: .05em .25em; border-radius: 3px; }}
.wide {{ overflow-x: auto; margin: 1.2rem 0; }}
table {{ border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; font-weight: 600; padding-bottom: .4rem; }}
th, td {{ padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: left;
  vertical-align: top; }}
th {{ border-bottom: 2px solid #888; }}
td:not(.number) {{ min-width: 7rem; }}
.number {{ text-align: right; white-space: nowrap; }}
@media (max-width: 40rem) {{
  th, td {{ padding: .3rem .4rem; }}
  th.number {{ white-space: normal; }}
}}
figure {{ margin: 1.5rem 0; }}
img {{ max-width: 100%; height: auto; display: block; }}
figcaption, .ran {{ font-size: .86rem; color: #555; margin-top: .4rem; }}
@media print {{
  body {{ max-width: none; font-size: 10.5pt; padding: 0; }}
  nav {{ display: none; }}
  h2 {{ break-after: avoid; }}
  tr, figure {{ break-inside: avoid; }}
  .wide {{ overflow: visible; }}
  a {{ color: inherit; text-decoration: none; }}
}}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def _body(results: Sequence[Result]) -> List[str]:
    lines = [f"<h1>{html.escape(TITLE)}</h1>", f"<p>{_inline(INTRODUCTION)}</p>", "<nav><ul>"]
    lines += [f'<li><a href="#{r.name}">{_inline(r.title)}</a></li>' for r in results]
    lines.append("</ul></nav>")
    for result in results:
        lines.append(f'<section>\n<h2 id="{result.name}">{_inline(result.title)}</h2>')
        lines += [f"<p>{_inline(paragraph)}</p>" for paragraph in result.text]
        for table in result.tables:
            lines += _html_table(table)
        for figure in result.figures:
            file = html.escape(f"{result.name}/{figure.file}")
            caption = html.escape(figure.caption.replace("`", ""))
            lines.append(
                f'<figure><img src="{file}" alt="{caption}">\n'
                f"<figcaption>{_inline(figure.caption)}</figcaption></figure>"
            )
        command = f"<code>python -m experiments.{result.name}</code>"
        lines.append(f'<p class="ran">{command}, {_duration(result.seconds)}.</p>\n</section>')
    return lines


def _html_table(table: Table) -> List[str]:
    right = _right(table)
    lines = ['<div class="wide"><table>', f"<caption>{_inline(table.title)}</caption>"]
    for tag, row in [("th", table.head), *(("td", row) for row in table.rows)]:
        cells = [
            f'<{tag} class="number">{_inline(str(cell))}</{tag}>'
            if number
            else f"<{tag}>{_inline(str(cell))}</{tag}>"
            for cell, number in zip(row, right)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return [*lines, "</table></div>"]


def _markdown_table(table: Table) -> List[str]:
    rows = [[str(cell).replace("|", "\\|") for cell in row] for row in [table.head, *table.rows]]
    right = _right(table)
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.head))]
    lines = [
        "| "
        + " | ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, right))
        + " |"
        for row in rows
    ]
    rule = "|".join("-" * (w + 1) + (":" if n else "-") for w, n in zip(widths, right))
    return [lines[0], f"|{rule}|", *lines[1:]]


def _right(table: Table) -> List[bool]:
    """Which columns hold numbers."""
    return [any(isinstance(row[i], Number) for row in table.rows) for i in range(len(table.head))]


def _inline(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text, quote=False))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _check(name: str, table: Table) -> None:
    for row in table.rows:
        if len(row) != len(table.head):
            raise ValueError(
                f"{name}: table {table.title!r} has a row of {len(row)} cells, "
                f"needs {len(table.head)}, one a column"
            )
        for cell in row:
            if isinstance(cell, Number):
                continue
            if not isinstance(cell, str) or re.fullmatch(r"[-+]?[\d.,]+(e[-+]?\d+)?%?", cell):
                raise ValueError(
                    f"{name}: table {table.title!r} has the cell {cell!r}, "
                    "needs a report.Number for a number and text for words"
                )


def _plain(cell: Cell) -> Any:
    if isinstance(cell, Number):
        finite = cell.value is not None and math.isfinite(cell.value)
        return {"value": float(cell.value) if finite else None, "format": cell.format}  # type: ignore[arg-type]
    return cell


def _cell(plain: Any) -> Cell:
    return plain if isinstance(plain, str) else Number(**plain)


def _settings(folder: str, run: Run, demo: str, arguments: Mapping[str, Any]) -> None:
    """Refuse to continue an experiment that was begun with other settings."""
    ours: Dict[str, Any] = {"demo": _read(os.path.join(demo, SETTINGS))}
    ours.update((k, repr(v)) for k, v in arguments.items() if v is not None)
    for key, value in run.__globals__.items():
        if re.fullmatch(r"[A-Z][A-Z0-9_]*", key) and _simple(value):
            ours[key] = repr(value)
    path = os.path.join(folder, SETTINGS)
    theirs = _read(path)
    if theirs is not None and theirs != ours:
        key = next(k for k in [*ours, *theirs] if ours.get(k) != theirs.get(k))
        raise ValueError(
            f"{folder}: was begun with {key} {theirs.get(key)}, asked for {ours.get(key)}; "
            "remove it or name another folder with --out"
        )
    write_text(path, json.dumps(ours, indent=1) + "\n")


def _simple(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_simple, value))
    if isinstance(value, dict):
        return all(_simple(k) and _simple(v) for k, v in value.items())
    return value is None or isinstance(value, (str, int, float, bool))


def _read(path: str) -> Any:
    if not os.path.isfile(path):
        return None
    with open(path) as file:
        return json.load(file)


def parser(description: Optional[str]) -> argparse.ArgumentParser:
    """The arguments that all experiments share."""
    found = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--out", default=OUT, help="folder of all experiments (runs/experiments)")
    found.add_argument("--demo", default=DEMO, help="folder of a finished demo run (runs/demo)")
    found.add_argument("--gpu", help="number of a CUDA device, or cpu")
    return found


def main(
    run: Run,
    doc: Optional[str],
    argv: Optional[Sequence[str]] = None,
    add: Optional[Callable[[argparse.ArgumentParser], None]] = None,
) -> None:
    """The command line of an experiment. add: adds further arguments of `run` to the parser."""
    from fcn_common import command

    def program() -> None:
        ours = parser(doc)
        if add:
            add(ours)
        make(run, **vars(ours.parse_args(argv)))

    stop_in_order()
    command.run(program)


def stop_in_order() -> None:
    """A terminated program ends as an interrupted one does: it keeps its books first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
