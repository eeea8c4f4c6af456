"""Draws the files that oracle/exchange.py writes and reads, and compares what the Caffes read.

python -m oracle.exchange_cases --count 60 --seed 0
"""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import argparse
import collections
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from fcn_common import arguments, command
from oracle.compare import file_disagreement
from oracle.fifty import FIELDS
from oracle.run import load_arrays, run

#: Names with characters that paths, escapes, texts or C strings treat in a special way.
NAMES = (
    *("conv1", "a/b", "/", "a/", "a//b", "/a", ".", "..", "a.b", "./a", " ", "a b", " a", "a\nb"),
    *("\t", "é✓", "日本", "", "k" * 4096, "%2F", "a\\b", "it's", 'say "x"', "0", "a/0", "a\0b"),
)
#: The share of shapes without values.
EMPTY_SHARE = 0.06
#: Sizes of an axis.
SIZES = (1, 1, 2, 3)
#: Fields of a solver, of which one is drawn.
MORE = (
    "lr_policy: 'fixed'",
    "lr_policy: 'step' gamma: 0.5 stepsize: 2",
    "lr_policy: 'multistep' gamma: 0.5 stepvalue: 2 stepvalue: 4",
    "lr_policy: 'inv' gamma: 0.1 power: 0.75 weight_decay: 0.02",
    "lr_policy: 'fixed' weight_decay: 0.01 regularization_type: 'L1' clip_gradients: 3",
)
#: Prefixes of snapshots.
PREFIXES = ("s", "snap shot", "dir/s", "é", "a.b", "it's")
#: The two Caffes, as oracle/run.py names them.
SIDES = ("engine", "bvlc")
FORMATS = {"binary": "", "hdf5": ".h5"}
#: The largest error of weights after training went on, as a share of the largest weight.
TOLERANCE = 1e-6


def draw_shape(r: random.Random, low: int = 0, high: int = 8) -> List[int]:
    """Return a shape of low to high axes."""
    if r.random() < 0.03:
        return [70001]
    sizes = [r.choice(SIZES) for _ in range(r.randint(low, high))]
    if sizes and r.random() < EMPTY_SHARE:
        sizes[r.randrange(len(sizes))] = 0
    return sizes


def quote(text: str) -> str:
    """Return text as a string of a prototxt."""
    return "'%s'" % "".join("\\%03o" % byte for byte in text.encode())


def parameter_net(r: random.Random, learns: bool) -> str:
    """Return a net of one to four parameters of drawn names and shapes, with a loss each."""
    text = "name: %s\n" % quote(r.choice(NAMES))
    for i, name in enumerate(r.sample(NAMES, r.randint(1, 4))):
        dims = " ".join("dim: %d" % n for n in draw_shape(r, int(learns)))
        text += "layer { name: %s type: 'Parameter' top: 't%d'" % (quote(name), i)
        text += " parameter_param { shape { %s } } }\n" % dims
        if learns:
            text += "layer { name: 'loss%d' type: 'Reduction' bottom: 't%d' top: 'l%d'" % (i, i, i)
            text += " reduction_param { operation: SUMSQ coeff: 0.3 } loss_weight: 1 }\n"
    return text


def draw_net(r: random.Random) -> Dict[str, Any]:
    """Return a case of weights."""
    form = r.choice([*FORMATS])
    return {"net": parameter_net(r, False), "format": form, "file": "w.caffemodel" + FORMATS[form]}


def draw_solver(r: random.Random) -> Dict[str, Any]:
    """Return a case of a solver's snapshot."""
    form, kind, prefix = r.choice([*FORMATS]), r.choice([*FIELDS]), r.choice(PREFIXES)
    iterations = r.randint(1, 5)
    text = "net: 'net.prototxt' type: '%s' %s %s snapshot_prefix: %s snapshot_diff: %s" % (
        kind,
        FIELDS[kind],
        r.choice(MORE),
        quote(prefix),
        r.choice(("true", "false")),
    )
    text += " max_iter: 20" + (" snapshot_format: HDF5" if form == "hdf5" else "")
    return {
        "net": parameter_net(r, True),
        "solver": text,
        "prefix": prefix,
        "iterations": iterations,
        "file": "%s_iter_%d.solverstate%s" % (prefix, iterations, FORMATS[form]),
    }


