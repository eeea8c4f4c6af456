"""The demo: a small data set, a base classifier, the cast, 32s, 16s, 8s, and their scores.

    python -m solvers.demo [--seed N] [--out runs/demo] [--gpu N|cpu]

A run that was killed continues with the same command.
"""

from __future__ import annotations

from solvers import threads

if __name__ == "__main__":
    threads.pin()  # NumPy and Caffe, which are imported below, read the environment.

import functools
import glob
import json
import os
import shlex
import sys
import time
from fractions import Fraction
from typing import Any, Dict, List, Optional, Sequence

import caffe
import numpy as np
from PIL import Image

import net_gen
import surgery
from fcn_common import arguments, command
from fcn_common.files import remove_partial, write_json, write_text
from fcn_common.progress import track
from fcn_data import DEMO
from fcn_data import demo as demo_set
from solvers import available, device, figures, infer, report, run_lock, score, stage
from solvers.device import Gpu
from solvers.folders import ROOT, working_folder
from solvers.threads import THREADS

# The recipe. A run records these values and is not continued with others.
WIDTH = Fraction(1, 8)  # of every channel count: conv1_1 has 8 channels, fc6 has 512
CLASSES = 21  # the background and VOC's twenty
DATA = {"train": 800, "val": 80, "test": 120, "crops": 3150, "crops_val": 420}
CROP = 96  # pixels of the classifier's window, for which pool5 is 3 x 3
SEED = 1

CLASSIFIER: Dict[str, Any] = {
    "batch": 32,
    "filler": "msra",  # keeps the scale of the values through the layers of ReLU
    # The values have the scale of pixels. CaffeNet's fillers of fc6 and fc8 make the first scores
    # small, so that the first loss is near that of a guess, ln(21) = 3.0. With MSRA there too, the
    # first loss is above 80, and the first steps destroy the scale that MSRA has given.
    "fillers": {
        "fc6": {"type": "gaussian", "std": 0.005},
        "fc8": {"type": "gaussian", "std": 0.01},
    },
    "solver": {
        "base_lr": 0.005,
        "lr_policy": "poly",
        "power": 1.0,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "clip_gradients": 5.0,
        "max_iter": 900,
    },
}
# The loss is summed over the pixels, so the rates are small and the bound on the norm of the
# gradients is large. With the published momentum of 0.99, a net as small as this does not train.
STAGE = {"lr_policy": "poly", "power": 1.0, "momentum": 0.9, "clip_gradients": 40000.0}
STAGES: Dict[str, Dict[str, Any]] = {
    "voc-fcn32s": {"base_lr": 4e-7, "max_iter": 1200},
    "voc-fcn16s": {"base_lr": 3e-7, "max_iter": 800},
    "voc-fcn8s": {"base_lr": 3e-7, "max_iter": 800},
}
SNAPSHOTS = 2  # of each stage

#: The metrics in scores.json.
REPORTED = ("mean_iu", "pixel_accuracy", "mean_accuracy", "fwavacc", "loss")
#: Scenes in the figure.
SHOWN = 4


def run(
    out: str,
    seed: int = SEED,
    gpu: Gpu = None,
    data: Optional[str] = None,
    scale: float = 1.0,
    line: str = "",
) -> Dict[str, Any]:
    """Run the demo in the folder `out`, and return the scores on the test split, by variant.

    seed: of the weights and the order of the images. gpu: as for `device.use`. data: the folder of
    the demo set (data/demo), which is drawn if it is missing. scale: a fraction of the recipe's
    iterations and images, for trials.

    line: the command that is recorded.

    Raises ValueError if `out` has a run with another recipe or seed, or another process runs there.
    """
    out = os.path.abspath(out)
    data = os.path.abspath(data or os.path.join(ROOT, "data", "demo"))
    with run_lock.one_run(out):
        remove_partial(out)
        _record_settings(out, seed, scale, line)
        return _run(out, data, seed, gpu, scale)


def _run(out: str, data: str, seed: int, gpu: Gpu, scale: float) -> Dict[str, Any]:
    """Draw the data, train and score the nets, and draw the figures."""
    started = time.time()
    print(f"{device.engine()}; runs on {device.use(gpu)}")
    counts = {name: max(3, int(n * scale)) for name, n in DATA.items()}
    with run_lock.one_run(os.path.dirname(data)):  # Another demo may draw the same set.
        demo_set.make(data, **counts)  # type: ignore[arg-type]

    classifier = train_classifier(os.path.join(out, "classifier"), data, seed, gpu, scale)
    for name in net_gen.STAGES:
        write_variant(os.path.join(out, name), name, data, seed, scale, counts)
    base = cast(out, classifier)
    scores: Dict[str, Any] = {}
    for name, variant in net_gen.STAGES.items():
        folder = os.path.join(out, name)
        weights = os.path.join(out, variant.init) if variant.init else base
        page = functools.partial(report.write_run, out)
        stage.run(folder, weights, gpu=gpu, seed=seed, write_report=page)
        scores[name] = test_scores(folder)
    write_scores(out, scores, f"{counts['test']} scenes of the held-out split `test`, seed {seed}.")
    figure, loss = draw(out, data)
    print("\n" + "\n".join(figures.table(scores)))
    print(f"\nfigure: {figure}\nloss curves: {loss}\nscores: {os.path.join(out, 'scores.json')}")
    print(f"{time.time() - started:.0f} s")
    return scores


