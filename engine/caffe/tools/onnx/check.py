"""A model against the engine: ONNX Runtime on random inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import CaffeError
from ...net import Net
from .sizes import Sizes, outputs_of, try_shape

#: The largest difference that agrees, as a share of an output's largest value.
TOLERANCE = 1e-4


#: Layer types that pool regions of their second bottom -> their settings.
REGIONS = {
    "ROIPooling": "roi_pooling_param",
    "PSROIPooling": "psroi_pooling_param",
    "ROIAlign": "roi_align_param",
    "ROIWarping": "roi_warping_param",
    "ROIWarpingTest": "roi_warping_param",
}


class Difference(NamedTuple):
    """The largest difference of an output, as a share of its largest value, for some inputs.

    inputs: the shapes of the inputs, as text. error: infinite where the shapes differ. blank:
        whether the output is 0 everywhere, so that the comparison says nothing.
    """

    output: str
    inputs: str
    error: float
    blank: bool = False


def check(net: Net, path: str, sizes: Sizes, seed: int = 0) -> list[Difference] | None:
    """Run a model and its net on random inputs, at the net's size and another one.

    Returns a Difference for each output and size, or None if onnxruntime is not installed. The net
    has its own sizes again afterwards. Raises CaffeError where the net cannot run.
    """
    # The package is optional, and slow to import.
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # ONNX Runtime has no common base of its exceptions.
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise CaffeError(f"{path}: ONNX Runtime does not load the model: {error}") from None
    random = np.random.RandomState(seed)
    differences = []
    # The last trial is the smallest of the other sizes.
    for shapes in [sizes.trials[0], *sizes.trials[1:][-1:]]:
        try_shape(net, shapes)
        inputs = {name: random_input(net, name, random) for name in net.inputs}
        for name, values in inputs.items():
            net.blobs[name].data[...] = values
        ours = {name: values.copy() for name, values in net.forward().items()}
        used = {item.name for item in session.get_inputs()}
        feed = {name: values for name, values in inputs.items() if name in used}
        try:
            outputs = outputs_of(net)
            theirs = dict(zip(outputs, session.run(outputs, feed)))
        except Exception as error:
            raise CaffeError(f"{path}: ONNX Runtime does not run the model: {error}") from None
        text = ", ".join(f"{n} {'x'.join(map(str, s))}" for n, s in shapes.items())
        for name, others in theirs.items():
            apart = _error(net, name, ours[name], others)
            differences.append(Difference(name, text, apart, not ours[name].any()))
    try_shape(net, sizes.trials[0])
    return differences


def random_input(net: Net, name: str, random: np.random.RandomState) -> np.ndarray:
    """Return random values for an input; indices, regions and marks where its reader needs them.

    Other inputs are normally distributed with standard deviation 1.
    """
    shape = net.blobs[name].shape
    for layer, position in _readers(net, name):
        if layer.type == "Proposal" and position == 2:
            image = next(b for b in net.inputs if len(net.blobs[b].shape) == 4)
            info = np.zeros(shape, np.float32)
            info[..., :3] = (*net.blobs[image].shape[2:], 1)
            return info
        if layer.type in REGIONS and position == 1:
            return _regions(net, layer, shape, random)
        if layer.type in ("Upsample", "Unpooling") and position == 1:
            area = int(np.prod(net.blobs[net.top_names[layer.name][0]].shape[2:]))
            return _places(shape, area, random)
        if layer.type == "Embed":
            return random.randint(layer.blobs[0].shape[0], size=shape).astype(np.float32)
        if layer.type == "BatchReindex" and position == 1:
            rows = net.blobs[net.bottom_names[layer.name][0]].shape[0]
            return random.randint(rows, size=shape).astype(np.float32)
        marks = layer.type in ("LSTM", "RNN") and position == 1
        marks = marks or (layer.type == "LSTMUnit" and position == 2)
        if marks or (layer.type == "Filter" and position == len(net.bottom_names[layer.name]) - 1):
            return (random.uniform(size=shape) > 0.4).astype(np.float32)
    return random.standard_normal(shape).astype(np.float32)


def _readers(net: Net, blob: str) -> list[tuple[Any, int]]:
    """Return the layers that read a blob, through Splits, and as which bottom."""
    readers = []
    for name, bottoms in net.bottom_names.items():
        layer = net.layer_dict[name]
        if blob in bottoms and layer.type == "Split":
            for top in net.top_names[name]:
                readers += _readers(net, top)
        elif blob in bottoms:
            readers.append((layer, bottoms.index(blob)))
    return readers


def _places(shape: Sequence[int], area: int, random: np.random.RandomState) -> np.ndarray:
    """Random places in maps of `area` positions, each at most once in a map."""
    maps = [
        random.choice(area, math.prod(shape[2:]), replace=False)
        for _ in range(math.prod(shape[:2]))
    ]
    return np.array(maps, np.float32).reshape(shape)


def _regions(
    net: Net, layer: Any, shape: Sequence[int], random: np.random.RandomState
) -> np.ndarray:
    """Random regions inside the images that a layer pools, R x 5."""
    p = getattr(layer.layer_param, REGIONS[layer.type])
    count, _, height, width = net.blobs[net.bottom_names[layer.name][0]].shape
    rois = np.empty((shape[0], 5), np.float32)
    rois[:, 0] = random.randint(count, size=shape[0])
    for axis, size in ((1, width), (2, height)):
        ends = random.uniform(0, size / p.spatial_scale, (shape[0], 2))
        rois[:, axis], rois[:, axis + 2] = ends.min(1), ends.max(1)
    return rois.reshape(shape)


def _error(net: Net, name: str, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference of an output as a share of its largest value."""
    if ours.shape != theirs.shape or not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return math.inf
    maker = next(layer for layer, tops in net.top_names.items() if name in tops)
    layer = net.layer_dict[maker]
    if layer.type == "ArgMax" and not np.array_equal(ours, theirs):
        return _lost(net, layer, ours, theirs)
    if layer.type == "DetectionOutput":
        theirs = matched_rows(ours, theirs)
    largest = float(np.nanmax(np.abs(ours), initial=0))
    difference = float(np.nanmax(np.abs(ours - theirs), initial=0))
    return difference / largest if largest else difference


def matched_rows(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the rows of `theirs` in the order of those of `ours` that they are nearest to.

    ours, theirs: detections of DetectionOutput, ... x N x 7: image, label, score, box. Equal scores
    are in the order of their rounding errors, which differ. Rows match only within an image and a
    label; the order stays as it is where some row has no match.
    """
    rows, others = ours.reshape(-1, ours.shape[-1]), theirs.reshape(-1, theirs.shape[-1])
    free = list(range(len(others)))
    order = []
    for row in rows:
        choices = [k for k in free if np.array_equal(others[k, :2], row[:2])]
        if not choices:
            return theirs
        order.append(min(choices, key=lambda k: float(np.abs(others[k] - row).max())))
        free.remove(order[-1])
    return others[order].reshape(theirs.shape)


def _lost(net: Net, layer: Any, ours: np.ndarray, theirs: np.ndarray) -> float:
    """By how much the scores at other indices are lower, as a share of the largest score."""
    p = layer.layer_param.argmax_param
    if not p.HasField("axis") or p.out_max_val or p.top_k != 1:
        return float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1))
    scores = net.blobs[net.bottom_names[layer.name][0]].data
    best, other = (np.take_along_axis(scores, i.astype(int), p.axis) for i in (ours, theirs))
    return float((best - other).max() / max(np.abs(scores).max(), np.finfo(np.float32).tiny))