def draw_mean(r: random.Random) -> Dict[str, Any]:
    """Return a case of a mean."""
    return {"shape": draw_shape(r), "file": "mean.binaryproto"}


def draw_data(r: random.Random) -> Dict[str, Any]:
    """Return a case of HDF5 data: two datasets of as many rows."""
    rows, by = r.randint(1, 5), r.choice(("h5py", "h5py", "layer"))
    names = (
        ("data", "label")
        if by == "layer"
        else r.sample(("data", "label", "a b", "é", "a.b", "a/b"), 2)
    )
    tops = [(name, [rows, *draw_shape(r, 0, 5)]) for name in names]
    if by == "layer":
        tops = [(name, ([*shape, 1, 1, 1])[:4]) for name, shape in tops]
    text = "layer { name: 'x' type: 'HDF5Data' %s "
    text += "hdf5_data_param { source: 'files.txt' batch_size: %d } }"
    batch = r.randint(1, 7)
    text %= " ".join("top: %s" % quote(name) for name in names), batch
    storage = r.choice(({}, {}, {"compression": "gzip"}, {"chunks": True}))
    dtype = r.choice(("float32", "float32", "float64", "int32", "uint8", "int8"))
    if not all(all(shape) for _, shape in tops):
        storage = {}
    return {
        "by": by,
        "tops": tops,
        "net": text,
        "dtype": dtype,
        "storage": storage,
        "batch": batch,
        "file": "rows.h5",
    }


DRAWS = {"net": draw_net, "solver": draw_solver, "mean": draw_mean, "data": draw_data}


def make_cases(seed: int, count: int) -> List[dict]:
    """Return count cases of each kind."""
    cases = []
    for kind, draw in DRAWS.items():
        for i in range(count):
            name = "%s.%d.%d" % (kind, seed, i)
            r = random.Random(name)
            cases.append({"name": name, "kind": kind, "seed": i, **draw(r)})
    return cases


#: How the verdicts begin that are no fault of the engine.
RIGHT = ("agree", "BVLC Caffe cannot")


class Reading(NamedTuple):
    """What a Caffe read of a file: numbers by key, or the words of its refusal."""

    numbers: Optional[Dict[str, np.ndarray]]
    refusal: str


def read_reading(*path: str) -> Reading:
    """Return what oracle/exchange.py wrote for a case."""
    stem = os.path.join(*path)
    if os.path.exists(stem + ".npz"):
        return Reading(load_arrays(stem + ".npz"), "")
    if os.path.exists(stem + ".refused"):
        with open(stem + ".refused", errors="replace") as file:
            return Reading(None, file.read())
    return Reading(None, "not written")


def same_numbers(a: Dict[str, np.ndarray], b: Dict[str, np.ndarray]) -> bool:
    """Return whether numbers agree: restored ones exactly, those of more training to TOLERANCE.

    Only the keys of both count: the loss of a matrix is compared between the readers alone.
    """
    for key in {*a} & {*b}:
        if a[key].shape != b[key].shape:
            return False
        tolerance = TOLERANCE if "continued" in key or key == "loss" else 0
        difference = np.abs(a[key].astype(np.float64) - b[key])
        if difference.max(initial=0) > tolerance * np.abs(b[key]).max(initial=0):
            return False
    return True


def same_file(case: dict, folder: str) -> bool:
    """Return whether both Caffes wrote the same bytes, or the same content in HDF5."""
    names = [case["file"], case["file"].replace(".solverstate", ".caffemodel")]
    for name in dict.fromkeys(names):
        engine, bvlc = (Path(folder, side, case["name"], name).read_bytes() for side in SIDES)
        tolerance = TOLERANCE if case["kind"] == "solver" else 0
        if case["kind"] in ("net", "solver") or name.endswith(".h5"):
            if file_disagreement(name, engine, bvlc, tolerance):
                return False
        elif engine != bvlc:
            return False
    return True


