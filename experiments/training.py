"""Small nets trained with the demo's recipe, on the demo's data, scored on its held-out scenes."""

from __future__ import annotations

import ast
import json
import os
from fractions import Fraction
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from fcn_common.files import write_text
from solvers import available, snapshots, stage
from solvers import demo as recipe
from solvers.device import Gpu
from solvers.log import losses
from solvers.score import Scores

SPLITS = ("train", "val", "test", "deploy")
EVERY = 100  # iterations between snapshots: what a killed run loses at most
Net = Callable[[str], Any]


class Demo(NamedTuple):
    """A finished demo run.

    folder: of the run. data: the folder of its data set. seed, scale, width: of its recipe.
    start: the weights that its first stage started from, the cast classifier's.
    """

    folder: str
    data: str
    seed: int
    scale: float
    width: Fraction
    start: str

    def stage(self, variant: str) -> str:
        """The folder of a stage, which also means its trained weights."""
        return os.path.join(self.folder, variant)

    def weights(self, variant: str) -> str:
        """The .caffemodel that a stage ended with."""
        return available.weights_of(self.stage(variant))

    def scores(self, variant: str) -> Scores:
        """What a stage scored on the split `test`, with `iu` and `accuracy` of each class."""
        return recipe.test_scores(self.stage(variant))

    def solver(self, variant: str) -> Dict[str, Any]:
        """The solver's fields of a stage that `train` takes."""
        param = stage.read_solver(os.path.join(self.stage(variant), "solver.prototxt"))
        names = ("base_lr", "max_iter", *recipe.STAGE)
        # float32 in the message; the shortest decimal that means the same is what was written.
        return {name: _short(getattr(param, name)) for name in names}

    def iters(self, count: int, least: int = 2) -> int:
        """`count` iterations (or images) at the scale of this demo run."""
        return max(least, int(count * self.scale))

    def test_images(self) -> Sequence[str]:
        """The ids of the split `test`."""
        path = os.path.join(self.voc, "ImageSets", "Segmentation", "test.txt")
        with open(path) as file:
            return file.read().split()

    def photo(self, name: str) -> np.ndarray:
        """A photograph of the data set, H x W x 3, RGB, uint8."""
        from solvers import infer

        return infer.read(os.path.join(self.voc, "JPEGImages", name + ".jpg"))

    def truth(self, name: str) -> np.ndarray:
        """A label map, H x W, uint8, 255 where the truth is ignored."""
        from PIL import Image

        with Image.open(os.path.join(self.voc, "SegmentationClass", name + ".png")) as image:
            return np.asarray(image)

    @property
    def voc(self) -> str:
        return os.path.join(self.data, "pascal", "VOC2011")


def finished(demo: str) -> Demo:
    """The demo run in a folder. Raises ValueError if it is not there or not finished."""
    demo = os.path.abspath(demo)
    if not os.path.isfile(os.path.join(demo, "scores.json")):
        raise ValueError(f"{demo}: no finished demo run there; run `make demo` first")
    with open(os.path.join(demo, "settings.json")) as file:
        settings = json.load(file)
    folder = os.path.join(demo, next(iter(recipe.STAGES)))
    voc = os.path.normpath(os.path.join(folder, _voc_dir(os.path.join(folder, "test.prototxt"))))
    data = os.path.dirname(os.path.dirname(voc))
    start = os.path.join(demo, "vgg16-fcn.caffemodel")
    width = Fraction(settings["width"])
    return Demo(demo, data, settings["seed"], settings["scale"], width, start)


def arguments(folder: str, demo: Demo) -> Dict[str, Any]:
    """What `net_gen.fcn` is told for a net of the demo's recipe whose files lie in `folder`."""
    return {
        "width": demo.width,
        "classes": recipe.CLASSES,
        "dropout": 0.0,
        "seed": demo.seed,
        "sbdd_dir": os.path.relpath(os.path.join(demo.data, "sbdd", "dataset"), folder),
        "voc_dir": os.path.relpath(demo.voc, folder),
    }