def write_scores(out: str, scores: Dict[str, Any], split: str) -> None:
    """Write scores.json and scores.md into the folder `out`. split: what was scored, in words."""
    reported = {name: {m: row[m] for m in REPORTED} for name, row in scores.items()}
    write_json(os.path.join(out, "scores.json"), reported)
    lines = [f"{split} Percent, except the loss, which is summed over an image.", ""]
    lines += [*figures.table(scores), "", *figures.class_rows(scores)]
    write_text(os.path.join(out, "scores.md"), "\n".join(lines) + "\n")


def train_classifier(folder: str, data: str, seed: int, gpu: Gpu = None, scale: float = 1.0) -> str:
    """Train the base classifier on crops of single objects; return the path of its weights."""
    write_classifier(folder, data, seed, scale)
    stage.run(folder, None, gpu=gpu, seed=seed, score=False)
    weights = available.weights_of(folder)
    record = os.path.join(folder, "accuracy.json")
    if not os.path.isfile(record):
        objects = os.path.join(data, "objects", "val.npz")
        write_json(record, {"accuracy": accuracy(folder, weights, objects)})
    with open(record) as file:
        print(f"classifier: accuracy {json.load(file)['accuracy']:.3f} on unseen objects")
    return weights


def write_classifier(folder: str, data: str, seed: int, scale: float) -> None:
    """Write the prototxts of the base classifier: train, val, deploy, solver."""
    solver = CLASSIFIER["solver"]
    iters = max(2, int(solver["max_iter"] * scale))
    for split in ("train", "val"):
        file = os.path.relpath(os.path.join(data, "objects", split + ".npz"), folder)
        source = net_gen.PythonData(
            "fcn_data.demo_layers",
            "ObjectsDataLayer",
            {
                "file": file,
                "batch": CLASSIFIER["batch"],
                "mean": net_gen.MEAN,
                "seed": seed,
                "shuffle": split == "train",
            },
        )
        fillers = {name: CLASSIFIER[name] for name in ("filler", "fillers")}
        net = net_gen.vgg16(split, CLASSES, WIDTH, size=CROP, data=source, dropout=0.0, **fillers)
        net_gen.write(net, os.path.join(folder, split + ".prototxt"))
    deploy = net_gen.vgg16("deploy", CLASSES, WIDTH, size=CROP)
    net_gen.write(deploy, os.path.join(folder, "deploy.prototxt"))
    fields = dict(solver, max_iter=iters, snapshot=-(-iters // SNAPSHOTS), test_iter=[1])
    message = net_gen.solver("voc-fcn32s", **fields)
    net_gen.write(message, os.path.join(folder, "solver.prototxt"))


def cast(out: str, weights: str) -> str:
    """Cast the classifier's weights for the first stage; return the path of the cast weights."""
    path = os.path.join(out, "vgg16-fcn.caffemodel")
    if not os.path.isfile(path):
        deploy = os.path.join(out, "voc-fcn32s", "deploy.prototxt")
        classifier = os.path.join(out, "classifier", "deploy.prototxt")
        print(surgery.cast(classifier, weights, deploy, path))
    return path


def write_variant(
    folder: str, name: str, data: str, seed: int, scale: float, counts: Dict[str, int]
) -> None:
    """Write the prototxts of one small variant: train, val, test, deploy, solver.

    folder: for the prototxts. name: a key of `STAGES`. data: the folder of the demo set. scale: a
    fraction of the iterations. counts: the numbers of images, by split.
    """
    iters = max(2, int(STAGES[name]["max_iter"] * scale))
    fields = dict(
        STAGE,
        **dict(STAGES[name], max_iter=iters),
        snapshot=-(-iters // SNAPSHOTS),
        test_iter=[counts["val"]],
    )
    nets: Dict[str, Any] = {
        "width": WIDTH,
        "classes": CLASSES,
        "dropout": 0.0,
        "seed": seed,
    }
    data_root = os.path.relpath(data, folder)
    variant = net_gen.VARIANTS[name]._replace(data_set=DEMO.name, data_root=data_root)
    net_gen.generate(variant, folder, fields, **nets)
    test = net_gen.fcn(variant, "val", val_split=DEMO.splits["test"].name, **nets)
    net_gen.write(test, os.path.join(folder, "test.prototxt"))


def draw(out: str, data: str) -> List[str]:
    """Draw the figure and the loss curves of the run in `out`; return their paths."""
    voc = os.path.join(data, "pascal", "VOC2011")
    with open(os.path.join(voc, "ImageSets", "Segmentation", "test.txt")) as file:
        ids = file.read().split()[:SHOWN]
    photos = [infer.read(os.path.join(voc, "JPEGImages", i + ".jpg")) for i in ids]
    columns = []
    for name in net_gen.STAGES:
        folder = os.path.join(out, name)
        net = infer.load(os.path.join(folder, "deploy.prototxt"), available.weights_of(folder))
        columns.append([infer.predict(net, photo)[0] for photo in photos])
    truths = [Image.open(os.path.join(voc, "SegmentationClass", i + ".png")) for i in ids]
    columns.append([np.asarray(truth) for truth in truths])
    titles = [*(variant.title for variant in net_gen.STAGES.values()), "truth"]
    rows = [(photo, [column[i] for column in columns]) for i, photo in enumerate(photos)]
    figure, loss = os.path.join(out, "figure.png"), os.path.join(out, "loss.png")
    figures.side_by_side(rows, titles, figure)
    runs = ["classifier", *net_gen.STAGES]
    logs = {name: os.path.join(out, name, "snapshot", "loss.csv") for name in runs}
    figures.loss_curves(logs, loss)
    return [figure, loss]


def accuracy(folder: str, weights: str, objects: str) -> float:
    """Return the fraction of the held-out crops whose class the classifier predicts."""
    with np.load(objects) as arrays:
        batches = -(-len(arrays["label"]) // CLASSIFIER["batch"])
    with working_folder(folder):
        net = caffe.Net("val.prototxt", weights, caffe.TEST)
        accuracies = [
            float(net.forward()["accuracy"])
            for _ in track(range(batches), batches, "classifier accuracy")
        ]
    return sum(accuracies) / len(accuracies)


def test_scores(folder: str) -> Dict[str, Any]:
    """Return the scores of a stage's last snapshot on the test split; they are computed once."""
    weights, record = available.weights_of(folder), os.path.join(folder, "test.json")
    if os.path.isfile(record):
        with open(record) as file:
            scores = json.load(file)
        if scores["weights"] == os.path.basename(weights):
            return scores
    title = f"{os.path.basename(folder)} scoring on test"
    fresh = score.score_files(os.path.join(folder, "test.prototxt"), weights, title=title)
    scores = dict(score.plain(fresh), weights=os.path.basename(weights))
    write_text(record, json.dumps(scores) + "\n")
    return scores


def _record_settings(out: str, seed: int, scale: float, line: str = "") -> None:
    """Record the recipe of the run in `out`; ValueError if `out` has a run of another recipe."""
    recipe = {
        "seed": seed,
        "scale": scale,
        "threads": THREADS,
        "width": str(WIDTH),
        "data": DATA,
        "classifier": CLASSIFIER,
        "stages": STAGES,
        "stage": STAGE,
        "snapshots": SNAPSHOTS,
    }
    path = os.path.join(out, "settings.json")
    if os.path.isfile(path):
        with open(path) as file:
            before = json.load(file)
        for key, value in json.loads(json.dumps(recipe)).items():
            if value != before.get(key):
                raise ValueError(
                    f"{out}: has a run with {key} {before.get(key)}, this run has {value}; remove "
                    "the folder (make clean) or name another one with --out"
                )
    elif glob.glob(os.path.join(out, "*", "snapshot")):
        raise ValueError(f"{out}: has snapshots of another run; name another folder with --out")
    write_json(path, {**recipe, "command": line})


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command line of `run`."""
    parser = arguments.Parser(
        prog="python -m solvers.demo",
        description="Train and score 32s, 16s and 8s at an eighth of the width on drawn scenes.",
        parents=[
            arguments.seed(SEED, "weights and the order of the images"),
            arguments.out(
                purpose="folder for the results (default: runs/demo, for another seed "
                "runs/demo-seedN)"
            ),
            arguments.option(
                "--data", metavar="DIR", help="folder of the demo set (default: data/demo)"
            ),
            arguments.gpu(),
            arguments.option(
                "--scale",
                type=float,
                default=1.0,
                metavar="F",
                help="fraction of the iterations and images, for trials (default: 1.0)",
            ),
        ],
    )
    options = vars(parser.parse_args(argv))
    seed = options["seed"]
    name = "demo" if seed == SEED else f"demo-seed{seed}"
    options["out"] = options["out"] or os.path.join(ROOT, "runs", name)
    words = sys.argv[1:] if argv is None else argv
    run(**options, line=shlex.join(["python", "-m", "solvers.demo", *words]))


if __name__ == "__main__":
    command.run(main)