def causes(case: dict) -> List[str]:
    """Return why BVLC Caffe may refuse a case or lose values: keys of LIMITS."""
    shapes = [shape for _, shape in case["tops"]] if case["kind"] == "data" else []
    text = case.get("net", "") if case["kind"] in ("net", "solver") else ""
    parsed: Any = text_format.Parse(text, caffe_pb2.NetParameter())
    params = [layer for layer in parsed.layer if layer.type == "Parameter"]
    shapes += [list(layer.parameter_param.shape.dim) for layer in params]
    result = []
    if case["file"].endswith(".h5"):
        names = [layer.name for layer in params] + [name for name, _ in case.get("tops", ())]
        if any("/" in name or name == "." or "\0" in name or not name for name in names):
            result.append("name")
    if case["kind"] != "mean" and any(0 in shape for shape in shapes):
        result.append("empty")
    if case["kind"] == "solver" and [] in shapes:
        result.append("reduction")
    return result


#: Cause -> what BVLC Caffe does, for which the comparison allows no agreement.
LIMITS = {
    "name": "a name with / or NUL, an empty name, or the name . in HDF5",
    "empty": "an array without values",
    "reduction": "Reduction of a blob without axes",
}


def verdict(case: dict, folder: str) -> str:
    """Return in a few words how the Caffes agree on the files of a case.

    The verdicts that begin with `agree` and with `BVLC Caffe cannot` are right.
    """
    written = {side: read_reading(folder, side, case["name"]) for side in SIDES}
    readings = {
        (reader, writer): read_reading(folder, reader, writer, case["name"])
        for reader in SIDES
        for writer in SIDES
    }
    correct = {
        (reader, writer): reading.numbers is not None
        and same_numbers(reading.numbers, written[writer].numbers or {})
        for (reader, writer), reading in readings.items()
    }
    if not correct["engine", "engine"]:
        return "the engine does not read its own file: %s" % readings["engine", "engine"].refusal
    if all(correct.values()):
        losses = np.array([(x.numbers or {}).get("loss", 0.0) for x in readings.values()])
        if not np.allclose(losses, losses[0], TOLERANCE, equal_nan=True):
            return "other losses"
        if not same_file(case, folder):
            return "agree, other files" + (" (a name)" if "name" in causes(case) else "")
        return "agree"
    if correct["bvlc", "bvlc"] and not correct["engine", "bvlc"]:
        return "the engine does not read BVLC Caffe's file"
    limits = ", ".join(LIMITS[cause] for cause in causes(case))
    if not limits:
        return "BVLC Caffe fails without a known cause"
    verb = "write" if written["bvlc"].numbers is None else "read"
    return "BVLC Caffe cannot %s: %s" % (verb, limits)


def compare(cases: Sequence[dict], folder: str) -> Dict[str, List[dict]]:
    """Run the cases under both Caffes; return verdict -> cases. Folder: for the files."""
    with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as file:
        json.dump(list(cases), file)
    for name in SIDES:
        run(name, "exchange.py", folder, name, "write")
    for name in SIDES:
        for other in SIDES:
            run(name, "exchange.py", folder, name, "read", other)
    verdicts: Dict[str, List[dict]] = collections.defaultdict(list)
    for case in cases:
        verdicts["%s: %s" % (case["kind"], verdict(case, folder))].append(case)
    return verdicts


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Compare drawn files and print the verdicts; return 1 if numbers differ."""
    parser = argparse.ArgumentParser(description=__doc__, parents=[arguments.seed(0, "files")])
    parser.add_argument("--count", type=int, default=60, help="cases of each kind (default 60)")
    parser.add_argument("--folder", help="folder to keep the files in")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        verdicts = compare(make_cases(args.seed, args.count), args.folder or scratch)
    for words, cases in sorted(verdicts.items()):
        print("%4d %s (%s)" % (len(cases), words, ", ".join(c["name"] for c in cases[:4])))
    return any(not words.split(": ", 1)[1].startswith(RIGHT) for words in verdicts)


if __name__ == "__main__":
    command.run(lambda: sys.exit(main()))
