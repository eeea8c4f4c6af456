"""Writes docs/compatibility.md: what agrees with BVLC Caffe, and how far.

    python -m oracle.compatibility [--out FILE]

Runs the golden cases, and takes what oracle/measure.py has measured live from docs/measured.json.
An error is a share of the largest value of its array, rounded up so that the page is the same on
other machines.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import re
import tempfile
from collections import OrderedDict, defaultdict
from typing import Any, DefaultDict, Dict, Iterator, List, Optional, Tuple

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from oracle.cases import CASES, run
from oracle.cases.case import Case, Numbers
from oracle.cases.found import AGREED, REFUSED
from oracle.cases.training import rewrite
from oracle.compare import disagreement, file_disagreement, golden
from oracle.deliberate import DELIBERATE
from oracle.fifty import FIELDS, VARIANTS
from oracle.ignored import IGNORED
from oracle.measure import MEASURED, SEED

DOCUMENT = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "compatibility.md"
)
KEY = re.compile(r"(?:.*/)?(data|diff|param|param_diff)/(.+)")
DATA_KEY = re.compile(r".*/\d+/(\w+)")  # what a data layer gives, batch by batch
BOUNDS = (0.0, 1e-6, 1e-5)
#: Groups of cases that are no layers.
OTHERS = ("upgrade", "pycaffe", "calls", "command")
#: What differs on purpose beside what oracle/deliberate.py lists of layers.
DIFFERENT = (
    "BVLC Caffe aborts the process where this engine raises `CaffeError`; a tool ends with status "
    "1 and one line.",
    "A tool that fails leaves no part of a file or database; convert_imageset refuses a list that "
    "is not there, where BVLC Caffe writes an empty database.",
    "`set_mode_gpu()` without a CUDA device is an error.",
    "SoftmaxWithLoss with a second top can be built.",
    "Adam with a momentum of 1 or -1, or a momentum2 above 1, is refused; BVLC Caffe divides by "
    "zero, or takes the root of a negative number.",
    "LevelDB has no living Python package: its databases are refused with a line that says so.",
    "Random numbers on the CPU: fillers, dropout masks, and the crops, mirrors and shuffles"
    " of ImageData and Data are BVLC Caffe's for the same seed (built with Boost 1.56 or "
    "later). Not BVLC Caffe's are the shuffles of HDF5Data and convert_imageset (the C "
    "library's `rand`), stochastic pooling, and whatever a GPU draws (cuRAND).",
    "The log has no lines about time that a data layer waited, and none of HDF5 data types.",
)


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, of the largest value; values that are not finite are left out."""
    known = np.isfinite(theirs) & (np.abs(theirs) < 1e30)
    off = np.abs(ours[known].astype(np.float64) - theirs[known]).max(initial=0.0)
    return float(off / np.abs(theirs[known]).max()) if off else 0.0


def rounded(value: float) -> str:
    bound = next((b for b in BOUNDS if value <= b), None)
    if bound is None:
        one = 10.0 ** math.floor(math.log10(value))
        bound = math.ceil(round(value / one, 9)) * one
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


def compared(*groups: str) -> Iterator[Tuple[Case, Numbers, Numbers]]:
    """Each case of these groups (all if none is named): the engine's numbers and BVLC Caffe's."""
    for case in CASES.values():
        if not groups or case.group in groups:
            yield case, numbers_of(case.name), golden(case.group)


@functools.cache
def numbers_of(name: str) -> Numbers:
    with tempfile.TemporaryDirectory() as folder:
        return run(CASES[name], folder)


def measure() -> Tuple[List[List[str]], List[List[str]]]:
    """The rows of the table of layers and of the table of solvers."""
    counts: DefaultDict[str, int] = defaultdict(int)
    worst: DefaultDict[Tuple[str, str], float] = defaultdict(float)
    for case, ours, theirs in compared():
        if case.group in OTHERS:
            continue
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


def agreement(case: Case, ours: Numbers, theirs: Numbers) -> str:
    """The largest error of a case, `exact`, or that it differs."""
    keys = [key for key in theirs if key.startswith(case.name + "/")]
    if {*keys} != {*ours}:
        return "differs"
    worst = 0.0
    for key in keys:
        if theirs[key].dtype.kind in "US":
            if str(ours[key]) != str(theirs[key]):
                return "differs"
        elif disagreement(np.asarray(ours[key]), theirs[key]):
            return "differs"
        else:
            worst = max(worst, error(np.asarray(ours[key], np.float64), theirs[key]))
    return rounded(worst)


def calls() -> List[List[str]]:
    rows = []
    for case, ours, theirs in compared("calls"):
        ended = str(theirs[case.name + "/ended"])
        rows.append([f"`{case.name[6:]}`", ended, agreement(case, ours, theirs)])
    return rows


