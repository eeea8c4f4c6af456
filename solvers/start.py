"""What goes wrong at the start of a training, in one line each with the names of the layers."""

from __future__ import annotations

import math
from typing import Any, Callable, List, Optional, Sequence

import numpy as np

from fcn_data.class_weights import read_matrix
from net_gen import Head
from surgery import bilinear, zero_layers
from surgery.shapes import names_text, shape_text

#: Iterations after which the loss must have left its first value.
PATIENCE = 20
#: The loss has not moved if it is nearer to ln(classes) than this fraction in every iteration.
MOVED = 1e-3
#: Returns a warning about the loss of an iteration, if there is one; the net is that of training.
Watch = Callable[[Any, float], Optional[str]]


def start_warnings(net: Any, message: Any) -> List[str]:
    """Return a line for each thing in the weights of a net from which nothing would be learned.

    net: a pycaffe net before its first iteration. message: its NetParameter.
    """
    lines = []
    score = {name for name in net.params if name.startswith("score")}
    upsampling = [layer.name for layer in message.layer if layer.type == "Deconvolution"]
    trunk = [name for name in net.params if name not in {*score, *upsampling}]
    zero = zero_layers(net, trunk)
    if zero:
        lines.append(
            f"layers {names_text(zero)} are all zero: the scores stay zero behind them; start "
            "from trained weights"
        )
    flat = [
        layer.name
        for layer in message.layer
        if layer.type == "Deconvolution" and _fixed(layer) and not _is_bilinear(net, layer.name)
    ]
    if flat:
        lines.append(
            f"layers {names_text(flat)} do not learn and have no bilinear kernel; fill them with "
            "surgery.interp"
        )
    return lines


def first_not_finite(net: Any) -> str:
    """Return where NaN or infinity comes from, in words: the first layer, in the net's order,
    whose tops are not finite, else the first whose weights are not; "" if all are finite.

    The tops come first, because an update after the pass spreads NaN to the weights of all layers.
    """
    for name, layer_tops in net.top_names.items():
        for top in layer_tops:
            if not np.isfinite(net.blobs[top].data).all():
                return f"layer {name} is the first whose values are not finite"
    for name, blobs in net.params.items():
        if not all(np.isfinite(blob.data).all() for blob in blobs):
            return f"the weights of layer {name} are not finite"
    return ""


def infogain_weights(message: Any) -> np.ndarray:
    """Return the weights of the classes in the loss of a net; an empty array if it has none.

    message: a NetParameter whose files are relative to the working directory. Of an InfogainLoss,
    the sum of each row of the matrix is the weight of a class while all scores are equal.
    """
    for layer in message.layer:
        source = layer.infogain_loss_param.source
        if layer.type == "InfogainLoss" and source:
            return read_matrix(source).sum(axis=1)
    return np.empty(0, np.float32)


def averages_pixels(message: Any) -> bool:
    """Return whether the softmax loss of a net is the mean over the pixels, not their sum.

    message: a NetParameter.
    """
    for layer in message.layer:
        if layer.type in ("SoftmaxWithLoss", "InfogainLoss"):
            loss = layer.loss_param
            if loss.HasField("normalize") and not loss.HasField("normalization"):
                return bool(loss.normalize)
            return bool(loss.normalization in (loss.VALID, loss.FULL))
    return False


def check_heads(net: Any, heads: Sequence[Head], file: str) -> None:
    """Raise ValueError if a net lacks a blob that its scoring needs, or has another shape.

    net: the net with the data layer that is scored. file: its prototxt, for the message.
    """
    for head in heads:
        score, label = f"score{head.suffix}", head.label
        for blob, purpose in ((score, "the scores, N x classes x H x W"), (label, "the labels")):
            if blob not in net.blobs:
                raise ValueError(
                    f"{file}: has no blob {blob}, needed for {purpose}; it has "
                    f"{', '.join(net.blobs)}"
                )
        shapes = [tuple(net.blobs[blob].shape) for blob in (score, label)]
        if len(shapes[0]) != 4 or shapes[0][0] * np.prod(shapes[0][2:]) != np.prod(shapes[1]):
            raise ValueError(
                f"{file}: {score} is {shape_text(shapes[0])} and {label} "
                f"{shape_text(shapes[1])}, needs N x classes x H x W and N x 1 x H x W"
            )
        if shapes[0][1] < 2:
            raise ValueError(
                f"{file}: {score} has {shapes[0][1]} channel, needs a channel for each of 2 or "
                "more classes; the background is a class, too"
            )


class LossWatch:
    """Watches the first losses of a training for a net that does not learn.

    label, ignore_label: the blob of the labels, and the label that is not counted.
    """

    def __init__(self, label: str = "label", ignore_label: int = 255) -> None:
        self.label, self.ignore_label = label, ignore_label
        #: Weights of the classes in the loss; empty if they count alike.
        self.class_weights = np.empty(0, np.float32)
        self._steps = 0
        self._resting = True

    def warning(self, net: Any, loss: float, classes: int, normalized: bool) -> Optional[str]:
        """Return one line after `PATIENCE` losses that are all ln(classes) a pixel, else None.

        loss: the mean over the images. normalized: whether the loss is the mean over the pixels,
        not their sum.
        """
        if not self._resting or self._steps >= PATIENCE or self.label not in net.blobs:
            return None
        pixels = self._weighted_pixels(net.blobs[self.label].data, normalized)
        if not pixels:
            return None
        self._steps += 1
        rest = math.log(classes)
        self._resting = abs(loss / pixels - rest) < MOVED * rest
        if self._steps < PATIENCE or not self._resting:
            return None
        return (
            f"the loss is still ln({classes}) = {rest:.4f} a pixel after {PATIENCE} iterations: "
            "nothing is learned; the weights may be those of no trained net, or base_lr too small"
        )

    def _weighted_pixels(self, labels: np.ndarray, normalized: bool) -> float:
        """Return the loss of equal scores in units of ln(classes)."""
        counted = labels[labels != self.ignore_label]
        images = labels.shape[0] if labels.ndim == 4 else 1
        divisor = counted.size if normalized else images
        total = float(counted.size)
        if self.class_weights.size:
            total = float(self.class_weights[counted.astype(np.intp)].sum())
        return total / max(divisor, 1)


def loss_watch(message: Any, ignore_label: int) -> Watch:
    """Return a watch that warns once if the first losses show that nothing is learned.

    message: the NetParameter of the net that is trained.
    """
    watch, normalized = LossWatch(ignore_label=ignore_label), averages_pixels(message)
    watch.class_weights = infogain_weights(message)

    def warning(net: Any, loss: float) -> Optional[str]:
        if "score" not in net.blobs or "loss" not in net.blobs:
            return None
        return watch.warning(net, loss, int(net.blobs["score"].shape[1]), normalized)

    return warning


def _fixed(layer: Any) -> bool:
    """Return whether the weights of a layer do not learn."""
    return bool(layer.param) and layer.param[0].lr_mult == 0


def _is_bilinear(net: Any, name: str) -> bool:
    """Return whether the kernel of each channel into itself is the bilinear one."""
    weights = np.asarray(net.params[name][0].data)
    if weights.shape[2] != weights.shape[3]:
        return False
    expected = bilinear(weights.shape[2])
    column = np.minimum(np.arange(weights.shape[0]), weights.shape[1] - 1)
    return bool(np.allclose(weights[np.arange(weights.shape[0]), column], expected, atol=1e-4))
