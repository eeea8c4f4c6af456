"""Build the zoo's nets with random weights and compare them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import caffe
import cv2
import numpy as np

from .layers.case import relative
from .nets import NETS
from .references import reference_of

#: The nets of which OpenCV 4 reads every layer.
OPENCV = (
    *("SSD-VGG", "MobileNet-SSD", "Faster R-CNN", "R-FCN"),
    "ShuffleNet",
    "YOLOv2",
    "DeepLab v2",
)


class Comparison(NamedTuple):
    """What became of a net.

    layers: the number of layers in its prototxt. forks: the fork's layers among them, by type.
    layer_error: the largest error of one of these against NumPy. opencv: the error of the outputs
    against OpenCV, or None. seconds: the time of building it and of one forward pass.
    """

    name: str
    layers: int
    forks: dict[str, int]
    layer_error: float
    opencv: float | None
    seconds: float


@contextmanager
def files_of(param: Any) -> Iterator[tuple[str, str]]:
    """The paths of the prototxt of a NetParameter and of its weights, which do not exist yet."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.prototxt")
        with open(path, "w") as file:
            file.write(str(param))
        yield path, os.path.join(folder, "net.caffemodel")


def randomize(net: caffe.Net, seed: int = 0) -> None:
    """Give the inputs and the normalizing layers random values; fillers filled the others.

    Scales and variances are near 1 and shifts and means near 0, so that maps keep their size.
    """
    random = np.random.RandomState(seed)
    types = dict(zip(net._layer_names, [layer.type for layer in net.layers]))
    for name, blobs in net.params.items():
        near_one = {"BN": (0, 3), "BatchNorm": (1,), "Scale": (0,)}.get(types[name])
        if near_one is None:
            continue
        for i, blob in enumerate(blobs):
            if i in near_one:
                blob.data[...] = random.uniform(0.5, 1.5, blob.shape)
            else:
                blob.data[...] = 0.1 * random.standard_normal(blob.shape)
        if types[name] == "BatchNorm":
            blobs[2].data[...] = 1
    for name in net.inputs:
        net.blobs[name].data[...] = random.standard_normal(net.blobs[name].shape)
    if "im_info" in net.inputs:
        net.blobs["im_info"].data[...] = [*net.blobs["data"].shape[2:], 1]


def layer_errors(net: caffe.Net, param: Any) -> dict[str, list[float]]:
    """Run a net layer by layer; return the errors of the forks' layers against NumPy, by type."""
    errors: dict[str, list[float]] = {}
    layers = {layer.name: layer for layer in param.layer}
    for name in net._layer_names:
        layer = layers.get(name)
        reference = reference_of(layer) if layer else None
        if layer is None or reference is None:
            net.forward(start=name, end=name)
            continue
        bottoms = [net.blobs[b].data.astype(np.float64) for b in net.bottom_names[name]]
        parameters = [p.data.astype(np.float64) for p in net.params.get(name, [])]
        net.forward(start=name, end=name)
        top = net.blobs[net.top_names[name][0]].data
        theirs = reference(layer, bottoms, parameters, top.shape)
        errors.setdefault(layer.type, []).append(relative(top, theirs))
    return errors


def detections_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the error of detections, K x 7, in any order; each is compared with the nearest.

    OpenCV orders detections by score alone, and fills the rows up to keep_top_k with zeros.
    """
    a, b = (rows.reshape(-1, 7)[rows.reshape(-1, 7)[:, 2] > 0] for rows in (ours, theirs))
    if len(a) != len(b) or not len(a):
        return float("inf")
    distances = np.abs(a[:, None] - b[None]).max(2)
    return float(max(distances.min(0).max(), distances.min(1).max()) / np.abs(b).max())


def opencv_error(net: caffe.Net, path: str, model: str) -> float:
    """Return the largest error of the outputs of a net, after its forward pass, against OpenCV."""
    net.save(model)
    other = cv2.dnn.readNetFromCaffe(path, model)
    for name in net.inputs:
        other.setInput(net.blobs[name].data.copy(), name)
    makers = {top: name for name, tops in net.top_names.items() for top in tops}
    types = dict(zip(net._layer_names, [layer.type for layer in net.layers]))
    errors = []
    for output in net.outputs:
        # A softmax of random scores is nearly 0 and 1 alone; the scores say more.
        if types[makers[output]] == "Softmax":
            output = net.bottom_names[makers[output]][0]
        theirs, ours = other.forward(makers[output]), net.blobs[output].data
        if types[makers[output]] == "DetectionOutput":
            errors.append(detections_error(ours, theirs))
        else:
            errors.append(relative(ours.reshape(theirs.shape), theirs))
    return max(errors)


def compare(name: str) -> Comparison:
    """Build a net of the zoo, run it, and compare the forks' layers and, where known, all of it."""
    caffe.set_mode_cpu()
    param = NETS[name]()
    with files_of(param) as (path, model):
        start = time.perf_counter()
        caffe.set_random_seed(0)
        net = caffe.Net(path, caffe.TEST)
        randomize(net)
        net.forward()
        seconds = time.perf_counter() - start
        errors = layer_errors(net, param)
        opencv = opencv_error(net, path, model) if name in OPENCV else None
    counts = {layer_type: len(values) for layer_type, values in errors.items()}
    worst = max(max(values) for values in errors.values()) if errors else 0.0
    return Comparison(name, len(param.layer), counts, worst, opencv, seconds)
