"""Activation layers: a value at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..blob import Blob
from ..fillers import fill
from ..proto import caffe_pb2
from .axes import check_legacy_axes
from .function import POINT, Function, Window
from .registry import register


class _Pointwise(Function):
    bottoms, tops = (1, 1), (1, 1)
    keeps_shape = True
    #: In place, the gradient is taken at the outcome, which has overwritten the input, as in Caffe.
    slope_at_outcome = False

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        if self.slope_at_outcome and top[0] is bottom[0]:
            self.forget()
        super().backward(top, propagate_down, bottom)


@register
class ReLU(_Pointwise):
    """y = max(x, 0) + negative_slope * min(x, 0)."""

    precision = "kept"
    idempotent = True

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        slope = self.layer_param.relu_param.negative_slope
        return F.leaky_relu(x, slope) if slope else torch.relu(x)

    def window(self) -> Window | None:
        return POINT


@register
class PReLU(_Pointwise):
    """y = max(x, 0) + w * min(x, 0), with a learned w for each channel, or one for all."""

    keeps_shape = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.prelu_param, bottom[0].shape
        check_legacy_axes(self, shape)
        if len(shape) < 2:
            raise self.error(f"the bottom has shape {shape}; it needs a channel axis")
        self.blobs.add_blob(*(() if p.channel_shared else shape[1:2]))
        default = caffe_pb2.FillerParameter(type="constant", value=0.25)
        fill(self.blobs[0], p.filler if p.HasField("filler") else default, f"layer {self.name!r}")

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        w = self.weights[0]
        if w.dim() and w.shape[0] != x.shape[1]:
            raise self.error(f"{x.shape[1]} channels; the weights need {w.shape[0]}")
        return F.prelu(x, w.reshape(-1))


@register
class ELU(_Pointwise):
    """y = x where x > 0, else alpha * (exp(x) - 1)."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return F.elu(x, self.layer_param.elu_param.alpha)


@register
class Sigmoid(_Pointwise):
    """y = 1 / (1 + exp(-x))."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x)


@register
class TanH(_Pointwise):
    """y = tanh(x)."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x)


@register
class Swish(_Pointwise):
    """y = x / (1 + exp(-beta * x))."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.layer_param.swish_param.beta * x)


@register
class AbsVal(_Pointwise):
    """y = |x|."""

    in_place = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.abs(x)


@register
class Power(_Pointwise):
    """y = (shift + scale * x) ^ power."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.power_param
        y = p.shift + p.scale * x
        if p.power == 0:
            return torch.ones_like(y)
        return y if p.power == 1 else y**p.power


def _base(base: float) -> float:
    """The natural logarithm of a base, where -1 stands for e."""
    return 1.0 if base == -1 else math.log(base)


@register
class Exp(_Pointwise):
    """y = base ^ (shift + scale * x); base -1 stands for e."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        base = self.layer_param.exp_param.base
        if base != -1 and base <= 0:
            raise self.error(f"base is {base:g}; it needs to be above 0, or -1 for e")

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.exp_param
        return torch.exp(_base(p.base) * (p.shift + p.scale * x))


@register
class Log(_Pointwise):
    """y = log of (shift + scale * x) to the base; base -1 stands for e."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        base = self.layer_param.log_param.base
        if base != -1 and (base <= 0 or base == 1):
            raise self.error(f"base is {base:g}; it needs to be above 0 and not 1, or -1 for e")

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.log_param
        return torch.log(p.shift + p.scale * x) / _base(p.base)


@register
class BNLL(_Pointwise):
    """y = log(1 + exp(x))."""

    slope_at_outcome = True

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.logaddexp(x, torch.zeros_like(x))


@register
class Threshold(_Pointwise):
    """y = 1 where x > threshold, else 0."""

    differentiable = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return (x > self.layer_param.threshold_param.threshold).to(x.dtype)

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        # As in Caffe, whatever is asked for: no layer below can learn.
        raise self.error("has no gradient; give the layers below no loss or no learning")


@register
class Clip(_Pointwise):
    """y = max(min(x, max), min)."""

    slope_at_outcome = True

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.clip_param
        return x.clamp(max=p.max).clamp(min=p.min)