def fcn(variant: Any, folder: str, demo: Demo, **others: Any) -> Net:
    """The nets of a variant by split, for `train`: a function of train, val, test or deploy.

    others: further arguments of `net_gen.fcn`, or in place of the recipe's.
    """
    import net_gen

    def net(split: str) -> Any:
        given = {**arguments(folder, demo), **others}
        if split == "test":
            return net_gen.fcn(variant, "val", **{**given, "val_split": "test"})
        return net_gen.fcn(variant, split, **given)

    return net


def train(
    folder: str,
    net: Net,
    solver_fields: Mapping[str, Any],
    weights: Optional[str],
    seed: int = recipe.SEED,
    gpu: Gpu = None,
    score: bool = False,
) -> Scores:
    """Train a net and score it on the demo's split `test`; done once, then read.

    folder: what gets the prototxts and, in snapshot/, the weights, the log and loss.csv.
    net: the NetParameter of each of `SPLITS`; paths in it are as seen from `folder`.
    solver_fields: base_lr and max_iter, and what else differs from the demo's stages.
    weights: a .caffemodel, the folder of another training, or None for the fillers.
    score: whether every snapshot is scored on the val split too, in snapshot/scores.jsonl.
    """
    import net_gen

    folder = os.path.abspath(folder)
    for split in SPLITS:
        net_gen.write(net(split), os.path.join(folder, split + ".prototxt"))
    fields = {**recipe.STAGE, **solver_fields}
    fields = {"snapshot": EVERY, "test_iter": [1], **fields}
    message = net_gen.solver(next(iter(recipe.STAGES)), **fields)
    net_gen.write(message, os.path.join(folder, "solver.prototxt"))
    start = os.path.abspath(weights) if weights else None
    stage.run(folder, start, gpu=gpu, seed=seed, score=score)
    return recipe.test_scores(folder)


def score(folder: str, net: Net, weights: str) -> Scores:
    """Score trained weights (a .caffemodel, or the folder of a training) on the demo's split
    `test` as another net sees it, whose prototxt goes into `folder`; done once, then read."""
    import net_gen
    from solvers import score as scoring

    folder, weights = os.path.abspath(folder), available.weights_of(weights)
    record = os.path.join(folder, "test.json")
    if os.path.isfile(record):
        with open(record) as file:
            return json.load(file)
    path = os.path.join(folder, "test.prototxt")
    net_gen.write(net("test"), path)
    title = f"{os.path.basename(folder)} scoring on test"
    found = scoring.plain(scoring.score_files(path, weights, title=title))
    write_text(record, json.dumps(found) + "\n")
    return found


def draw_losses(axis: Any, curves: Mapping[str, Sequence[Mapping[str, float]]], unit: str) -> None:
    """Training losses over one axis: title -> rows with `at` and `loss` (summed over an image).

    unit: what `at` counts, such as iterations or images.
    """
    for title, rows in curves.items():
        axis.plot([r["at"] for r in rows], [r["loss"] for r in rows], linewidth=1, label=title)
    axis.set_xlabel(unit, fontsize=9)
    axis.set_ylabel("training loss", fontsize=9)
    axis.set_yscale("log")
    axis.tick_params(labelsize=8, which="both")
    axis.legend(fontsize=8, frameon=False)


def curve(folder: str, first: float = 0, scale: float = 1) -> List[Dict[str, float]]:
    """The loss of a training for `draw_losses`; iteration i lies at first + scale * i."""
    rows = losses(os.path.join(folder, "snapshot", "loss.csv"))
    return [{"at": first + scale * r["iteration"], "loss": r["loss"]} for r in rows]


def records(folder: str, scale: float = 1) -> List[Dict[str, Any]]:
    """What the snapshots of a training scored on the val split; iteration i is `at` scale * i."""
    found = snapshots.read_records(os.path.join(folder, "snapshot"))
    return [dict(found[i], at=scale * i) for i in sorted(found)]


def _voc_dir(prototxt: str) -> str:
    """The VOC folder that a net's data layer reads."""
    from caffe.proto import caffe_pb2
    from google.protobuf import text_format

    net = caffe_pb2.NetParameter()
    with open(prototxt) as file:
        text_format.Merge(file.read(), net)
    return ast.literal_eval(net.layer[0].python_param.param_str)["voc_dir"]


def _short(value: Any) -> Any:
    return float(f"{value:.7g}") if isinstance(value, float) else value
