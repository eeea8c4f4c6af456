"""`caffe inspect FILE.prototxt`: the command line of the inspector."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from .. import files
from ..arguments import Parser
from ..errors import CaffeError, NetError
from ..printable import printable
from ..text import write_text
from .compare import compare_nets
from .costs import SOLVER_ARRAYS
from .crops import fix_crops
from .findings import find_problems
from .inputs import parse_inputs
from .page import html_page
from .report import Report, inspect_net
from .stored import blob_rows
from .tables import csv_text, difference_text, markdown, plain, report_text


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = Parser(
        prog="caffe inspect",
        description="Show what a prototxt means: shapes, coordinate maps, costs. No weights are "
        "needed and nothing is computed.",
    )
    options.add_argument("net", help="a prototxt of any age, or a folder with a deploy.prototxt")
    options.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="SHAPE",
        help="the size of images, 375x500, or the shape of a blob, data=1,3,375,500; repeatable",
    )
    options.add_argument("--phase", choices=("TRAIN", "TEST"), help="default: the net's, or TEST")
    options.add_argument("--stage", action="append", default=[], help="a stage; repeatable")
    options.add_argument("--level", type=int, default=0, help="the level (default: 0)")
    options.add_argument(
        "--solver",
        choices=tuple(SOLVER_ARRAYS),
        default="SGD",
        help="the solver type that the memory of training is counted for (default: SGD)",
    )
    options.add_argument(
        "--weights", metavar="FILE", help="a .caffemodel or .h5 file: which layers get which blobs"
    )
    options.add_argument("--html", metavar="FILE", help="write the net as an offline page")
    options.add_argument(
        "--diff",
        metavar="NET",
        help="show what differs from another prototxt; status 1 if the meaning differs",
    )
    options.add_argument(
        "--fix-crops",
        metavar="FILE",
        help="write the net with the offsets of Crop layers that name none; comments are not kept",
    )
    forms = options.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print JSON")
    forms.add_argument("--markdown", action="store_true", help="print Markdown tables")
    forms.add_argument("--csv", action="store_true", help="print the layer table as CSV")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run `caffe inspect` on a command line; return the exit status."""
    arguments = parser().parse_args(argv)
    try:
        text, status = run(arguments)
        print(printable(text, keep="\n\r\t"), end="")
    except (CaffeError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    return status


def run(arguments: argparse.Namespace) -> tuple[str, int]:
    """Return the text that the command prints, and its status. Raises CaffeError or OSError."""
    try:
        return _run(arguments)
    except (MemoryError, OverflowError) as error:
        raise NetError(
            f"{arguments.net}: its sizes cannot be inspected: {type(error).__name__} {error}; "
            "check kernels, strides and pads"
        ) from None


def _run(arguments: argparse.Namespace) -> tuple[str, int]:
    if arguments.diff:
        return compare(arguments)
    report = inspect_net(
        arguments.net,
        parse_inputs(arguments.input),
        arguments.phase,
        tuple(arguments.stage),
        arguments.level,
        arguments.solver,
    )
    if arguments.fix_crops:
        return write_fixed_crops(report, arguments.fix_crops), 0
    return render(report, arguments), 0


def compare(arguments: argparse.Namespace) -> tuple[str, int]:
    """Return the differences from the net of --diff, and 1 where the meaning differs."""
    differences = compare_nets(
        arguments.net,
        arguments.diff,
        arguments.phase,
        tuple(arguments.stage),
        arguments.level,
    )
    status = int(any(difference.meaning for difference in differences))
    if arguments.json:
        return json.dumps([d._asdict() for d in differences], indent=1) + "\n", status
    return difference_text(differences, markdown if arguments.markdown else plain), status


def write_fixed_crops(report: Report, path: str) -> str:
    """Write the net with the missing crop offsets; return what was written, a line a layer."""
    net, offsets = fix_crops(report)
    if not offsets:
        return "no Crop layer misses an offset; nothing is written\n"
    files.make_folder_of(path)
    write_text(path, net)
    lines = [f"{name}: offset {' '.join(map(str, o))}" for name, o in offsets.items()]
    return "\n".join([*lines, f"written to {path}\n"])


def render(report: Report, arguments: argparse.Namespace) -> str:
    """Return a report in the form that the options ask for."""
    if arguments.csv:
        return csv_text(report)
    findings = find_problems(report)
    weights = blob_rows(report, arguments.weights) if arguments.weights else []
    if arguments.html:
        files.make_folder_of(arguments.html)
        with files.atomic(arguments.html) as file:
            file.write(html_page(report, findings, weights).encode())
        return f"written to {arguments.html}\n"
    if arguments.json:
        warnings = [finding._asdict() for finding in findings]
        stored = {"weights": [asdict(row) for row in weights]} if arguments.weights else {}
        return json.dumps({**report.to_dict(), "warnings": warnings, **stored}, indent=1) + "\n"
    return report_text(report, findings, markdown if arguments.markdown else plain, weights)
