"""Activation layers: functions of single values. Top and bottom have the same shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F

from ..blob import Blob
from ..ops.slope import scaled, with_slope
from ..proto import caffe_pb2
from .function import Call, Function, Shape, Traced
from .registry import register
from .windows import POINT, Window


class _Activation(Function):
    bottoms, tops = (1, 1), (1, 1)
    keeps_shape = True
    pointwise = True
    #: In place, Caffe computes the gradient from the top, which has overwritten the bottom.
    slope_at_top = False

    def has_plain_passes(self) -> bool:
        plain = type(self).backward is _Activation.backward and self.differentiable
        return plain and not self.slope_at_top

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        if self.slope_at_top and top[0] is bottom[0]:
            self.forget()
        super().backward(top, propagate_down, bottom)


@register
class ReLU(_Activation):
    """y = max(x, 0) + negative_slope * min(x, 0) (relu_layer.cpp)."""

    precision = "kept"
    idempotent = True

    @property
    def slope(self) -> float:
        """The slope for negative values."""
        return self.layer_param.relu_param.negative_slope

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        slope = self.slope
        return F.leaky_relu(x, slope) if slope else torch.relu(x)

    def bind(self, shapes: Sequence[Shape]) -> Call:
        slope = self.slope
        return partial(F.leaky_relu, negative_slope=slope) if slope else torch.relu

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        return Traced(self.bind(shapes))

    def window(self) -> Window | None:
        return POINT


@register
class PReLU(_Activation):
    """y = max(x, 0) + w * min(x, 0) with a learned w (He et al. 2015; prelu_layer.cpp).

    w has a value for each channel (axis 1), or with channel_shared one for all; it starts at 0.25.
    As in forks with volumes, x may have more than the 4 axes that BVLC Caffe allows.
    """

    keeps_shape = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.prelu_param, bottom[0].shape
        if len(shape) < 2:
            raise self.shape_error(f"the bottom has shape {shape}; it needs a channel axis")
        default = caffe_pb2.FillerParameter(type="constant", value=0.25)
        self.add_parameter(
            () if p.channel_shared else shape[1:2], p.filler if p.HasField("filler") else default
        )

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        (shape,), weights = bottoms, self.blobs[0].shape
        if weights and weights[0] != shape[1]:
            raise self.shape_error(f"{shape[1]} channels; the weights need {weights[0]}")
        return bottoms

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return F.prelu(x, self.weights[0].reshape(-1))

    def bind(self, shapes: Sequence[Shape]) -> Call:
        slopes, prelu = self.blobs[0].values.tensor().reshape(-1), torch.prelu
        return lambda x: prelu(x, slopes)

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        return Traced(self.bind(shapes)) if len(shapes[0]) == 4 else None


@register
class ELU(_Activation):
    """y = x where x > 0, else alpha * (exp(x) - 1) (Clevert et al. 2015; elu_layer.cpp)."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        alpha = self.layer_param.elu_param.alpha
        return with_slope(
            x, lambda x: F.elu(x, alpha), lambda x, y: (x > 0) + (alpha + y) * (x <= 0)
        )


@register
class Sigmoid(_Activation):
    """y = 1 / (1 + exp(-x)) (sigmoid_layer.cpp)."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x)

    def bind(self, shapes: Sequence[Shape]) -> Call:
        return torch.sigmoid

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        return Traced(torch.sigmoid)


@register
class TanH(_Activation):
    """y = tanh(x) (tanh_layer.cpp)."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x)


