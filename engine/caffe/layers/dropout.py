"""Dropout: values that are zeroed at random while a net trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .. import boost_random, mode
from ..blob import Blob
from ..proto import caffe_pb2
from .function import Call, Function, Shape, Traced
from .registry import register


@register
class Dropout(Function):
    """y = x * mask / (1 - dropout_ratio) in TRAIN, y = x in TEST (dropout_layer.cpp).

    Each value of the mask is 0 with probability dropout_ratio and else 1, drawn at every forward.
    With scale_train false, a field of detection forks, y = x * mask in TRAIN and
    y = x * (1 - dropout_ratio) in TEST (Srivastava et al. 2014, section 4). With
    sample_weights_test, a field of Bayesian SegNet, TEST does as TRAIN (Kendall et al. 2015).
    sqrt_scale, a field of happynear/caffe-windows, has no effect in TEST, and TRAIN refuses it.
    """

    precision = "kept"
    bottoms, tops = (1, 1), (1, 1)
    keeps_shape = True
    pointwise = True

    @property
    def idempotent(self) -> bool:  # type: ignore[override]
        """In TEST, the gradient does not depend on the bottom."""
        return not self.stateful

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        """In TRAIN, and with sample_weights_test, each forward draws another mask."""
        sampled = self.layer_param.dropout_param.sample_weights_test
        return self.phase == caffe_pb2.TRAIN or sampled

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        ratio = self.layer_param.dropout_param.dropout_ratio
        if not 0 <= ratio < 1:
            raise self.error(f"dropout_ratio is {ratio:g}; it needs to be at least 0 and below 1")
        if self.layer_param.dropout_param.sqrt_scale and self.stateful:
            raise self.error(
                "sqrt_scale is set, of happynear/caffe-windows; only TEST runs it, without effect"
            )

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.dropout_param
        keep = 1 - p.dropout_ratio
        if not self.stateful:
            return x.view_as(x) if p.scale_train else x * keep
        mask = self.draw(x, keep)
        return x * (mask.div_(keep) if p.scale_train else mask)

    def bind(self, shapes: Sequence[Shape]) -> Call:
        p = self.layer_param
        in_place = p.top[0] == p.bottom[0]
        same = in_place and p.dropout_param.scale_train and not self.stateful
        return (lambda x: x) if same else super().bind(shapes)

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        if self.stateful:
            return None
        same = self.layer_param.dropout_param.scale_train
        return Traced((lambda x: x) if same else self.compute, aliases=True)

    def draw(self, x: torch.Tensor, keep: float) -> torch.Tensor:
        """Return 1 with the probability `keep`, else 0, like x; on the CPU, BVLC Caffe's draws."""
        if x.device.type != "cpu":
            return torch.empty_like(x).bernoulli_(keep, generator=mode.generator(x.device))
        drawn = boost_random.bernoulli(mode.rng(), keep, x.numel()).reshape(x.shape)
        return torch.from_numpy(drawn).to(x.dtype)
