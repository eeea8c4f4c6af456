"""Writes docs/compatibility.md: what agrees with BVLC Caffe, and how far.

    python -m oracle.compatibility [--out FILE]

Runs the golden cases and takes the largest error of every kind of number, as a share of the largest
value of its array, rounded up so that the table is the same on other machines.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from collections import defaultdict
from typing import Any, DefaultDict, Dict, List, Tuple

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from oracle.cases import CASES, run
from oracle.cases.case import Case
from oracle.compare import golden

DOCUMENT = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "compatibility.md"
)
KEY = re.compile(r"(?:.*/)?(data|diff|param|param_diff)/(.+)")
DATA_KEY = re.compile(r".*/\d+/(\w+)")  # what a data layer gives, batch by batch
BOUNDS = (0.0, 1e-6, 1e-5)
DIFFERENT = """\
- BVLC Caffe aborts the process where this engine raises `CaffeError`.
- `set_mode_gpu()` without a CUDA device is an error. Several GPUs are not supported yet.
- Gradients of Power, Log and MVN in place are right; BVLC Caffe takes them from overwritten values.
- ArgMax, BatchReindex, Embed, LSTM, Concat, Slice and Tile in place, and a dropout_ratio of 1, are
  refused.
- SoftmaxWithLoss with a second top can be built.
- Stochastic pooling is not supported.
- LevelDB has no living Python package: its databases are refused with a line that says so.
- HDF5Data and convert_imageset shuffle in another order than the C library's `rand` gives.
"""


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, of the largest value; values that are not finite are left out."""
    known = np.isfinite(theirs) & (np.abs(theirs) < 1e30)
    off = np.abs(ours[known].astype(np.float64) - theirs[known]).max(initial=0.0)
    return float(off / np.abs(theirs[known]).max()) if off else 0.0


def rounded(value: float) -> str:
    bound = next((b for b in BOUNDS if value <= b), value)
    return "exact" if bound == 0 else f"<= {bound:.0e}".replace("e-0", "e-")


def types(case: Case) -> Tuple[Dict[str, str], Dict[str, List[str]], Dict[str, List[str]]]:
    """The type of each layer, and the types that make a blob and that read it."""
    message: Any = caffe_pb2.NetParameter()
    text_format.Parse(case.text, message)
    made: DefaultDict[str, List[str]] = defaultdict(list)
    read: DefaultDict[str, List[str]] = defaultdict(list)
    for layer in message.layer:
        for top in layer.top:
            made[top].append(layer.type)
        for bottom in layer.bottom:
            read[bottom].append(layer.type)
    return {layer.name: layer.type for layer in message.layer}, made, read


def measure() -> Tuple[List[List[str]], List[List[str]]]:
    """The rows of the table of layers and of the table of solvers."""
    counts: DefaultDict[str, int] = defaultdict(int)
    worst: DefaultDict[Tuple[str, str], float] = defaultdict(float)
    for case in CASES.values():
        if case.group in ("upgrade", "pycaffe"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            ours = run(case, folder)
        theirs = golden(case.group)
        layer_types, made, read = types(case)
        trained = re.search(r"\btype: '(\w+)'", case.solver) if case.solver else None
        solver = "solver " + (trained[1] if trained else "SGD")
        for kind in {solver} if case.solver else set(layer_types.values()):
            counts[kind] += 1
        for key, value in ours.items():
            match = KEY.fullmatch(key)
            batch = DATA_KEY.fullmatch(key) if case.group == "data" else None
            if not (match or batch) or theirs[key].dtype.kind not in "fiu":
                continue
            kind, rest = ("data", batch[1]) if batch else match.groups()  # type: ignore[union-attr]
            layer = rest.rpartition("/")[0]
            found = {
                "data": made.get(rest, []),
                "diff": read.get(rest, []),
                "param": [],
                "param_diff": [layer_types[layer]] if layer in layer_types else [],
            }[kind]
            off = error(np.asarray(value), theirs[key])
            for type_ in [solver] if case.solver else found:
                column = (
                    "forward" if kind == "data" else "weights" if kind == "param" else "backward"
                )
                worst[type_, column] = max(worst[type_, column], off)

    def cell(kind: str, column: str) -> str:
        return rounded(worst[kind, column]) if (kind, column) in worst else ""

    layers = [
        [kind, str(counts[kind]), cell(kind, "forward"), cell(kind, "backward")]
        for kind in sorted(counts)
        if not kind.startswith("solver ")
    ]
    solvers = [
        [kind[7:], str(counts[kind]), cell(kind, "weights")]
        for kind in sorted(counts)
        if kind.startswith("solver ")
    ]
    return layers, solvers


def table(head: List[str], rows: List[List[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def document() -> str:
    layers, solvers = measure()
    return (
        "# Agreement with BVLC Caffe 1.0\n\n"
        "Written by `make compatibility`, which runs the golden cases on the CPU. An error is\n"
        "the largest difference from BVLC Caffe's numbers, as a share of the largest value in\n"
        "the array, rounded up.\n\n## Layers\n\n"
        + table(["type", "cases", "forward", "gradients"], layers)
        + "\n## Solvers\n\nWeights after every iteration.\n\n"
        + table(["solver", "cases", "weights"], solvers)
        + "\n## Deliberately different\n\n"
        + DIFFERENT
    )


def main() -> None:
    os.environ.setdefault("GLOG_minloglevel", "2")
    parser = argparse.ArgumentParser(description="Writes docs/compatibility.md.")
    parser.add_argument("--out", default=DOCUMENT)
    path = parser.parse_args().out
    text = document()
    with open(path + ".part", "w") as file:
        file.write(text)
    os.replace(path + ".part", path)


if __name__ == "__main__":
    main()
