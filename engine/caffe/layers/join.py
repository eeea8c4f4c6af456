"""Layers that join, add and cut blobs: Split, Concat, Slice, Eltwise, Tile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from .. import mode
from ..blob import Blob
from ..ops.slope import scaled
from .axes import canonical_axis
from .base import EngineLayer
from .function import Call, Function, Shape, Tensors, Traced
from .registry import register
from .windows import POINT, Window


@register
class Split(EngineLayer):
    """One blob under several names, whose gradient is the sum of theirs (split_layer.cpp).

    The net inserts a Split where several layers read a blob.
    """

    bottoms, tops = (1, 1), (1, math.inf)
    in_place = False
    pointwise = True
    copies = True
    replayable = True

    def window(self) -> Window | None:
        return POINT

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        return [bottoms[0]] * len(self.layer_param.top)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for blob in top:
            blob.share_data(bottom[0])

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        if not propagate_down[0]:
            return
        diffs = [b.gradient.tensor(mode.device()) for b in top if not b.gradient.is_zero()]
        if not diffs:
            bottom[0].gradient.zero()
            return
        total = diffs[0] + diffs[1] if len(diffs) > 1 else diffs[0].clone()
        for diff in diffs[2:]:
            total += diff
        bottom[0].gradient.set(total)


class _Rearrangement(Function):
    """A layer whose single top is the memory of a single bottom, as in Caffe."""

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if len(bottom) == len(top) == 1:
            top[0].share_data(bottom[0])
            top[0].share_diff(bottom[0])
        super().reshape(bottom, top)

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        if len(bottom) > 1 or len(top) > 1:
            super().backward(top, propagate_down, bottom)


@register
class Concat(_Rearrangement):
    """The bottoms, joined along `axis` of concat_param (1) (concat_layer.cpp).

    The bottoms have equal sizes on all other axes.
    """

    precision = "kept"
    bottoms, tops = (1, math.inf), (1, 1)
    in_place = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        p, shape = self.layer_param.concat_param, bottoms[0]
        if p.HasField("axis") and p.HasField("concat_dim"):
            raise self.error("axis and concat_dim are names of one field; set one of them")
        axis = self.joined_axis(shape)
        for other in bottoms[1:]:
            if len(other) != len(shape) or any(
                a != b for i, (a, b) in enumerate(zip(other, shape)) if i != axis
            ):
                raise self.shape_error(
                    f"bottoms of shapes {shape} and {other}; all axes but {axis} need to be equal"
                )
        return [(*shape[:axis], sum(s[axis] for s in bottoms), *shape[axis + 1 :])]

    def compute(self, *xs: torch.Tensor) -> torch.Tensor:
        return torch.cat(xs, self.joined_axis(xs[0].shape))

    def is_pure(self) -> bool:
        return len(self.layer_param.bottom) > 1 and not self.record

    def has_plain_passes(self) -> bool:
        return len(self.layer_param.bottom) > 1

    def bind(self, shapes: Sequence[Shape]) -> Call:
        axis, cat = self.joined_axis(shapes[0]), torch.cat
        return lambda *xs: cat(xs, axis)

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        return Traced(self.bind(shapes))

    def window(self) -> Window | None:
        return POINT if self._axis() == 1 and len(self.layer_param.bottom) > 1 else None

    def joined_axis(self, shape: Sequence[int]) -> int:
        """Return the axis, from 0, along which bottoms of such shapes are joined."""
        return canonical_axis(self, self._axis(), shape)

    def _axis(self) -> int:
        p = self.layer_param.concat_param
        return p.concat_dim if p.HasField("concat_dim") else p.axis


@register
class Slice(_Rearrangement):
    """The bottom, cut along `axis` of slice_param (1) (slice_layer.cpp).

    The cuts are at the `slice_point`s; without any, the parts are equal.
    """

    precision = "kept"
    bottoms, tops = (1, 1), (1, math.inf)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.slice_param
        if p.HasField("axis") and p.HasField("slice_dim"):
            raise self.error("axis and slice_dim are names of one field; set one of them")
        if p.slice_point and len(p.slice_point) != len(top) - 1:
            raise self.error(
                f"{len(p.slice_point)} slice_point for {len(top)} tops; it needs {len(top) - 1}"
            )
        self.parts = len(top)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        (shape,) = bottoms
        axis = self._axis(shape)
        points = self._cuts(shape[axis], axis)
        sizes = [b - a for a, b in zip(points, points[1:])]
        return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]

    def compute(self, x: torch.Tensor) -> Tensors:
        return tuple(x.narrow(*part).clone() for part in self._places(x.shape))

    def bind(self, shapes: Sequence[Shape]) -> Call:
        places = self._places(shapes[0])
        return lambda x: tuple([x.narrow(*part).clone() for part in places])

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        places = self._places(shapes[0])
        return Traced(lambda x: tuple(x.narrow(*part) for part in places), aliases=True)

    def _places(self, shape: Shape) -> list[tuple[int, int, int]]:
        """Return the axis, the start and the size of each part of a bottom of this shape."""
        axis = self._axis(shape)
        points = self._cuts(shape[axis], axis)
        return [(axis, a, b - a) for a, b in zip(points, points[1:])]

    def _axis(self, shape: Sequence[int]) -> int:
        p = self.layer_param.slice_param
        return canonical_axis(self, p.slice_dim if p.HasField("slice_dim") else p.axis, shape)

    def is_pure(self) -> bool:
        return self.parts > 1 and not self.record

    def has_plain_passes(self) -> bool:
        return self.parts > 1

    def _cuts(self, size: int, axis: int) -> list[int]:
        """Return where the parts begin and end along `axis`, which has this size."""
        p = self.layer_param.slice_param
        if p.slice_point:
            points = [0, *p.slice_point, size]
        elif size % self.parts:
            raise self.shape_error(
                f"axis {axis} of size {size} does not divide into {self.parts} tops"
            )
        else:
            points = list(range(0, size + 1, size // self.parts))
        if any(b <= a for a, b in zip(points, points[1:])):
            raise self.shape_error(
                f"slice points {points[1:-1]} do not rise within 0 .. {size}; give rising ones"
            )
        return points


@register
class Eltwise(Function):
    """The product, the sum weighted by `coeff`, or the maximum of equal shapes, element by element.

    eltwise_layer.cpp. As in FlowNet 2's fork, a bottom with a coeff may be alone; the top is then
    the bottom times coeff. With coeff_blob, a field of lisa-caffe-public, the last bottom holds
    further factors of the sum, one for each other bottom and each of the first axes that its shape
    names: 2 x N for two bottoms N x C. Its gradient counts as 0.
    """

    precision = "kept"
    bottoms, tops = (1, math.inf), (1, 1)
    pointwise = True

    def allow_force_backward(self, bottom_index: int) -> bool:
        p = self.layer_param
        return not p.eltwise_param.coeff_blob or bottom_index < len(p.bottom) - 1

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.eltwise_param
        terms = len(bottom) - p.coeff_blob
        if p.coeff_blob and (p.operation != p.SUM or not terms):
            raise self.error("coeff_blob needs operation SUM, and one more bottom than the sum has")
        if terms == 1 and not p.coeff and not p.coeff_blob:
            raise self.error("has 1 bottom; it needs 2 or more, or a coeff for the only one")
        if len(p.coeff) not in (0, terms):
            raise self.error(
                f"{len(p.coeff)} coeff for {terms} bottoms; it needs none, or one for each"
            )
        if p.coeff and p.operation == p.PROD:
            raise self.error("coeff is for operation SUM; MAX ignores it, PROD refuses it")

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        if self.layer_param.eltwise_param.coeff_blob:
            *bottoms, factors = bottoms
            if factors != (len(bottoms), *bottoms[0][: len(factors) - 1]):
                raise self.shape_error(
                    f"a coeff_blob of shape {factors} for {len(bottoms)} bottoms of shape "
                    f"{bottoms[0]}; it needs {len(bottoms)} x the first axes of these"
                )
        for shape in bottoms[1:]:
            if shape != bottoms[0]:
                raise self.shape_error(
                    f"bottoms of shapes {bottoms[0]} and {shape}; they need to be equal"
                )
        return bottoms[:1]

    def is_sum(self) -> bool:
        """Return whether the top is the plain sum of two bottoms."""
        p = self.layer_param.eltwise_param
        plain = p.operation == p.SUM and set(p.coeff) <= {1.0} and not p.coeff_blob
        return plain and len(self.layer_param.bottom) == 2

    def bind(self, shapes: Sequence[Shape]) -> Call:
        p = self.layer_param.eltwise_param
        if p.operation == p.MAX and len(shapes) == 2:
            return _larger
        return torch.add if self.is_sum() else super().bind(shapes)

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        p = self.layer_param.eltwise_param
        if p.operation == p.MAX:
            # Of two maps; of equal values it does not matter which one wins.
            return Traced(torch.maximum, finite=True) if len(shapes) == 2 else None
        return Traced(self.compute) if self.is_sum() or p.operation == p.PROD else None

    def compute(self, *xs: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.eltwise_param
        if p.coeff_blob:
            *xs, factors = xs  # type: ignore[assignment]
            trailing = [1] * (xs[0].dim() + 1 - factors.dim())
            factors = factors.detach().reshape(*factors.shape, *trailing)
            xs = tuple(x * factor for x, factor in zip(xs, factors))
        if p.operation == p.SUM and p.coeff:
            xs = tuple(scaled(x, c) for c, x in zip(p.coeff, xs))
        y = xs[0]
        for i, x in enumerate(xs[1:]):
            if p.operation == p.SUM:
                y = y + x
            elif p.operation == p.PROD:
                y = y * x
            else:
                # As in Caffe, of equal values the second bottom wins over the first; a later
                # bottom needs a larger value to win.
                y = _Larger.apply(y, x) if i == 0 else _Larger.apply(x, y)
        return y

    def window(self) -> Window | None:
        return None if self.layer_param.eltwise_param.coeff_blob else POINT


def _larger(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a where a > b, else b."""
    larger = torch.maximum(a, b)
    # PyTorch's maximum, many times as fast as its `where`, differs where a is NaN. On other devices
    # than the CPU the sum would have to be waited for.
    if a.device.type != "cpu" or math.isnan(larger.sum()):
        return torch.where(a > b, a, b)
    return larger


class _Larger(torch.autograd.Function):
    """a where a > b, else b; the gradient goes to the one that is taken."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a, b)
        return _larger(a, b)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:  # type: ignore[override]
        a, b = ctx.saved_tensors
        takes_a = a > b
        return grad.masked_fill(~takes_a, 0), grad.masked_fill(takes_a, 0)


@register
class Tile(Function):
    """The bottom, repeated `tiles` times along `axis` of tile_param (1) (tile_layer.cpp)."""

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        p, (shape,) = self.layer_param.tile_param, bottoms
        axis = canonical_axis(self, p.axis, shape)
        if p.tiles < 1:
            raise self.error(f"tiles is {p.tiles}; it needs to be at least 1")
        return [(*shape[:axis], p.tiles * shape[axis], *shape[axis + 1 :])]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.tile_param
        return torch.cat([x] * p.tiles, canonical_axis(self, p.axis, x.shape))
