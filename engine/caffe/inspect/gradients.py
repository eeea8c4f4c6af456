"""Which blobs a backward pass gives a gradient, and which parameters learn from a loss."""

from __future__ import annotations

from ..layers.function import Function
from ..layers.registry import layer_class
from .build import BuiltNet, NetBlob, Part


class Gradients:
    """The way of gradients through a net, as BVLC Caffe prunes it.

    flowing: the blobs whose gradient is computed. losses: the layers that are losses.
    under_loss: the blobs on which a loss depends through layers that have gradients. In a net
    without a loss every output counts as one, as if losses were to be added.
    """

    def __init__(self, net: BuiltNet) -> None:
        self.net = net
        self.losses = [part for part in net.parts if is_loss(part)]
        needing: set[NetBlob] = set()
        for part in net.parts:
            if learns(part) or any(b in needing for b in part.bottoms):
                needing.update(part.tops)
        self.needing = needing
        self.under_loss: set[NetBlob] = set()
        if not self.losses:
            self.under_loss.update(blob for blob in net.blobs if not blob.readers)
        for part in reversed(net.parts):
            if is_loss(part) or any(top in self.under_loss for top in part.tops):
                self.under_loss.update(b for i, b in enumerate(part.bottoms) if passes(part, i))
        self.flowing = needing & self.under_loss

    def reaches(self, part: Part) -> bool:
        """Return whether a gradient reaches the layer's tops."""
        return is_loss(part) or any(top in self.under_loss for top in part.tops)


def is_loss(part: Part) -> bool:
    """Return whether a top of the layer has a loss weight."""
    cls = layer_class(part.type)
    if part.param.loss_weight:
        return any(part.param.loss_weight)
    return cls is not None and cls.loss


def learns(part: Part) -> bool:
    """Return whether a parameter of the layer has a learning rate other than 0."""
    if part.layer is None:
        return False
    specs = part.param.param
    count = len(part.layer.blobs)
    if part.type == "BatchNorm":
        return False
    return any(i >= len(specs) or specs[i].lr_mult != 0 for i in range(count))


def passes(part: Part, bottom: int) -> bool:
    """Return whether the layer computes a gradient for this bottom."""
    down = part.param.propagate_down
    if bottom < len(down) and not down[bottom]:
        return False
    if part.type in ("Accuracy", "Silence"):
        return False
    cls = layer_class(part.type)
    if cls is not None and issubclass(cls, Function):
        if not cls.differentiable or bottom in cls.no_gradient:
            return False
        if part.type == "Crop":
            return bottom == 0
    return True
