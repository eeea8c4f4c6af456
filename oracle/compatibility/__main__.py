"""Writes docs/compatibility.md."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Dict, Iterable, Sequence

import jinja2

from fcn_common import arguments, command, files, tables
from oracle.cases.regressions import AGREED, REFUSED
from oracle.compatibility import calls, layers, measurements
from oracle.compatibility import files as file_rows
from oracle.compatibility.agreement import exponent
from oracle.deliberate import DELIBERATE
from oracle.edges import LISTED
from oracle.fifty import FIELDS
from oracle.ignored import IGNORED
from oracle.measure import SEED
from oracle.places import CHECKOUT, MEASURED
from oracle.special_values import EXPLAINED

PAGE = os.path.join(CHECKOUT, "docs", "compatibility.md")
#: Deliberate differences that no layer causes; oracle/deliberate.py lists the others.
DIFFERENCES = (
    "BVLC Caffe aborts the process where the engine raises `CaffeError`; a tool of the engine ends "
    "with status 1 and a message of one line.",
    "A tool that fails leaves no truncated file or database; convert_imageset refuses a list that "
    "does not exist, where BVLC Caffe writes an empty database.",
    "`set_mode_gpu()` without a CUDA device is an error.",
    "SoftmaxWithLoss with a second top can be built.",
    "Adam with a momentum of 1 or -1, or with a momentum2 above 1, is refused; BVLC Caffe divides "
    "by zero, or takes the root of a negative number.",
    "LevelDB has no maintained Python package; the engine refuses LevelDB databases with a message "
    "that says so.",
    "On the CPU, a seed draws BVLC Caffe's fillers and dropout masks, and its crops, mirrors and "
    "shuffles of ImageData, Data and WindowData (of a BVLC Caffe that was built with Boost 1.56 or "
    "later). "
    "Other random numbers differ: the shuffles of HDF5Data and convert_imageset, which come from "
    "the C library's `rand`, stochastic pooling, and all draws on a GPU, which come from cuRAND.",
    "Sizes of a reshape may be NumPy integers, and lists may stand for arrays, which BVLC Caffe "
    "refuses; `NetSpec` refuses an attribute that is no `Top` at once, and not in `to_proto`.",
    "The log has no lines about the time that a data layer waited, about HDF5 data types, and "
    "about the layers of the net that LSTM and RNN unroll.",
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, without padding so that a change of one row changes one line."""
    return "\n".join(tables.markdown(head, rows, right=[False] * len(head), padded=False))


def values(measured: Dict[str, Any]) -> Dict[str, Any]:
    """Return the values that the template shows; measured: the results of oracle/measure.py."""
    layer_rows, solver_rows = layers.layer_and_solver_rows()
    verdicts = measurements.verdict_counts(measured["random"])
    versions = measured["versions"]
    return {
        "layers": layer_rows,
        "solvers": solver_rows,
        "margin": exponent(min(run["margin"] for run in measured["training"].values())),
        "training": measurements.training_rows(measured["training"]),
        "training_versions": measurements.version_text(versions["training"]),
        "solver_names": [*FIELDS],
        "formats": [*file_rows.upgrade_rows(), *file_rows.database_rows()],
        "snapshots": file_rows.snapshot_rows(measured["files"]),
        "calls": calls.call_rows(),
        "names": calls.name_rows(measured["names"]),
        "commands": calls.command_rows(),
        "nets": measurements.net_rows(measured["nets"]),
        "net_versions": measurements.version_text(versions["nets"]),
        "ties": measurements.tie_lines(measured["nets"]),
        "verdicts": verdicts,
        "verdict_rows": [[verdict, f"{count:,}"] for verdict, count in verdicts.items()],
        "seed": SEED,
        "agreed": len(AGREED),
        "refused": len(REFUSED),
        "special": [[entry.title, entry.sentence] for entry in EXPLAINED],
        "edges": [[entry.title, entry.sentence] for entry in LISTED],
        "ignored": [[f"`{field.lstrip('.')}`", reason] for field, reason in IGNORED.items()],
        "differences": [*DIFFERENCES, *(entry.sentence for entry in DELIBERATE)],
    }


def page(measured: Dict[str, Any]) -> str:
    """Return the page as Markdown."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(__file__))),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template("page.md.jinja")
    return template.render(table=table, **values(measured))


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    out = arguments.option("--out", default=PAGE, help="path of the page (default: %(default)s)")
    parser = argparse.ArgumentParser(description=__doc__, parents=[out])
    args = parser.parse_args()
    with open(MEASURED) as file:
        measured = json.load(file)
    files.write_text(args.out, page(measured))


if __name__ == "__main__":
    command.run(main)
