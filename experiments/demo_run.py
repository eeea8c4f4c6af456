"""A finished demo run: its trained nets, its recipe, and its data."""

from __future__ import annotations

import ast
import json
import os
from fractions import Fraction
from typing import Any, Dict, NamedTuple, Sequence

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from PIL import Image

from solvers import available, photograph
from solvers import demo as recipe
from solvers.caffe_solver import read_solver
from solvers.metrics import Scores


class Demo(NamedTuple):
    """A finished demo run.

    folder: the folder of the run. data: the folder of its data set. seed, scale, width: settings of
    its recipe. start: the weights that the first stage started from, those of the cast classifier.
    """

    folder: str
    data: str
    seed: int
    scale: float
    width: Fraction
    start: str

    @property
    def voc(self) -> str:
        """The folder of the scenes, in VOC's layout."""
        return os.path.join(self.data, "pascal", "VOC2011")

    def stage(self, variant: str) -> str:
        """Return the folder of a stage."""
        return os.path.join(self.folder, variant)

    def weights(self, variant: str) -> str:
        """Return the .caffemodel that a stage ended with."""
        return available.weights_of(self.stage(variant))

    def scores(self, variant: str) -> Scores:
        """Return a stage's scores on the split `test`, with `iu` and `accuracy` of each class."""
        return recipe.test_scores(self.stage(variant))

    def solver(self, variant: str) -> Dict[str, Any]:
        """Return the fields of a stage's solver that `training.train` reads."""
        param = read_solver(os.path.join(self.stage(variant), "solver.prototxt"))
        names = ("base_lr", "max_iter", *recipe.STAGE)
        return {name: shortest_decimal(getattr(param, name)) for name in names}

    def iters(self, count: int, least: int = 2) -> int:
        """Return a number of iterations (or images) at the scale of this demo run."""
        return max(least, int(count * self.scale))

    def test_images(self) -> Sequence[str]:
        """Return the ids of the split `test`."""
        path = os.path.join(self.voc, "ImageSets", "Segmentation", "test.txt")
        with open(path) as file:
            return file.read().split()

    def photo(self, name: str) -> np.ndarray:
        """Return a scene, H x W x 3, RGB, uint8."""
        return read_photo(self.voc, name)

    def truth(self, name: str) -> np.ndarray:
        """Return a label map, H x W, uint8, with 255 where the label is ignored."""
        return read_truth(self.voc, name)


def read_photo(voc: str, name: str) -> np.ndarray:
    """Return an image of a data set in VOC's layout, H x W x 3, RGB, uint8."""
    return photograph.read(os.path.join(voc, "JPEGImages", name + ".jpg"))


def read_truth(voc: str, name: str) -> np.ndarray:
    """Return a label map of a data set in VOC's layout, H x W, uint8."""
    with Image.open(os.path.join(voc, "SegmentationClass", name + ".png")) as image:
        return np.asarray(image)


def open_demo(folder: str) -> Demo:
    """Return the demo run in a folder. Raises ValueError if there is no finished one."""
    folder = os.path.abspath(folder)
    if not os.path.isfile(os.path.join(folder, "scores.json")):
        raise ValueError(f"{folder}: no finished demo run there; run `make demo` first")
    with open(os.path.join(folder, "settings.json")) as file:
        settings = json.load(file)
    first_stage = os.path.join(folder, next(iter(recipe.STAGES)))
    voc_dir = _voc_dir(os.path.join(first_stage, "test.prototxt"))
    voc = os.path.normpath(os.path.join(first_stage, voc_dir))
    return Demo(
        folder,
        data=os.path.dirname(os.path.dirname(voc)),
        seed=settings["seed"],
        scale=settings["scale"],
        width=Fraction(settings["width"]),
        start=os.path.join(folder, "vgg16-fcn.caffemodel"),
    )


def _voc_dir(prototxt: str) -> str:
    """Return the VOC folder that a net's data layer reads, relative to the prototxt."""
    net = caffe_pb2.NetParameter()
    with open(prototxt) as file:
        text_format.Merge(file.read(), net)
    return ast.literal_eval(net.layer[0].python_param.param_str)["voc_dir"]


def shortest_decimal(value: Any) -> Any:
    """Return the decimal that was written to a float32 field; other values are returned as is."""
    return float(f"{value:.7g}") if isinstance(value, float) else value
