"""Write docs/export-layers.md: every layer's ONNX form, and the zoo's nets in ONNX Runtime."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import onnxruntime
from caffe.layers import layer_class, layer_type_list
from caffe.tools import onnx as writer
from caffe.tools.onnx.check import random_input
from caffe.tools.onnx.deploy import DATA, SCORING

from fcn_common.command import run
from fcn_common.files import write_text
from fcn_common.tables import markdown

from ..nets import NETS
from .compare import Export, build, cases, of_case, of_small, of_zoo, without_softmax
from .nets import NETS as SMALL

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "export-layers.md"

INTRODUCTION = """\
# Layers and nets as ONNX

`python -m zoo.export.page` measured and wrote this page. [export.md](export.md) is about the
command.

## Layers

The operators are those of the exported nets and layers of this page; a layer's settings decide
which of them it needs. "Left out" means that a model has no such layer: losses, scores and labels.
A layer that brings data becomes an input.
"""
NETS_TEXT = """\
## Nets

Each net of the zoo with random weights, without a Softmax at its end, whose values say less than
the scores. "Error" is the largest difference from the engine, as a share of an output's largest
value, in ONNX Runtime {version}, at the net's own size and at another one. The sizes are those of
the inputs; a name stands for any size.
"""
OPENCV_TEXT = """\
OpenCV, with the models above at the nets' own sizes: the largest difference, or the operator that
OpenCV does not read. Differences above 1e-4 are OpenCV's: ONNX Runtime and the engine agree.
ICNet's result in OpenCV 5.0.0 changes from run to run.
"""


def layer_rows(exports: Iterable[Export]) -> list[list[str]]:
    """Return the cells of each layer type: type, operators, remarks."""
    operators: dict[str, set[str]] = {}
    for export in exports:
        for layer_type, names in export.operators.items():
            operators.setdefault(layer_type, set()).update(names)
    # Layer types of one writer have the same operators.
    for name, writes in writer.WRITERS.items():
        alike = (t for t, other in writer.WRITERS.items() if other is writes and t in operators)
        operators[name] = set().union(*(operators[t] for t in alike))
    return [_layer_row(name, operators.get(name, set())) for name in layer_type_list()]


def _layer_row(name: str, operators: set[str]) -> list[str]:
    """Return the cells of a layer type."""
    cls, title = layer_class(name), f"`{name}`"
    if name in DATA or name == "Input":
        return [title, "an input", ""]
    if name == "Python":
        return [title, "none", "a layer in Python; one without bottoms becomes an input"]
    if name in SCORING or (cls is not None and cls.loss):
        return [title, "left out", ""]
    if name not in writer.WRITERS:
        reason = writer.REASONS.get(name, "not written")
        return [title, "none", reason.replace("is not written as ONNX: ", "")]
    text = (inspect.getdoc(writer.WRITERS[name]) or "").split("\n\n")[0].replace("\n", " ")
    return [title, ", ".join(sorted(operators)) or "no node", text.removeprefix("Write ")]


def net_row(name: str, export: Export) -> list[str]:
    """Return the cells of a net: name, nodes, error, seconds, sizes."""
    if export.refusal:
        return [name, "", "", "", export.refusal]
    sizes = "; ".join(
        f"{blob} {' x '.join(str(axis).replace(f'{blob}_', '') for axis in axes)}"
        for blob, axes in export.sizes.items()
    )
    return [name, str(export.nodes), f"{export.error:.1e}", f"{export.seconds:.1f}", sizes]


def opencv_results(pythons: Sequence[str]) -> list[dict[str, Any]]:
    """Return what each Python's OpenCV computes with the nets of the zoo."""
    with tempfile.TemporaryDirectory() as folder:
        for name in NETS:
            _write_model(name, os.path.join(folder, name))
        program = str(Path(__file__).with_name("opencv.py"))
        return [
            json.loads(subprocess.check_output([python, program, folder], text=True))
            for python in pythons
        ]


def _write_model(name: str, path: str) -> None:
    """Write PATH.onnx of a net with fixed sizes, and PATH.npz of random inputs and the outputs."""
    net = build(without_softmax(NETS[name]()))
    try:
        sizes = writer.find_sizes(net, fixed=True)
        writer.write(net, f"{path}.onnx", sizes, external=False)
    except caffe.CaffeError:
        return
    random = np.random.RandomState(1)
    arrays: dict[str, Any] = {}
    for blob in net.inputs:
        arrays[f"in_{blob}"] = net.blobs[blob].data[...] = random_input(net, blob, random)
    arrays.update({f"out_{blob}": values for blob, values in net.forward().items()})
    np.savez(path, **arrays)


def _opencv_cell(result: float | str | None) -> str:
    if result is None:
        return ""
    return f"`{result}`" if isinstance(result, str) else f"{result:.1e}"


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(prog="python -m zoo.export.page", description=__doc__)
    parser.add_argument(
        "--opencv",
        metavar="PYTHON",
        action="append",
        help="a Python whose OpenCV is compared; repeatable (default: this one)",
    )
    parser.add_argument(
        "--layers",
        action="store_true",
        help="write the layers alone, and keep the rest of the page",
    )
    arguments = parser.parse_args()
    pythons = arguments.opencv or [sys.executable]
    nets = {name: of_zoo(name) for name in NETS}
    exports = [*nets.values(), *map(of_small, SMALL), *map(of_case, cases())]
    lines = [INTRODUCTION, *markdown(("layer", "ONNX", "remarks"), layer_rows(exports)), ""]
    if arguments.layers:
        heading = NETS_TEXT.split("\n")[0]
        rest = PAGE.read_text().split(f"{heading}\n")[1]
        write_text(PAGE, "\n".join([*lines, f"{heading}\n"]) + rest)
        print(PAGE.relative_to(ROOT))
        return
    lines += [NETS_TEXT.format(version=onnxruntime.__version__)]
    head = ("net", "nodes", "error", "seconds", "sizes")
    lines += [*markdown(head, [net_row(*item) for item in nets.items()]), "", OPENCV_TEXT]
    opencv = opencv_results(pythons)
    columns = ["net", *(f"OpenCV {result['version']}" for result in opencv)]
    rows = [[n, *(_opencv_cell(r["results"].get(n)) for r in opencv)] for n in NETS]
    write_text(PAGE, "\n".join([*lines, *markdown(columns, rows)]) + "\n")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    run(main)
