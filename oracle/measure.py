"""Measures how far the engine agrees with BVLC Caffe and OpenCV where goldens would be large.

    python -m oracle.measure [SECTION ...]

The sections are training, files, names, nets and random; without a section all are measured. Each
replaces its part of docs/measured.json, from which `python -m oracle.compatibility` writes
docs/compatibility.md. `nets` needs 6 GB of memory, `random` takes some minutes. `nets:NAME`
measures one net, `random:FIRST` the 250 random nets from number FIRST on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterable, List, Tuple

import caffe
import cv2
import numpy as np
import torch

import net_gen
from fcn_common import command, files
from oracle.cases import CASES, Case
from oracle.cases import run as run_case
from oracle.classifiers import CLASSIFIERS
from oracle.compare import (
    Agreement,
    disagreements,
    error,
    file_disagreement,
    golden,
    score_agreement,
)
from oracle.fifty import RUNS, SEEDS
from oracle.places import CAFFE_PYTHON, MEASURED
from oracle.random_nets.comparison import compare_nets
from oracle.random_nets.nets import make_net
from oracle.random_nets.tally import Tally
from oracle.run import load_arrays, run
from oracle.whole_nets import photograph, photographs, score_blob

#: PASCAL VOC's usual height and width.
SIZE = (375, 500)
#: The seed of the random nets, their number, and how many are measured at a time.
SEED, COUNT, PIECE = 0, 2000, 250
ENGINES = ("engine", "bvlc")
VERSIONS = "import caffe, os; print(caffe.__version__, os.environ.get('OPENBLAS_CORETYPE', 'own'))"


def measure_training() -> Dict[str, Any]:
    """Return run -> the largest errors of fifty iterations, and after a change of engines."""
    with tempfile.TemporaryDirectory() as folder:
        run("bvlc", "fifty.py", folder, "seeds")
        for names in (("engine",), ("bvlc",), ("engine", "bvlc"), ("bvlc", "engine")):
            run(names[0], "fifty.py", folder, *names)
        engine, bvlc = (load_arrays(folder, name, "fifty.npz") for name in ENGINES)
        continued = {name: load_arrays(folder, name, "continued.npz") for name in ENGINES}
        with open(os.path.join(folder, SEEDS)) as file:
            margins = {name: margin for name, (_, margin) in json.load(file).items()}

    def worst(name: str, part: str, pairs: Callable[[str], Iterable[Tuple[Any, Any]]]) -> float:
        keys = [k for k in bvlc if k.startswith(name + "/") and part in k]
        return max(error(a, b) for key in keys for a, b in pairs(key))

    def worst_continued(name: str, second: str) -> float:
        return worst(name, "/param/", lambda k: [(continued[second][k], bvlc[k][-1])])

    return {
        name: {
            "weights": worst(name, "/param/", lambda k: zip(engine[k], bvlc[k])),
            "loss": worst(name, "/loss", lambda k: [(engine[k], bvlc[k])]),
            "engine, then BVLC Caffe": worst_continued(name, "bvlc"),
            "BVLC Caffe, then engine": worst_continued(name, "engine"),
            "margin": margins[name],
        }
        for name in RUNS
    }


def as_record(agreement: Agreement, seconds: float) -> Dict[str, Any]:
    """Return an agreement with the seconds of the forward pass."""
    return {**agreement._asdict(), "seconds": round(seconds, 2)}


def measure_net(name: str) -> Dict[str, Any]:
    """Return the agreement of a net of full width with BVLC Caffe and with OpenCV."""
    with tempfile.TemporaryDirectory() as folder:
        scores, seconds = {}, {}
        for engine in ENGINES:
            options = ("--width", 1, "--size", *SIZE, "--steps", 0, "--nets", name)
            log = run(engine, "whole_nets.py", folder, engine, *options).stderr
            scores[engine] = load_arrays(folder, engine + ".npz")[name + "/score"]
            seconds[engine] = float(log.split(" s\n")[0].rsplit(" ", 1)[1])
        opencv, opencv_seconds = run_opencv(name, folder, scores["engine"].shape)
    bvlc = score_agreement(scores["engine"], scores["bvlc"])
    return {
        "shape": list(scores["engine"].shape),
        "BVLC Caffe": as_record(bvlc, seconds["bvlc"]),
        "OpenCV": as_record(score_agreement(scores["engine"], opencv), opencv_seconds),
        "seconds": round(seconds["engine"], 2),
    }


def run_opencv(name: str, folder: str, shape: Tuple[int, ...]) -> Tuple[np.ndarray, float]:
    """Return OpenCV's scores for the net's files in `folder`, and the seconds of the forward."""
    cv2.setNumThreads(1)
    prototxt = os.path.join(folder, name + "-deploy.prototxt")
    model = cv2.dnn.readNetFromCaffe(prototxt, os.path.join(folder, name + ".caffemodel"))
    size = {"alexnet": 227, "caffenet": 227}.get(name, 224)
    model.setInput(photograph(*SIZE) if len(shape) > 2 else photographs(shape[0], size), "data")
    start = time.time()
    scores = model.forward(score_blob(name)).reshape(shape)
    return scores, time.time() - start


def measure_nets(names: List[str]) -> Dict[str, Any]:
    """Return net -> agreement, of these nets or of all."""
    return {name: measure_net(name) for name in names or [*net_gen.VARIANTS, *CLASSIFIERS]}


def measure_files() -> Dict[str, Any]:
    """Return how many of the engine's snapshots BVLC Caffe reads, writes again and continues."""
    cases = [c for c in CASES.values() if f"{c.name}/continued/iter" in golden(c.group)]
    counts: Dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        numbers = {case.name: record_snapshots(case, folder) for case in cases}
        run("bvlc", "proceed.py", folder)
        for case in cases:
            for suffix, same_bytes, same_content in compare_snapshots(
                case.name, numbers[case.name], folder
            ):
                count = counts.setdefault(suffix, {"files": 0, "same bytes": 0, "same content": 0})
                count["files"] += 1
                count["same bytes"] += int(same_bytes)
                count["same content"] += int(same_content)
    return counts


