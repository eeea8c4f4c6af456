"""Measures how far the engine agrees with live BVLC Caffe and OpenCV where goldens would be large.

    python -m oracle.measure [SECTION ...]

The sections are training, files, names, nets, random; all without one. Each replaces its part of
docs/measured.json, from which oracle/compatibility.py writes docs/compatibility.md. `nets` takes
6 GB and `random` some minutes; `nets:NAME` measures one net, `random:FIRST` 250 random nets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List

import numpy as np

from oracle.compare import Agreement, score_agreement

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATHS = os.pathsep.join([CHECKOUT, os.path.join(CHECKOUT, "engine")])
MEASURED = os.path.join(CHECKOUT, "docs", "measured.json")
#: PASCAL VOC's usual height and width.
SIZE = (375, 500)
#: Which random nets, and how many at a time.
SEED, COUNT, PIECE = 0, 2000, 250


def run(name: str, script: str, *arguments: object) -> str:
    """Runs a file of oracle/ under the engine ("ours") or BVLC Caffe ("theirs"); its log.

    Raises RuntimeError with the last lines of the log where it fails.
    """
    start = [os.path.join(CHECKOUT, "oracle", "caffe-python")]
    command = [*([sys.executable] if name == "ours" else start), os.path.join("oracle", script)]
    result = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=CHECKOUT,
        env=dict(os.environ, PYTHONPATH=PATHS, GLOG_minloglevel="2"),
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise RuntimeError(f"{script} under {name} failed:\n{result.stderr[-2000:]}")
    return result.stderr


def loaded(*path: str) -> Dict[str, np.ndarray]:
    with np.load(os.path.join(*path)) as found:
        return {key: found[key] for key in found.files}


def training() -> Dict[str, Any]:
    """Run -> the largest errors of fifty iterations, and of runs that change engines half-way."""
    from oracle.compatibility import error
    from oracle.fifty import RUNS, SEEDS

    with tempfile.TemporaryDirectory() as folder:
        run("theirs", "fifty.py", folder, "seeds")
        for arguments in (("ours",), ("theirs",), ("ours", "theirs"), ("theirs", "ours")):
            run(arguments[0], "fifty.py", folder, *arguments)
        ours, theirs = (loaded(folder, name, "fifty.npz") for name in ("ours", "theirs"))
        later = {name: loaded(folder, name, "continued.npz") for name in ("ours", "theirs")}
        with open(os.path.join(folder, SEEDS)) as file:
            margins = {name: apart for name, (_, apart) in json.load(file).items()}

    def worst(which: str, key_part: str, pairs: Callable[[str], Any]) -> float:
        keys = [k for k in theirs if k.startswith(which + "/") and key_part in k]
        return max(error(a, b) for key in keys for a, b in pairs(key))

    return {
        which: {
            "weights": worst(which, "/param/", lambda k: zip(ours[k], theirs[k])),
            "loss": worst(which, "/loss", lambda k: [(ours[k], theirs[k])]),
            "ours, then BVLC Caffe": worst(
                which, "/param/", lambda k: [(later["theirs"][k], theirs[k][-1])]
            ),
            "BVLC Caffe, then ours": worst(
                which, "/param/", lambda k: [(later["ours"][k], theirs[k][-1])]
            ),
            "margin": margins[which],
        }
        for which in RUNS
    }


def told(found: Agreement, seconds: float) -> Dict[str, Any]:
    return {**found._asdict(), "seconds": round(seconds, 2)}


def net(name: str) -> Dict[str, Any]:
    """The agreement of a whole net of full width with BVLC Caffe and with OpenCV."""
    import cv2

    from oracle.whole_nets import photograph, photographs, score_blob

    with tempfile.TemporaryDirectory() as folder:
        scores, seconds = {}, {}
        for engine in ("ours", "theirs"):
            options = ("--width", 1, "--size", *SIZE, "--steps", 0, "--nets", name)
            log = run(engine, "whole_nets.py", folder, engine, *options)
            scores[engine] = loaded(folder, engine + ".npz")[name + "/score"]
            seconds[engine] = float(log.split(" s\n")[0].rsplit(" ", 1)[1])
        cv2.setNumThreads(1)
        prototxt = os.path.join(folder, name + "-deploy.prototxt")
        model = cv2.dnn.readNetFromCaffe(prototxt, os.path.join(folder, name + ".caffemodel"))
        size = {"alexnet": 227, "caffenet": 227}.get(name, 224)
        fcn = scores["ours"].ndim > 2
        model.setInput(photograph(*SIZE) if fcn else photographs(len(scores["ours"]), size), "data")
        begin = time.time()
        third = model.forward(score_blob(name)).reshape(scores["ours"].shape)
        seconds["OpenCV"] = time.time() - begin
    return {
        "shape": list(scores["ours"].shape),
        "BVLC Caffe": told(score_agreement(scores["ours"], scores["theirs"]), seconds["theirs"]),
        "OpenCV": told(score_agreement(scores["ours"], third), seconds["OpenCV"]),
        "seconds": round(seconds["ours"], 2),
    }


def nets(names: List[str]) -> Dict[str, Any]:
    import net_gen
    from oracle.classifiers import CLASSIFIERS

    return {name: net(name) for name in names or [*net_gen.VARIANTS, *CLASSIFIERS]}


def files() -> Dict[str, Any]:
    """What BVLC Caffe makes of the engine's snapshots: read, written again, gone on from."""
    from oracle.cases import CASES
    from oracle.cases import run as run_case
    from oracle.compare import disagreements, file_disagreement, golden

    found: Dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as scratch:
        wrote: Dict[str, Dict[str, np.ndarray]] = {}
        numbers = {}
        for name, case in CASES.items():
            if f"{name}/continued/iter" not in golden(case.group):
                continue
            here = tempfile.mkdtemp(dir=scratch)
            numbers[name] = run_case(case, here)
            start = f"{name}/file/"
            wrote[name] = {
                k[len(start) :]: v for k, v in numbers[name].items() if k.startswith(start)
            }
            os.makedirs(os.path.join(folder, name))
            for file, content in wrote[name].items():
                content.tofile(os.path.join(folder, name, file))
        run("theirs", "proceed.py", folder)
        for name, of_case in wrote.items():
            went_on = loaded(folder, name + ".npz")
            mine = {k: numbers[name][f"{name}/{k}"] for k in went_on}
            for file, content in of_case.items():
                suffix = file.split(".", 1)[1]
                theirs = np.fromfile(os.path.join(folder, name, file), np.uint8)
                one = found.setdefault(suffix, {"files": 0, "same bytes": 0, "same content": 0})
                one["files"] += 1
                one["same bytes"] += int(np.array_equal(content, theirs))
                words = file_disagreement(file, content.tobytes(), theirs.tobytes(), 0)
                one["same content"] += int(words is None and not disagreements(mine, went_on))
    return found


