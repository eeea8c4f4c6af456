"""The demo: a small data set, a base classifier, the cast, 32s, 16s, 8s, and their scores.

    python -m solvers.demo [--seed N] [--out runs/demo] [--gpu N|cpu]

Killed at any moment, the same command continues.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import time
from fractions import Fraction
from typing import Any, Dict, List, Optional, Sequence

# ---------------------------------------------------------------- the recipe
WIDTH = Fraction(1, 8)  # of every channel count: conv1_1 has 8, fc6 512
CLASSES = 21  # the background and VOC's twenty
DATA = {"train": 800, "val": 80, "test": 120, "crops": 3150, "crops_val": 420}
CROP = 96  # pixels, the classifier's window: pool5 is 3 x 3
THREADS = 2  # pinned, so that the same seed gives the same numbers
SEED = 1

CLASSIFIER: Dict[str, Any] = {
    "batch": 32,
    "filler": "xavier",
    "solver": {
        "base_lr": 0.02,
        "lr_policy": "poly",
        "power": 1.0,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "clip_gradients": 5.0,
        "max_iter": 900,
    },
}
# The loss is summed over the pixels, hence the small rates and the large bound on the gradients'
# norm. Momentum 0.9, for at the published 0.99 so small a net does not train.
STAGE = {"lr_policy": "poly", "power": 1.0, "momentum": 0.9, "clip_gradients": 40000.0}
STAGES: Dict[str, Dict[str, Any]] = {
    "voc-fcn32s": {"base_lr": 4e-7, "max_iter": 1200},
    "voc-fcn16s": {"base_lr": 3e-7, "max_iter": 800},
    "voc-fcn8s": {"base_lr": 3e-7, "max_iter": 800},
}
SNAPSHOTS = 2  # a stage
# ----------------------------------------------------------------------------
REPORTED = ("mean_iu", "pixel_accuracy", "mean_accuracy", "fwavacc", "loss")
SHOWN = 4


def run(
    out: str, seed: int = SEED, gpu: Any = None, data: Optional[str] = None, scale: float = 1.0
) -> Dict[str, Any]:
    """Make everything of the demo under `out`; the scores on the test split, by variant.

    data: the folder of the demo set, made if it is not there. scale: of the recipe's iterations
    and images, for trials. Raises ValueError if `out` holds the run of another recipe or seed.
    """
    import net_gen
    from fcn_data import demo
    from solvers import available, device, figures, stage
    from solvers.log import write_text

    started = time.time()
    out = os.path.abspath(out)
    data = os.path.abspath(data or os.path.join(available.ROOT, "data", "demo"))
    os.makedirs(out, exist_ok=True)
    _settings(out, seed, scale)
    print(f"{device.engine()}; runs on {device.use(gpu)}")
    counts = {name: max(3, int(n * scale)) for name, n in DATA.items()}
    demo.make(data, **counts)  # type: ignore[arg-type]

    base = train_classifier(os.path.join(out, "classifier"), data, seed, gpu, scale)
    for name in net_gen.STAGES:
        write_variant(os.path.join(out, name), name, data, seed, scale, counts)
    start = cast(out, base)
    scores: Dict[str, Any] = {}
    for name, variant in net_gen.STAGES.items():
        folder = os.path.join(out, name)
        weights = os.path.join(out, variant.init) if variant.init else start
        stage.run(folder, weights, gpu=gpu, seed=seed)
        scores[name] = test_scores(folder)
    table = figures.table(scores)
    write_text(
        os.path.join(out, "scores.json"),
        json.dumps({n: {m: s[m] for m in REPORTED} for n, s in scores.items()}, indent=1) + "\n",
    )
    split = f"{counts['test']} scenes of the held-out split `test`, seed {seed}."
    text = [f"{split} Percent, but for the loss (summed over an image).", "", *table, ""]
    write_text(
        os.path.join(out, "scores.md"), "\n".join([*text, *figures.class_rows(scores)]) + "\n"
    )
    figure, loss = draw(out, data)
    print("\n" + "\n".join(table))
    print(f"\nfigure: {figure}\nloss curves: {loss}\nscores: {os.path.join(out, 'scores.json')}")
    print(f"{time.time() - started:.0f} s")
    return scores


def train_classifier(folder: str, data: str, seed: int, gpu: Any = None, scale: float = 1.0) -> str:
    """The base classifier, trained on crops of single objects; the path of its weights."""
    import net_gen
    from solvers import available, stage
    from solvers.log import write_text

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
        net = net_gen.vgg16(
            split, CLASSES, WIDTH, size=CROP, data=source, dropout=0.0, filler=CLASSIFIER["filler"]
        )
        net_gen.write(net, os.path.join(folder, split + ".prototxt"))
    deploy = net_gen.vgg16("deploy", CLASSES, WIDTH, size=CROP)
    net_gen.write(deploy, os.path.join(folder, "deploy.prototxt"))
    fields = dict(solver, max_iter=iters, snapshot=-(-iters // SNAPSHOTS), test_iter=[1])
    message = net_gen.solver("voc-fcn32s", **fields)
    net_gen.write(message, os.path.join(folder, "solver.prototxt"))
    stage.run(folder, None, gpu=gpu, seed=seed, score=False)
    weights = available.weights_of(folder)
    record = os.path.join(folder, "accuracy.json")
    if not os.path.isfile(record):
        accuracy = _accuracy(folder, weights, os.path.join(data, "objects", "val.npz"))
        write_text(record, json.dumps({"accuracy": accuracy}) + "\n")
    with open(record) as file_:
        print(f"classifier: accuracy {json.load(file_)['accuracy']:.3f} on unseen objects")
    return weights


def cast(out: str, base: str) -> str:
    """The fully convolutional net's starting weights out of the classifier's; their path."""
    import surgery

    path = os.path.join(out, "vgg16-fcn.caffemodel")
    if not os.path.isfile(path):
        deploy = os.path.join(out, "voc-fcn32s", "deploy.prototxt")
        classifier = os.path.join(out, "classifier", "deploy.prototxt")
        print(surgery.cast(classifier, base, deploy, path))
    return path


def write_variant(
    folder: str, name: str, data: str, seed: int, scale: float, counts: Dict[str, int]
) -> None:
    """The prototxts of one small variant: train, val, test, deploy, solver."""
    import net_gen

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
        "sbdd_dir": os.path.relpath(os.path.join(data, "sbdd", "dataset"), folder),
        "voc_dir": os.path.relpath(os.path.join(data, "pascal", "VOC2011"), folder),
    }
    net_gen.generate(name, folder, fields, **nets)
    test = net_gen.fcn(name, "val", val_split="test", **nets)
    net_gen.write(test, os.path.join(folder, "test.prototxt"))


def draw(out: str, data: str) -> List[str]:
    """The figure and the loss curves; their paths."""
    import numpy as np
    from PIL import Image

    import net_gen
    from solvers import available, figures, infer

    voc = os.path.join(data, "pascal", "VOC2011")
    with open(os.path.join(voc, "ImageSets", "Segmentation", "test.txt")) as file:
        names = file.read().split()[:SHOWN]
    photos = [infer.read(os.path.join(voc, "JPEGImages", n + ".jpg")) for n in names]
    truths = [np.asarray(Image.open(os.path.join(voc, "SegmentationClass", n + ".png")))
              for n in names]  # fmt: skip
    columns = []
    for name in net_gen.STAGES:
        folder = os.path.join(out, name)
        net = infer.load(os.path.join(folder, "deploy.prototxt"), available.weights_of(folder))
        columns.append([infer.predict(net, photo)[0] for photo in photos])
    columns.append(truths)
    figure, loss = os.path.join(out, "figure.png"), os.path.join(out, "loss.png")
    titles = [*(n.replace("voc-fcn", "FCN-") for n in net_gen.STAGES), "truth"]
    rows = [(photo, [column[i] for column in columns]) for i, photo in enumerate(photos)]
    figures.side_by_side(rows, titles, figure)
    stages = ["classifier", *net_gen.STAGES]
    curves = {name: os.path.join(out, name, "snapshot", "loss.csv") for name in stages}
    figures.loss_curves(curves, loss)
    return [figure, loss]


def _accuracy(folder: str, weights: str, objects: str) -> float:
    """The share of the held-out crops that the classifier names right."""
    import caffe
    import numpy as np

    from solvers import stage
    from solvers.log import progress

    with np.load(objects) as arrays:
        batches = -(-len(arrays["label"]) // CLASSIFIER["batch"])
    with stage.inside(folder):
        net = caffe.Net("val.prototxt", weights, caffe.TEST)
        right = [
            float(net.forward()["accuracy"])
            for _ in progress(range(batches), batches, "classifier accuracy")
        ]
    return sum(right) / len(right)


def test_scores(folder: str) -> Dict[str, Any]:
    """The scores of a stage's last snapshot on the test split, worked out once."""
    from solvers import available, score
    from solvers.log import write_text

    weights, record = available.weights_of(folder), os.path.join(folder, "test.json")
    if os.path.isfile(record):
        with open(record) as file:
            found = json.load(file)
        if found["weights"] == os.path.basename(weights):
            return found
    title = f"{os.path.basename(folder)} scoring on test"
    scores = score.score_files(os.path.join(folder, "test.prototxt"), weights, title=title)
    found = dict(score.plain(scores), weights=os.path.basename(weights))
    write_text(record, json.dumps(found) + "\n")
    return found