def snapshots_of(name: str, numbers: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Return the files among a case's numbers: file name -> bytes, as uint8."""
    start = f"{name}/file/"
    return {key[len(start) :]: v for key, v in numbers.items() if key.startswith(start)}


def record_snapshots(case: Case, folder: str) -> Dict[str, np.ndarray]:
    """Run a training case and write its snapshots to FOLDER/CASE; return the case's numbers."""
    with tempfile.TemporaryDirectory() as scratch:
        numbers = run_case(case, scratch)
    os.makedirs(os.path.join(folder, case.name))
    for file, content in snapshots_of(case.name, numbers).items():
        content.tofile(os.path.join(folder, case.name, file))
    return numbers


def compare_snapshots(
    name: str, numbers: Dict[str, np.ndarray], folder: str
) -> Iterable[Tuple[str, bool, bool]]:
    """Yield (suffix, same bytes, same content) for each snapshot that BVLC Caffe wrote again.

    The content is the same only if the training continued with the same numbers too.
    """
    bvlc = load_arrays(folder, name + ".npz")
    continued = not disagreements({k: numbers[f"{name}/{k}"] for k in bvlc}, bvlc)
    for file, content in snapshots_of(name, numbers).items():
        written = np.fromfile(os.path.join(folder, name, file), np.uint8)
        text = file_disagreement(file, content.tobytes(), written.tobytes(), 0)
        same_content = text is None and continued
        yield file.split(".", 1)[1], np.array_equal(content, written), same_content


def measure_names() -> Dict[str, Any]:
    """Return BVLC pycaffe's names, as oracle/surface.py prints them."""
    return json.loads(run("bvlc", "surface.py").stdout)


def measure_random_nets(firsts: List[str]) -> Dict[str, Any]:
    """Return the number of a piece's first net -> how many nets of the piece had which verdict."""
    counts = {}
    for first in map(int, firsts or range(0, COUNT, PIECE)):
        tally = Tally()
        compare_nets([make_net(SEED, i) for i in range(first, first + PIECE)], tally)
        counts[str(first)] = dict(sorted(tally.counts.items()))
    return counts


def versions() -> Dict[str, str]:
    """Return the versions of both engines and of the libraries that the numbers depend on."""
    bvlc, core = subprocess.run(
        [CAFFE_PYTHON, "-c", VERSIONS], capture_output=True, text=True, check=True
    ).stdout.split()
    return {
        "engine": caffe.__version__,
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
        "OpenCV": cv2.__version__,
        "BVLC Caffe": bvlc,
        "its OpenBLAS core": core,
    }


SECTIONS: Dict[str, Callable[..., Dict[str, Any]]] = {
    "training": measure_training,
    "files": measure_files,
    "names": measure_names,
    "nets": measure_nets,
    "random": measure_random_nets,
}
#: Sections of which a part can be measured; the other parts stay.
IN_PARTS = ("nets", "random")


def main() -> None:
    """Measure the sections of the command line."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    chosen = parser.parse_args().sections or list(SECTIONS)
    for choice in chosen:
        section, _, part = choice.partition(":")
        if section not in SECTIONS:
            parser.error(f"section is {section!r}, needs one of {', '.join(SECTIONS)}")
        print(f"measuring {choice}", file=sys.stderr, flush=True)
        parts = [[part] if part else []] if section in IN_PARTS else []
        save(section, SECTIONS[section](*parts))


def save(section: str, results: Dict[str, Any]) -> None:
    """Replace a section of docs/measured.json, and the versions that the section depends on."""
    measured: Dict[str, Any] = {}
    if os.path.exists(MEASURED):
        with open(MEASURED) as file:
            measured = json.load(file)
    if section in IN_PARTS:
        results = {**measured.get(section, {}), **results}
    measured[section] = results
    measured.setdefault("versions", {})[section] = versions()
    files.write_json(MEASURED, measured, sort_keys=True)


if __name__ == "__main__":
    command.run(main)
