"""Scale and Bias: a factor or a bias that is spread over a blob."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..blob import Blob
from ..proto import caffe_pb2
from .axes import canonical_axis
from .base import EngineLayer
from .function import Function, Shape, Tensors
from .registry import register


def _parameter_shape(layer: EngineLayer, p: Any, shape: Sequence[int]) -> Sequence[int]:
    """Return the `num_axes` sizes of a bottom from `axis` on, which a factor or bias has."""
    axis = canonical_axis(layer, p.axis, shape)
    end = len(shape) if p.num_axes == -1 else axis + p.num_axes
    if p.num_axes < -1 or end > len(shape):
        raise layer.shape_error(
            f"axis {p.axis} and num_axes {p.num_axes} reach past a bottom of shape {tuple(shape)}; "
            f"their sum needs to be at most {len(shape)}"
        )
    return shape[axis:end]


def _first_axis(layer: EngineLayer, axis: int, factor: Sequence[int], shape: Sequence[int]) -> int:
    """Return the axis of a bottom of this shape that the first axis of a factor belongs to.

    Raises ShapeError where the sizes from this axis on differ.
    """
    axis = canonical_axis(layer, axis, shape) if factor else 0
    if tuple(shape[axis : axis + len(factor)]) != tuple(factor):
        raise layer.shape_error(
            f"a factor of shape {tuple(factor)} does not match a bottom of shape {tuple(shape)} "
            f"from axis {axis} on"
        )
    return axis


def _spread(layer: EngineLayer, axis: int, factor: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return the factor or bias, with axes of size 1 at its end, as x from `axis` on needs it."""
    axis = _first_axis(layer, axis, factor.shape, x.shape)
    return factor.reshape(*factor.shape, *[1] * (x.dim() - axis - factor.dim()))


@register
class Scale(Function):
    """y = w * x (+ b), with w and b spread over x from `axis` on (scale_layer.cpp).

    w is the second bottom; without one, w is a parameter with the sizes of `num_axes` axes of x.
    """

    bottoms, tops = (1, 2), (1, 1)
    pointwise = True

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.scale_param
        if len(bottom) == 1:
            ones = caffe_pb2.FillerParameter(type="constant", value=1)
            shape = _parameter_shape(self, p, bottom[0].shape)
            self.add_parameter(shape, p.filler if p.HasField("filler") else ones)
        if p.bias_term:
            shape = bottom[1].shape if len(bottom) == 2 else self.blobs[0].shape
            self.add_parameter(shape, p.bias_filler)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        axis = self.layer_param.scale_param.axis
        for factor in [*bottoms[1:], *(b.shape for b in self.blobs)]:
            _first_axis(self, axis, factor, bottoms[0])
        return bottoms[:1]

    def compute(self, x: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        p = self.layer_param.scale_param
        y = x * _spread(self, p.axis, self.weights[0] if factor is None else factor, x)
        return y + _spread(self, p.axis, self.weights[-1], x) if p.bias_term else y

    def channel_affine(self, shape: Shape) -> Tensors | None:
        p = self.layer_param.scale_param
        learned = len(self.blobs) == 1 + p.bias_term
        if not learned or self.blobs[0].shape != (shape[1],) or p.axis not in (1, 1 - len(shape)):
            return None
        factor, *term = self.parameters(torch.device("cpu"))
        return factor, term[0] if term else torch.zeros_like(factor)

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        # As in Caffe, the gradient of the factor replaces the one of the pass before, instead of
        # adding to it, where the factor has all values of x or starts at the first axis.
        if len(bottom) == 1 and self.param_propagate_down[0]:
            factor, shape, several = self.blobs[0], bottom[0].shape, self.blobs[0].count > 1
            axis = canonical_axis(self, self.layer_param.scale_param.axis, shape) if several else 0
            if factor.count == bottom[0].count or (several and math.prod(shape[:axis]) == 1):
                factor.gradient.zero()
        super().backward(top, propagate_down, bottom)


@register
class Bias(Function):
    """y = x + b, with b spread over x from `axis` on (bias_layer.cpp).

    b is the second bottom; without one, b is a parameter with the sizes of `num_axes` axes of x.
    """

    bottoms, tops = (1, 2), (1, 1)
    pointwise = True

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.bias_param
        if len(bottom) == 1:
            self.add_parameter(_parameter_shape(self, p, bottom[0].shape), p.filler)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        bias = bottoms[1] if len(bottoms) > 1 else self.blobs[0].shape
        _first_axis(self, self.layer_param.bias_param.axis, bias, bottoms[0])
        return bottoms[:1]

    def compute(self, x: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        b = self.weights[0] if b is None else b
        return x + _spread(self, self.layer_param.bias_param.axis, b, x)
