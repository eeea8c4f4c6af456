"""Activation layers: a value at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .base import Function, register


class _Pointwise(Function):
    bottoms, tops = (1, 1), (1, 1)


@register
class ReLU(_Pointwise):
    """y = max(x, 0) + negative_slope * min(x, 0)."""

    idempotent = True

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        slope = self.layer_param.relu_param.negative_slope
        return F.leaky_relu(x, slope) if slope else torch.relu(x)


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
class AbsVal(_Pointwise):
    """y = |x|."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.abs(x)


@register
class BNLL(_Pointwise):
    """y = log(1 + exp(x))."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.logaddexp(x, torch.zeros_like(x))


@register
class Power(_Pointwise):
    """y = (shift + scale * x) ^ power."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.power_param
        y = p.shift + p.scale * x
        return y if p.power == 1 else y**p.power