def names() -> Dict[str, Any]:
    """BVLC pycaffe's names, as oracle/surface.py prints them."""
    start = [os.path.join(CHECKOUT, "oracle", "caffe-python"), "oracle/surface.py"]
    said = subprocess.run(start, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return json.loads(said.stdout)


def random(names: List[str]) -> Dict[str, Any]:
    """What becomes of random nets: by the first one's number, PIECE at a time."""
    from oracle.random_nets import Tally, compare, make

    found = {}
    for first in map(int, names or range(0, COUNT, PIECE)):
        tally = Tally()
        compare([make(SEED, i) for i in range(first, first + PIECE)], tally)
        found[str(first)] = dict(sorted(tally.counts.items()))
    return found


def versions() -> Dict[str, str]:
    import cv2
    import torch
    from caffe import __version__

    said = subprocess.run(
        [os.path.join(CHECKOUT, "oracle", "caffe-python"), "-c", THEIRS],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    ours = {"engine": __version__, "PyTorch": torch.__version__, "NumPy": np.__version__}
    return {**ours, "OpenCV": cv2.__version__, "BVLC Caffe": said[0], "its OpenBLAS core": said[1]}


THEIRS = "import caffe, os; print(caffe.__version__, os.environ.get('OPENBLAS_CORETYPE', 'own'))"
SECTIONS: Dict[str, Callable[..., Dict[str, Any]]] = {
    "training": training,
    "files": files,
    "names": names,
    "nets": nets,
    "random": random,
}


#: Sections that keep what they had of other nets.
IN_PARTS = ("nets", "random")


def main() -> None:
    os.environ.setdefault("GLOG_minloglevel", "2")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    chosen = parser.parse_args().sections or list(SECTIONS)
    for words in chosen:
        section, _, name = words.partition(":")
        if section not in SECTIONS:
            parser.error(f"no section {section!r}; there are {', '.join(SECTIONS)}")
        print(f"measuring {words}", file=sys.stderr, flush=True)
        parts = [[name] if name else []] if section in IN_PARTS else []
        found = SECTIONS[section](*parts)
        keep(section, found)


def keep(section: str, found: Dict[str, Any]) -> None:
    """Puts a section's findings into the file, with what they were measured with."""
    measured: Dict[str, Any] = {}
    if os.path.exists(MEASURED):
        with open(MEASURED) as file:
            measured = json.load(file)
    if section in IN_PARTS:
        found = {**measured.get(section, {}), **found}
    measured[section] = found
    measured.setdefault("versions", {})[section] = versions()
    with open(MEASURED + ".part", "w") as file:
        json.dump(measured, file, indent=1, sort_keys=True)
        file.write("\n")
    os.replace(MEASURED + ".part", MEASURED)


if __name__ == "__main__":
    main()
