"""What goes wrong at the start of a training, in one line each with the names of the layers."""

from __future__ import annotations

import math
from typing import Any, List, Optional

import numpy as np

from surgery import bilinear, zero_layers
from surgery.shapes import names_text

#: Iterations after which the loss must have left its first value.
PATIENCE = 20
#: The loss has not moved if it is nearer to ln(classes) than this fraction in every iteration.
MOVED = 1e-3


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


def is_normalized(message: Any) -> bool:
    """Return whether the loss of a NetParameter is the mean over the pixels, not their sum.

    Caffe normalizes by the valid pixels unless `normalize` is false.
    """
    return any(
        layer.loss_param.normalize or not layer.loss_param.HasField("normalize")
        for layer in message.layer
        if layer.type == "SoftmaxWithLoss"
    )


def first_not_finite(net: Any) -> str:
    """Return where NaN or infinity comes from, in words: the first layer, in the net's order,
    whose weights or tops are not finite; "" if all are."""
    for name, layer_tops in net.top_names.items():
        for blob in net.params.get(name, ()):
            if not np.isfinite(blob.data).all():
                return f"the weights of layer {name} are not finite"
        for top in layer_tops:
            if not np.isfinite(net.blobs[top].data).all():
                return f"layer {name} is the first whose values are not finite"
    return ""


class LossWatch:
    """Watches the first losses of a training for a net that does not learn.

    label, ignore_label: the blob of the labels, and the label that is not counted.
    """

    def __init__(self, label: str = "label", ignore_label: int = 255) -> None:
        self.label, self.ignore_label = label, ignore_label
        self._steps = 0
        self._resting = True

    def warning(self, net: Any, loss: float, classes: int, normalized: bool) -> Optional[str]:
        """Return one line after `PATIENCE` losses that are all ln(classes) a pixel, else None.

        loss: of one image. normalized: whether the loss is the mean over the pixels, not the sum.
        """
        if not self._resting or self._steps >= PATIENCE or self.label not in net.blobs:
            return None
        pixels = 1
        if not normalized:
            pixels = int((net.blobs[self.label].data != self.ignore_label).sum())
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


def _fixed(layer: Any) -> bool:
    """Whether the weights of a layer do not learn."""
    return bool(layer.param) and layer.param[0].lr_mult == 0


def _is_bilinear(net: Any, name: str) -> bool:
    """Whether the kernel of each channel into itself is the bilinear one."""
    weights = np.asarray(net.params[name][0].data)
    if weights.shape[2] != weights.shape[3]:
        return False
    expected = bilinear(weights.shape[2])
    column = np.minimum(np.arange(weights.shape[0]), weights.shape[1] - 1)
    return bool(np.allclose(weights[np.arange(weights.shape[0]), column], expected, atol=1e-4))