def commands() -> List[List[str]]:
    rows = []
    for case, ours, theirs in compared("command"):
        status = int(theirs[case.name + "/status"])
        log = len(str(theirs.get(case.name + "/log", "")).splitlines())
        last = case.text.split("\n")[1]
        rows.append([f"`{last}`", str(status), str(log or ""), agreement(case, ours, theirs)])
    return rows


def pycaffe_names(theirs: Dict[str, Dict[str, Any]]) -> List[List[str]]:
    """A row for each of pycaffe's modules and classes: its names, and those that differ."""
    from oracle.surface import differences

    wrong = differences(theirs)
    return [
        [f"`{where}`", ", ".join(sorted(names)), ", ".join(wrong.get(where, [])) or "none"]
        for where, names in sorted(theirs.items())
    ]


AGES = OrderedDict(
    [
        ("net prototxt, V0 (`layers { layer { ... } }`)", "v0|padding"),
        ("net prototxt, V1 (`layers`, enum types)", "v1|layer_and"),
        ("net prototxt, `input` with `input_dim` or `input_shape`", "input|more|fewer|shapes"),
        (
            "net prototxt, current",
            "[bcden]",
        ),
        ("solver prototxt, old and current", "solver"),
        (".caffemodel, V0, V1 and current, blob sizes as num, channels, height, width", "weights"),
    ]
)


def same(count: int) -> str:
    return f"{count} the same bytes"


def upgraded() -> List[List[str]]:
    """What the upgrade tools make of files of every age."""
    rows = []
    for what, pattern in AGES.items():
        cases = [c for c in compared("upgrade") if re.match(pattern, c[0].name[8:])]
        agreeing = [c for c in cases if agreement(*c) == "exact"]
        rows.append([what, str(len(cases)), same(len(agreeing))])
    return rows


def rewritten() -> Dict[str, Dict[str, int]]:
    """Suffix -> how many of BVLC Caffe's snapshots, read and written again, are the same."""
    found: Dict[str, Dict[str, int]] = {}
    before = os.getcwd()
    for case in CASES.values():
        start, recorded = f"{case.name}/file/", golden(case.group)
        if f"{case.name}/continued/iter" not in recorded:
            continue
        theirs = {k[len(start) :]: v for k, v in recorded.items() if k.startswith(start)}
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                for file, content in theirs.items():
                    content.tofile(file)
                rewrite(case)
                for file, content in theirs.items():
                    ours = np.fromfile(file, np.uint8)
                    words = file_disagreement(file, ours.tobytes(), content.tobytes(), 0)
                    one = found.setdefault(file.split(".", 1)[1], defaultdict(int))
                    one["files"] += 1
                    one["same bytes"] += int(np.array_equal(ours, content))
                    one["same content"] += int(words is None)
            finally:
                os.chdir(before)
    return found


def snapshots(there: Dict[str, Dict[str, int]]) -> List[List[str]]:
    def said(one: Dict[str, int]) -> str:
        if one["same bytes"] == one["files"]:
            return f"{one['files']} of {one['files']} the same bytes"
        return f"{one['same content']} of {one['files']} the same content"

    here = rewritten()
    return [[f".{suffix}", said(here[suffix]), said(there[suffix])] for suffix in sorted(here)]


def databases() -> List[List[str]]:
    """Files of the data tools, byte for byte, and what data layers read from them."""
    means, read, made = [], [], 0
    for case, ours, theirs in compared("data"):
        if not case.name.startswith(("data.lmdb", "data.features")):
            continue
        made += 1
        for key in theirs:
            if not key.startswith(case.name + "/"):
                continue
            if key.endswith(".binaryproto"):
                means.append(np.array_equal(ours[key], theirs[key]))
            elif theirs[key].dtype.kind == "f":
                read.append(error(np.asarray(ours[key]), theirs[key]))
    read_off = rounded(max(read))
    return [
        ["mean .binaryproto of compute_image_mean", str(len(means)), same(sum(means))],
        ["LMDB of convert_imageset and extract_features, as Data reads it", str(made), read_off],
    ]


def training(runs: Dict[str, Dict[str, float]]) -> List[List[str]]:
    return [
        [variant.replace("_", " "), *(rounded(worst_of(runs, s, variant)) for s in FIELDS)]
        for variant in VARIANTS
    ]


def worst_of(runs: Dict[str, Dict[str, float]], solver: str, variant: str) -> float:
    one = runs[f"{solver.lower()}_{variant}"]
    return max(value for what, value in one.items() if what != "margin")


def whole_nets(nets: Dict[str, Any]) -> List[List[str]]:
    rows = []
    for name, one in sorted(nets.items()):
        row = [name, " x ".join(map(str, one["shape"]))]
        for engine in ("BVLC Caffe", "OpenCV"):
            found = one[engine]
            differ = f"{found['differ']:,} of {found['places']:,}"
            lead = f", by at most {found['margin']:.0e}" if found["differ"] else ""
            row += [f"{found['error']:.0e}".replace("e-0", "e-"), differ + lead]
        rows.append([cell.replace("e-0", "e-") for cell in row])
    return rows


