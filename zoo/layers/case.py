"""`Case`: a layer of a fork with its bottoms, and what the layer is compared with."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import caffe
import cv2
import numpy as np

Arrays = Sequence[np.ndarray]
#: How far the bottoms move in a finite difference, in units of their own size.
STEP = 1e-3


def normal(*shapes: Sequence[int]) -> Callable[[np.random.RandomState], list[np.ndarray]]:
    """Return a function that draws a standard normal array of each shape."""

    def draw(random: np.random.RandomState) -> list[np.ndarray]:
        return [random.standard_normal(shape) for shape in shapes]

    return draw


@dataclass(frozen=True)
class Case:
    """A layer, and what it is compared with.

    type: the layer type. variant: what this case shows of it.
    layer: the fields of the layer beside name, type, bottoms and tops, as prototxt text.
    bottoms: draws the bottoms.
    source: the paper, or the fork, that defines the layer.
    reference: a second implementation, of the bottoms and the parameters, that returns the tops.
    opencv: whether OpenCV runs the layer too.
    opencv_order: the order in which OpenCV reads the bottoms, where its order is another.
    smooth: the numbers of the bottoms whose gradient is compared with finite differences.
    learns: the numbers of the parameters whose gradient is compared.
    drawn: whether the parameters are drawn here, and not by the layer.
    """

    type: str
    layer: str
    bottoms: Callable[[np.random.RandomState], list[np.ndarray]]
    source: str
    reference: Callable[[Arrays, Arrays], object] | None = None
    variant: str = ""
    opencv: bool = False
    opencv_order: tuple[int, ...] = ()
    smooth: tuple[int, ...] = (0,)
    learns: tuple[int, ...] = ()
    phase: int = caffe.TEST
    tops: int = 1
    drawn: bool = True

    @property
    def title(self) -> str:
        """The type with its variant."""
        return f"{self.type}, {self.variant}" if self.variant else self.type


class Run:
    """The net of a case: the layer on drawn bottoms, with drawn parameters, after one forward.

    gradients: whether forward prepares a backward; without, inference runs as a plan.
    """

    def __init__(self, case: Case, seed: int = 0, gradients: bool = True) -> None:
        random = np.random.RandomState(seed)
        self.case, self.gradients = case, gradients
        self.bottoms = [np.asarray(b, np.float32) for b in case.bottoms(random)]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "net.prototxt")
            with open(path, "w") as file:
                file.write(self.text())
            caffe.set_random_seed(seed)
            self.net = caffe.Net(path, case.phase)
        self.parameters = []
        for blob in self.net.params.get("layer", []):
            values = random.standard_normal(blob.shape) * 0.5
            # A running variance is positive; all parameters may be.
            if case.drawn:
                blob.data[...] = np.abs(values) + 0.1
            self.parameters.append(blob.data.copy())
        self.forward(self.bottoms)

    def text(self, order: Sequence[int] = ()) -> str:
        """Return the prototxt of the net, by default with the bottoms in their own order."""
        shapes = [" ".join(f"dim: {n}" for n in b.shape) for b in self.bottoms]
        inputs = "".join(
            f'layer {{ name: "b{i}" type: "Input" top: "b{i}" '
            f"input_param {{ shape {{ {shape} }} }} }}\n"
            for i, shape in enumerate(shapes)
        )
        bottoms = " ".join(f'bottom: "b{i}"' for i in order or range(len(shapes)))
        tops = " ".join(f'top: "t{i}"' for i in range(self.case.tops))
        force = "force_backward: true\n" if self.gradients else ""
        return (
            f"{force}{inputs}"
            f'layer {{ name: "layer" type: "{self.case.type}" {bottoms} {tops}\n'
            f"{self.case.layer} }}\n"
        )

    def forward(self, bottoms: Arrays) -> list[np.ndarray]:
        """Return copies of the tops for these bottoms."""
        for i, values in enumerate(bottoms):
            self.net.blobs[f"b{i}"].data[...] = values
        self.net.forward()
        return [self.net.blobs[f"t{i}"].data.copy() for i in range(self.case.tops)]


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference over the largest value; not-a-numbers have to coincide."""
    theirs = np.asarray(theirs)
    if ours.shape != theirs.shape or not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return float("inf")
    largest = np.nanmax(np.abs(theirs)) if theirs.size else 0.0
    return float(np.nanmax(np.abs(ours - theirs)) / largest) if largest else 0.0


def numpy_error(case: Case) -> float:
    """Return the error of the layer against its second implementation, with and without a plan."""
    assert case.reference is not None
    run = Run(case)
    parameters = [p.astype(np.float64) for p in run.parameters]
    tops = case.reference([b.astype(np.float64) for b in run.bottoms], parameters)
    tops = tops if isinstance(tops, (list, tuple)) else [tops]
    if case.phase == caffe.TEST:
        ours = [*run.forward(run.bottoms), *Run(case, gradients=False).forward(run.bottoms)]
    else:
        ours = _tops(run)
    return max(relative(a, b) for a, b in zip(ours, [*tops, *tops]))


def _tops(run: Run) -> list[np.ndarray]:
    return [run.net.blobs[f"t{i}"].data.copy() for i in range(run.case.tops)]


def opencv_error(case: Case) -> float:
    """Return the error of the layer against OpenCV."""
    run = Run(case)
    with tempfile.TemporaryDirectory() as folder:
        path, model = os.path.join(folder, "net.prototxt"), os.path.join(folder, "net.caffemodel")
        with open(path, "w") as file:
            file.write(run.text(case.opencv_order))
        run.net.save(model)
        other = cv2.dnn.readNetFromCaffe(path, model)
    for i, values in enumerate(run.bottoms):
        other.setInput(values, f"b{i}")
    theirs = other.forward("layer")
    return relative(run.net.blobs["t0"].data.reshape(theirs.shape), theirs)


def gradient_error(case: Case, directions: int = 3) -> float:
    """Return the error of backward against finite differences along some directions.

    The error of a derivative along a direction is in units of the typical one: the length of the
    gradient times that of the direction, over the root of the number of values.
    """
    run = Run(case)
    random = np.random.RandomState(1)
    weights = [random.standard_normal(t.shape) for t in _tops(run)]

    def loss() -> float:
        tops = run.forward([run.net.blobs[f"b{i}"].data.copy() for i in range(len(run.bottoms))])
        return float(sum((t.astype(np.float64) * w).sum() for t, w in zip(tops, weights)))

    for i, values in enumerate(run.bottoms):
        run.net.blobs[f"b{i}"].data[...] = values
    run.net.forward()
    for i, weight in enumerate(weights):
        run.net.blobs[f"t{i}"].diff[...] = weight
    run.net.clear_param_diffs()
    run.net.backward()
    blobs = [run.net.blobs[f"b{i}"] for i in case.smooth]
    blobs += [run.net.params["layer"][i] for i in case.learns]
    gradients = [blob.diff.astype(np.float64).copy() for blob in blobs]
    errors = [0.0]
    for blob, gradient in zip(blobs, gradients):
        start, size = blob.data.copy(), np.abs(blob.data).mean() + 1e-6
        for _ in range(directions):
            direction = random.standard_normal(blob.shape)
            step = STEP * size
            losses = []
            for sign in (1, -1):
                blob.data[...] = start + sign * step * direction
                losses.append(loss())
            blob.data[...] = start
            measured = (losses[0] - losses[1]) / (2 * step)
            unit = np.linalg.norm(gradient) * np.linalg.norm(direction) / np.sqrt(gradient.size)
            errors.append(abs(measured - (gradient * direction).sum()) / max(unit, 1e-12))
    return max(errors)