@register
class Swish(_Activation):
    """y = x / (1 + exp(-beta * x)) (Ramachandran et al. 2017; swish_layer.cpp)."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        beta = self.layer_param.swish_param.beta
        return with_slope(
            x,
            lambda x: x * torch.sigmoid(beta * x),
            lambda x, y: beta * y + torch.sigmoid(beta * x) * (1 - beta * y),
        )


@register
class AbsVal(_Activation):
    """y = |x| (absval_layer.cpp)."""

    in_place = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.abs(x)


@register
class Power(_Activation):
    """y = (shift + scale * x) ^ power (power_layer.cpp)."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.power_param
        if p.scale == 0 or p.power == 0:
            return torch.full_like(x, 1 if p.power == 0 else p.shift**p.power)
        return with_slope(x, lambda x: _power(self._base(x), p.power), self._slope)

    def _base(self, x: torch.Tensor) -> torch.Tensor:
        """Return the base of the power, shift + scale * x."""
        p = self.layer_param.power_param
        base = scaled(x, p.scale)
        return base + p.shift if p.shift else base

    def _slope(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the derivative, by the quotient of top and base as in Caffe: 0 / 0 is NaN."""
        p = self.layer_param.power_param
        factor = p.power * p.scale
        if p.power == 1:
            return torch.full_like(x, factor)
        if p.power == 2:
            return factor * self._base(x)
        return y / x * p.power if p.shift == 0 else y / self._base(x) * factor


def _power(x: torch.Tensor, exponent: float) -> torch.Tensor:
    """x ^ exponent; infinity where x is -infinity and the exponent is a positive fraction."""
    if exponent == 1:
        return x
    if exponent in (0.5, -0.5):
        # PyTorch's square roots, which it takes for a number as exponent, give NaN there.
        return x ** x.new_full((1,), exponent)
    return x**exponent


def _log_of_base(base: float) -> float:
    """Return the natural logarithm of a base; -1 stands for the base e."""
    return 1.0 if base == -1 else math.log(base)


@register
class Exp(_Activation):
    """y = base ^ (shift + scale * x); base -1 stands for e (exp_layer.cpp)."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        base = self.layer_param.exp_param.base
        if base != -1 and not 0 < base < math.inf:
            raise self.error(f"base is {base:g}; it needs to be above 0, or -1 for e")

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.exp_param
        log = _log_of_base(p.base)
        outer, inner = math.exp(log * p.shift), log * p.scale
        if inner == 0:
            return torch.full_like(x, outer)
        return with_slope(x, lambda x: outer * torch.exp(inner * x), lambda x, y: y * inner)


@register
class Log(_Activation):
    """y = log(shift + scale * x) / log(base); base -1 stands for e (log_layer.cpp)."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        base = self.layer_param.log_param.base
        if base != -1 and (not 0 < base < math.inf or base == 1):
            raise self.error(f"base is {base:g}; it needs to be above 0 and not 1, or -1 for e")

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.log_param
        factor = 1 / _log_of_base(p.base)
        return with_slope(
            x,
            lambda x: torch.log(self._argument(x)) * factor,
            lambda x, y: scaled(1 / self._argument(x), p.scale * factor),
        )

    def _argument(self, x: torch.Tensor) -> torch.Tensor:
        """Return the argument of the logarithm, shift + scale * x."""
        p = self.layer_param.log_param
        argument = scaled(x, p.scale)
        return argument + p.shift if p.shift else argument


@register
class BNLL(_Activation):
    """y = log(1 + exp(x)), the binomial normal log likelihood (bnll_layer.cpp)."""

    slope_at_top = True

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return with_slope(
            x, lambda x: torch.logaddexp(x, torch.zeros_like(x)), lambda x, y: torch.sigmoid(x)
        )


@register
class Threshold(_Activation):
    """y = 1 where x > threshold, else 0; there is no gradient (threshold_layer.cpp)."""

    differentiable = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return (x > self.layer_param.threshold_param.threshold).to(x.dtype)

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        # As in Caffe, also where no bottom asks for a gradient.
        raise self.error("has no gradient; no layer below it can learn from a loss above it")


@register
class Clip(_Activation):
    """y = max(min(x, max), min), and min for NaN (clip_layer.cpp)."""

    slope_at_top = True

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        # Both are required fields of BVLC Caffe's schema.
        p, is_set = self.layer_param.clip_param, self.layer_param.HasField("clip_param")
        if is_set and not (p.HasField("min") and p.HasField("max")):
            raise self.error("needs both min and max in clip_param")

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.clip_param
        return with_slope(x, self._clip, lambda x, y: (x >= p.min) & (x <= p.max))

    def _clip(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.clip_param
        y = x.clamp(max=p.max)
        return torch.where(y > p.min, y, p.min)

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        p = self.layer_param.clip_param
        return Traced(lambda x: x.clamp(p.min, p.max), finite=True) if p.min <= p.max else None