def label_ties(nets: Dict[str, Any]) -> str:
    """A line for each label of a map that differs from BVLC Caffe's, with its two scores."""
    lines = []
    for name, one in sorted(nets.items()):
        for tie in one["BVLC Caffe"]["ties"]:
            scores = "; ".join(
                f"{who} {tie[key][0]:.9g} and {tie[key][1]:.9g}"
                for who, key in (("BVLC Caffe", "theirs"), ("the engine", "ours"))
            )
            place, kinds = tie["place"][1:], tie["classes"]
            lines.append(
                f"- {name}, row {place[0]}, column {place[1]}, classes {kinds}: {scores}\n"
            )
    return "".join(lines)


def measured_with(versions: Dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def document(measured: Optional[Dict[str, Any]] = None) -> str:
    if measured is None:
        with open(MEASURED) as file:
            measured = json.load(file)
    layers, solvers = measure()
    runs, random, versions = measured["training"], measured["random"], measured["versions"]
    counts: DefaultDict[str, int] = defaultdict(int)
    for piece in random.values():
        for what, number in piece.items():
            counts[what] += number
    apart = min(one["margin"] for one in runs.values())
    scores = [f"{what}, {who}" for who in ("BVLC Caffe", "OpenCV") for what in ("scores", "labels")]
    parts = [
        HEAD,
        "## Layers\n",
        table(["type", "cases", "forward", "gradients"], layers),
        "## Solvers\n\nWeights after every one of 10 or 20 iterations.\n",
        table(["solver", "cases", "weights"], solvers),
        TRAINING % (f"{apart:.0e}".replace("e-0", "e-"), measured_with(versions["training"])),
        table(["", *FIELDS], training(runs)),
        "## Files\n\nFiles of every age, made current by BVLC Caffe's tools and by these.\n",
        table(["file", "cases", "agree"], [*upgraded(), *databases()]),
        FILES,
        table(
            ["file", "BVLC Caffe's, written again", "the other way round"],
            snapshots(measured["files"]),
        ),
        "## Calls\n\nWhat a call returns and changes; `raised` where both raise.\n",
        table(["call", "BVLC Caffe", "error"], calls()),
        NAMES,
        table(["where", "names", "differ"], pycaffe_names(measured["names"])),
        COMMANDS,
        table(["command", "status", "log lines", "error"], commands()),
        NETS % measured_with(versions["nets"]),
        table(["net", "scores", *scores], whole_nets(measured["nets"])),
        "Labels of the maps that differ from BVLC Caffe's, with the two best scores:\n",
        label_ties(measured["nets"]) or "None.\n",
        RANDOM % (f"{sum(counts.values()):,}", SEED, len(AGREED), len(REFUSED)),
        table(["what became of them", "nets"], [[k, f"{n:,}"] for k, n in sorted(counts.items())]),
        "## Deliberately different\n",
        "".join(f"- {one}\n" for one in [*DIFFERENT, *(d.sentence for d in DELIBERATE)]),
        "## Fields without effect\n\nThe engine reads every other field of the schema.\n",
        table(["field", "reason"], [[f"`{f.lstrip('.')}`", why] for f, why in IGNORED.items()]),
    ]
    return "\n".join(parts)


HEAD = """\
# Agreement with BVLC Caffe 1.0

Written by `make compatibility`, which runs the golden cases on the CPU; training, whole nets and
random nets are what `make compatibility FULL=1` measured against live BVLC Caffe. An error is the
largest difference from BVLC Caffe's numbers, as a share of the largest value in the array, rounded
up; `exact` is no difference at all.
"""
TRAINING = """\
## Training

Fifty iterations of a small FCN without dropout: the largest error of weights and losses in any of
them, and of the weights at the end where one Caffe goes on from the other's snapshot of the 25th,
either way round. ReLU and max pooling have ties, where a rounding lets a gradient through in one
engine and not in the other; the first weights are drawn such that BVLC Caffe stays %s away from
any. %s.
"""
FILES = """\
What one Caffe writes, the other reads, and writes again. HDF5 files hold the same groups, types and
values, and also how the library that wrote them laid them out.
"""
NAMES = """\
The names of pycaffe's modules and classes, with the parameters of what is written in Python and the
number of those of what is written in C++.
"""
COMMANDS = """\
## Command-line tools

Exit status, the files that appear, and every line of the log with its numbers, without times. A
tool that fails says why in its own words.
"""
NETS = """\
## Whole nets

Full width, the same random weights; the FCNs see 375 x 500 pixels, the classifiers two images.
Scores: the largest difference, of the largest score. Labels: how many places of the map, or of the
ranking, differ, and how far the scores there lie apart. %s.
"""
RANDOM = """\
## Random nets

%s random nets, valid and nearly valid, of seed %d, forward and backward in both engines. %d that
once differed, and %d that once BVLC Caffe alone refused, are kept as tests.
"""


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