def _settings(out: str, seed: int, scale: float) -> None:
    """Refuse to continue the run of another recipe as if it were this one."""
    from solvers.log import write_text

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
    ours = json.loads(json.dumps(recipe))
    path = os.path.join(out, "settings.json")
    if os.path.isfile(path):
        with open(path) as file:
            theirs = json.load(file)
        changed = [key for key in ours if ours[key] != theirs.get(key)]
        if changed:
            raise ValueError(
                f"{out}: holds a run with {changed[0]} {theirs.get(changed[0])}, asked for "
                f"{ours[changed[0]]}; remove it (make clean) or name another folder with --out"
            )
    elif glob.glob(os.path.join(out, "*", "snapshot")):
        raise ValueError(f"{out}: holds snapshots of another run; name another folder with --out")
    write_text(path, json.dumps(ours, indent=1) + "\n")


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m solvers.demo",
        description="Train and score 32s, 16s and 8s at an eighth of the width on drawn scenes.",
    )
    parser.add_argument("--seed", type=int, default=SEED, help="of the weights and the order")
    parser.add_argument("--out", help="folder (runs/demo, for another seed runs/demo-seedN)")
    parser.add_argument("--data", help="folder of the demo set (data/demo)")
    parser.add_argument("--gpu", help="number of a CUDA device, or cpu")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the work, for trials")
    args = parser.parse_args(argv)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(THREADS))  # read when caffe is imported, further down
    from solvers.available import ROOT

    default = os.path.join(
        ROOT, "runs", "demo" + (f"-seed{args.seed}" if args.seed != SEED else "")
    )
    run(args.out or default, args.seed, args.gpu, args.data, args.scale)


if __name__ == "__main__":
    from solvers import main as program

    program(main)
