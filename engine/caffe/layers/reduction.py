"""Layers that reduce axes: Reduction and ArgMax."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..ops.slope import scaled, with_slope
from .axes import canonical_axis
from .function import Function
from .registry import register


@register
class Reduction(Function):
    """coeff times the sum, the mean, or the sum of magnitudes or squares (reduction_layer.cpp).

    All axes from `axis` (0) on become one value; the axes before `axis` stay.
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        (shape,) = bottoms
        axis = canonical_axis(self, self.layer_param.reduction_param.axis, shape) if shape else 0
        return [shape[:axis]]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.reduction_param
        axis = canonical_axis(self, p.axis, x.shape) if x.dim() else 0
        rows = x.reshape(*x.shape[:axis], math.prod(x.shape[axis:]))
        if p.operation == p.ASUM:
            rows = rows.abs()
        elif p.operation == p.SUMSQ:
            rows = rows * rows
        total = rows.mean(-1) if p.operation == p.MEAN else rows.sum(-1)
        return with_slope(
            total, lambda x: scaled(x, p.coeff), lambda x, _: torch.full_like(x, p.coeff)
        )


@register
class ArgMax(Function):
    """The indices of the `top_k` largest values, largest first (argmax_layer.cpp).

    With `axis`, the top has size top_k there, and holds the values instead with out_max_val.
    Without, the values of each of the N images are one row: the top is N x 1 x top_k, or
    N x 2 x top_k with out_max_val, indices before values, and has further axes of size 1 up to the
    number of axes of the bottom. Indices are float32, as in Caffe, and exact up to 2^24.
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    differentiable = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        p, (shape,) = self.layer_param.argmax_param, bottoms
        along = p.HasField("axis")
        axis = canonical_axis(self, p.axis, shape) if along else 1
        most = shape[axis] if along else math.prod(shape[1:])
        if not 1 <= p.top_k <= most:
            raise self.error(f"top_k is {p.top_k}; it needs to be 1 .. {most}")
        if along:
            return [(*shape[:axis], p.top_k, *shape[axis + 1 :])]
        return [(shape[0], 1 + p.out_max_val, p.top_k, *[1] * (len(shape) - 3))]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.argmax_param
        along = p.HasField("axis")
        axis = canonical_axis(self, p.axis, x.shape) if along else 1
        rows = x if along else x.reshape(x.shape[0], math.prod(x.shape[1:]))
        values, indices = _largest(rows, p.top_k, axis)
        if along:
            return values if p.out_max_val else indices.float()
        parts = [indices.float(), values] if p.out_max_val else [indices.float()]
        return torch.stack(parts, 1).reshape(x.shape[0], len(parts), p.top_k, *[1] * (x.dim() - 3))


def _first_largest(x: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest value along `axis` and its index, the lower one of equal values.

    On the CPU, a NaN hides the values behind it unless it is the first, as in BVLC Caffe, which
    compares the values from the last to the first: each replaces a NaN, and a NaN replaces each.
    """
    value, index = x.max(axis, keepdim=True)
    if x.device.type != "cpu" or not value.isnan().any():
        return value, index
    shape = [-1 if i == axis else 1 for i in range(x.dim())]
    hidden = value.isnan() & (torch.arange(x.shape[axis]).reshape(shape) >= index)
    other, place = x.masked_fill(hidden, -math.inf).max(axis, keepdim=True)
    replaced = value.isnan() & (index > 0)
    return torch.where(replaced, other, value), torch.where(replaced, place, index)


def _largest(x: torch.Tensor, k: int, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest values along `axis`, largest first, and their indices.

    Of equal values the one with the higher index comes first, as in Caffe.
    """
    flipped = x.flip(axis)
    if k == 1:
        value, index = _first_largest(flipped, axis)
        return value, x.shape[axis] - 1 - index
    values, indices = torch.sort(flipped, dim=axis, descending=True, stable=True)
    return values.narrow(axis, 0, k), x.shape[axis] - 1 - indices.narrow(axis, 0, k)
