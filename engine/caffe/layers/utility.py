"""Utility layers: the ones that move, join and combine blobs, and Python layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from .. import mode
from ..blob import Blob
from ..fillers import fill
from .axes import canonical_axis
from .base import EngineLayer
from .function import POINT, Function, Tensors, Window
from .registry import register


@register
class Split(EngineLayer):
    """One blob under several names; its gradient is the sum of theirs.

    The net inserts it where a blob has several readers.
    """

    bottoms, tops = (1, 1), (1, math.inf)
    in_place = False
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


def _share_if_alone(bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
    """One blob joined with, or cut into, nothing else is the same memory."""
    if len(bottom) == len(top) == 1:
        top[0].share_data(bottom[0])
        top[0].share_diff(bottom[0])


@register
class Concat(Function):
    """The bottoms one after the other along `axis`."""

    precision = "kept"
    bottoms, tops = (1, math.inf), (1, 1)
    in_place = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        p, shape = self.layer_param.concat_param, bottoms[0]
        if p.HasField("axis") and p.HasField("concat_dim"):
            raise self.error("axis and concat_dim are two names of one field; give one of them")
        axis = canonical_axis(self, self._axis(), shape)
        for other in bottoms[1:]:
            if len(other) != len(shape) or any(
                a != b for i, (a, b) in enumerate(zip(other, shape)) if i != axis
            ):
                raise self.error(
                    f"bottoms of shapes {shape} and {other}; all axes but {axis} need to be equal"
                )
        return [(*shape[:axis], sum(s[axis] for s in bottoms), *shape[axis + 1 :])]

    def compute(self, *xs: torch.Tensor) -> torch.Tensor:
        return torch.cat(xs, canonical_axis(self, self._axis(), xs[0].shape))

    def window(self) -> Window | None:
        return POINT if self._axis() == 1 and len(self.layer_param.bottom) > 1 else None

    def _axis(self) -> int:
        p = self.layer_param.concat_param
        return p.concat_dim if p.HasField("concat_dim") else p.axis

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        _share_if_alone(bottom, top)
        super().reshape(bottom, top)

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        if len(bottom) > 1:
            super().backward(top, propagate_down, bottom)


@register
class Eltwise(Function):
    """The product, weighted sum or maximum of the bottoms, element by element."""

    precision = "kept"
    bottoms, tops = (2, math.inf), (1, 1)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.eltwise_param
        if len(p.coeff) not in (0, len(bottom)):
            raise self.error(f"{len(p.coeff)} coeff for {len(bottom)} bottoms; one each is needed")
        if p.coeff and p.operation == p.PROD:
            raise self.error("coeff is for operation SUM; MAX ignores it")

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        for shape in bottoms[1:]:
            if shape != bottoms[0]:
                raise self.error(
                    f"bottoms of shapes {bottoms[0]} and {shape}; they need to be equal"
                )
        return bottoms[:1]

    def compute(self, *xs: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.eltwise_param
        if p.operation == p.SUM and p.coeff:
            xs = tuple(c * x for c, x in zip(p.coeff, xs))
        y = xs[0]
        for i, x in enumerate(xs[1:]):
            if p.operation == p.SUM:
                y = y + x
            elif p.operation == p.PROD:
                y = y * x
            else:
                # Of equal values the second bottom wins over the first, and no later one does.
                y = torch.where(y > x, y, x) if i == 0 else torch.where(x > y, x, y)
        return y

    def window(self) -> Window | None:
        return POINT


def _spread_shape(layer: EngineLayer, p: Any, shape: Sequence[int]) -> Sequence[int]:
    """The part of a bottom's shape that a factor or bias covers, from `axis` over `num_axes`."""
    axis = canonical_axis(layer, p.axis, shape)
    end = len(shape) if p.num_axes == -1 else axis + p.num_axes
    if p.num_axes < -1 or end > len(shape):
        raise layer.error(
            f"axis {p.axis} and num_axes {p.num_axes} reach past a bottom of shape {tuple(shape)}"
        )
    return shape[axis:end]


def _check_spread(
    layer: EngineLayer, axis: int, factor: Sequence[int], shape: Sequence[int]
) -> int:
    """The axis of a bottom of `shape` from which on a factor spreads over it; it has to fit."""
    axis = canonical_axis(layer, axis, shape) if factor else 0
    if tuple(shape[axis : axis + len(factor)]) != tuple(factor):
        raise layer.error(
            f"a factor of shape {tuple(factor)} does not match a bottom of shape {tuple(shape)} "
            f"from axis {axis} on"
        )
    return axis


def _spread(layer: EngineLayer, axis: int, factor: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A factor or bias with axes of size 1 around, so that it spreads over x from `axis` on."""
    axis = _check_spread(layer, axis, factor.shape, x.shape)
    return factor.reshape(*factor.shape, *[1] * (x.dim() - axis - factor.dim()))


@register
class Scale(Function):
    """y = w * x (+ b), w spread over x from `axis` on; w is a second bottom or a parameter."""

    bottoms, tops = (1, 2), (1, 1)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, where = self.layer_param.scale_param, f"layer {self.name!r}"
        if len(bottom) == 1:
            self.blobs.add_blob(*_spread_shape(self, p, bottom[0].shape))
            if p.HasField("filler"):
                fill(self.blobs[0], p.filler, where)
            else:
                self.blobs[0].data[...] = 1
        if p.bias_term:
            self.blobs.add_blob(*(bottom[1].shape if len(bottom) == 2 else self.blobs[0].shape))
            fill(self.blobs[-1], p.bias_filler, where)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        axis = self.layer_param.scale_param.axis
        for factor in [*bottoms[1:], *(b.shape for b in self.blobs)]:
            _check_spread(self, axis, factor, bottoms[0])
        return bottoms[:1]

    def compute(self, x: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        p = self.layer_param.scale_param
        y = x * _spread(self, p.axis, self.weights[0] if factor is None else factor, x)
        return y + _spread(self, p.axis, self.weights[-1], x) if p.bias_term else y

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        # As in Caffe, the gradient of a factor for every value, or for several from the first axis
        # on, does not add up over passes.
        if len(bottom) == 1 and self.param_propagate_down[0]:
            factor, shape, several = self.blobs[0], bottom[0].shape, self.blobs[0].count > 1
            axis = canonical_axis(self, self.layer_param.scale_param.axis, shape) if several else 0
            if factor.count == bottom[0].count or (several and math.prod(shape[:axis]) == 1):
                factor.gradient.zero()
        super().backward(top, propagate_down, bottom)


@register
class Softmax(Function):
    """y = exp(x) / sum of exp(x) along `axis`."""

    bottoms, tops = (1, 1), (1, 1)
    keeps_shape = True

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, canonical_axis(self, self.layer_param.softmax_param.axis, x.shape))


@register
class Bias(Function):
    """y = x + b, b spread over x from `axis` on; b is a second bottom or a parameter."""

    bottoms, tops = (1, 2), (1, 1)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.bias_param
        if len(bottom) == 1:
            shape = _spread_shape(self, p, bottom[0].shape)
            self.blobs.add_blob(*shape)
            fill(self.blobs[0], p.filler, f"layer {self.name!r}")

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        factor = bottoms[1] if len(bottoms) > 1 else self.blobs[0].shape
        _check_spread(self, self.layer_param.bias_param.axis, factor, bottoms[0])
        return bottoms[:1]

    def compute(self, x: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        b = self.weights[0] if b is None else b
        return x + _spread(self, self.layer_param.bias_param.axis, b, x)


class _Reshaping(EngineLayer):
    """The bottom's own memory, data and gradient, under another shape."""

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def new_shape(self, shape: tuple[int, ...]) -> Sequence[int]:
        """The top's shape, of as many values as the bottom's."""
        raise NotImplementedError

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        same = bottom[0].view(self.new_shape(bottom[0].shape))
        top[0].share_data(same)
        top[0].share_diff(same)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        pass


@register
class Flatten(_Reshaping):
    """The same values with the axes `axis` .. `end_axis` as one; with none between, a new one.

    As in Caffe, the gradient's memory is shared from the first backward on.
    """

    _shape: tuple[int, ...] | None = None

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        shape = bottom[0].shape
        if shape != self._shape:
            bottom[0].share_diff(Blob(shape))
            self._shape = shape
        top[0].share_data(bottom[0].view(self.new_shape(shape)))

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        bottom[0].share_diff(top[0].view(bottom[0].shape))

    def new_shape(self, shape: tuple[int, ...]) -> Sequence[int]:
        p = self.layer_param.flatten_param
        first = canonical_axis(self, p.axis, shape)
        last = canonical_axis(self, p.end_axis, shape)
        if first > last + 1:
            raise self.error(f"axis {p.axis} is behind end_axis {p.end_axis} in shape {shape}")
        return *shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]


@register
class Reshape(_Reshaping):
    """The same values under another shape; 0 keeps an axis, -1 takes what is left."""

    def new_shape(self, shape: tuple[int, ...]) -> Sequence[int]:
        p, old = self.layer_param.reshape_param, shape
        # The new axes may also start behind the last one.
        start = p.axis if p.axis >= 0 else len(old) + p.axis + 1
        end = len(old) if p.num_axes == -1 else start + p.num_axes
        if not 0 <= start <= len(old) or not start <= end <= len(old):
            raise self.error(
                f"axis {p.axis} and num_axes {p.num_axes} reach past a bottom of shape {old}"
            )
        middle = list(p.shape.dim)
        for i, size in enumerate(middle):
            if size == 0:
                if start + i >= end:
                    raise self.error(f"dim {i} is 0, but the bottom has no axis there to copy")
                middle[i] = old[start + i]
        if middle.count(-1) > 1:
            raise self.error(f"dims {middle} have more than one -1")
        new, count = [*old[:start], *middle, *old[end:]], math.prod(old)
        known = math.prod(n for n in new if n != -1)
        if -1 in new:
            if known == 0 or count % known:
                raise self.error(f"a bottom of {count} values does not divide into shape {new}")
            new[new.index(-1)] = count // known
        elif known != count:
            raise self.error(f"a bottom of {count} values does not fit the shape {new}")
        return new


@register
class Slice(Function):
    """The bottom cut along `axis`, at the slice points or into equal parts."""

    bottoms, tops = (1, 1), (1, math.inf)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.slice_param
        if p.HasField("axis") and p.HasField("slice_dim"):
            raise self.error("axis and slice_dim are two names of one field; give one of them")
        if p.slice_point and len(p.slice_point) != len(top) - 1:
            raise self.error(f"{len(p.slice_point)} slice_point for {len(top)} tops")
        self.parts = len(top)

    def compute(self, x: torch.Tensor) -> Tensors:
        p = self.layer_param.slice_param
        axis = canonical_axis(self, p.slice_dim if p.HasField("slice_dim") else p.axis, x.shape)
        size = x.shape[axis]
        if p.slice_point:
            points = [0, *p.slice_point, size]
        elif size % self.parts:
            raise self.error(f"axis {axis} of size {size} does not divide into {self.parts} tops")
        else:
            points = list(range(0, size + 1, size // self.parts))
        if any(b <= a for a, b in zip(points, points[1:])):
            raise self.error(f"slice points {points[1:-1]} do not rise within 0 .. {size}")
        return tuple(x.narrow(axis, a, b - a).clone() for a, b in zip(points, points[1:]))

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        _share_if_alone(bottom, top)
        super().reshape(bottom, top)

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        if len(top) > 1:
            super().backward(top, propagate_down, bottom)


@register
class Tile(Function):
    """The bottom repeated `tiles` times along `axis`."""

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.tile_param
        if p.tiles < 1:
            raise self.error(f"tiles is {p.tiles}; it needs to be at least 1")
        return torch.cat([x] * p.tiles, canonical_axis(self, p.axis, x.shape))


@register
class Reduction(Function):
    """The sum, mean, sum of magnitudes or of squares over everything from `axis` on."""

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.reduction_param
        axis = canonical_axis(self, p.axis, x.shape) if x.dim() else 0
        rows = x.reshape(*x.shape[:axis], -1)
        if p.operation == p.ASUM:
            rows = rows.abs()
        elif p.operation == p.SUMSQ:
            rows = rows * rows
        total = rows.mean(-1) if p.operation == p.MEAN else rows.sum(-1)
        return p.coeff * total


@register
class ArgMax(Function):
    """The indices, or with out_max_val the values, of the `top_k` largest."""

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    differentiable = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.argmax_param
        along = p.HasField("axis")
        axis = canonical_axis(self, p.axis, x.shape) if along else 1
        rows = x if along else x.reshape(x.shape[0], -1)
        if not 1 <= p.top_k <= rows.shape[axis]:
            raise self.error(f"top_k is {p.top_k}; it needs to be 1 .. {rows.shape[axis]}")
        values, indices = _largest(rows, p.top_k, axis)
        if along:
            return values if p.out_max_val else indices.to(x.dtype)
        found = [indices.to(x.dtype), values] if p.out_max_val else [indices.to(x.dtype)]
        return torch.stack(found, 1).reshape(x.shape[0], len(found), p.top_k, *[1] * (x.dim() - 3))


def _largest(x: torch.Tensor, k: int, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest along `axis`, largest first; of equal values the one with the higher index."""
    flipped = x.flip(axis)
    if k == 1:
        value, index = flipped.max(axis, keepdim=True)
        return value, x.shape[axis] - 1 - index
    values, indices = torch.sort(flipped, dim=axis, descending=True, stable=True)
    return values.narrow(axis, 0, k), x.shape[axis] - 1 - indices.narrow(axis, 0, k)


@register
class BatchReindex(Function):
    """The rows of the first bottom that the second names, in its order."""

    bottoms, tops = (2, 2), (1, 1)
    in_place = False
    no_gradient = (1,)
    replayable = False

    def compute(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        if index.dim() != 1:
            raise self.error(f"the indices have shape {tuple(index.shape)}; they need 1 axis")
        rows = index.detach().long()
        if not x.is_meta and rows.numel() and not 0 <= rows.min() <= rows.max() < x.shape[0]:
            raise self.error(f"an index is outside 0 .. {x.shape[0] - 1}")
        return x.index_select(0, rows)


@register
class Filter(EngineLayer):
    """The rows of the bottoms where the last bottom, the selector, is not zero."""

    bottoms, tops = (2, math.inf), (1, math.inf)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if len(top) != len(bottom) - 1:
            raise self.error(f"{len(top)} tops for {len(bottom) - 1} bottoms and a selector")
        self.first = True

    def _rows(self, bottom: Sequence[Blob]) -> torch.Tensor:
        selector = bottom[-1].values.tensor(mode.device())
        if selector.numel() != selector.shape[0]:
            raise self.error(f"the selector has shape {bottom[-1].shape}; it needs one a row")
        for b in bottom[:-1]:
            if b.shape[0] != selector.shape[0]:
                raise self.error(f"{selector.shape[0]} selectors for a bottom of shape {b.shape}")
        return selector.flatten().nonzero()[:, 0]

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        count = bottom[0].shape[0] if self.first else len(self._rows(bottom))
        self.first = False
        for b, t in zip(bottom, top):
            t.resize((count, *b.shape[1:]))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        rows = self._rows(bottom)
        for b, t in zip(bottom, top):
            t.values.set(b.values.tensor(rows.device).index_select(0, rows))

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        rows = self._rows(bottom)
        if propagate_down[-1]:
            raise self.error("has no gradient for its selector")
        for b, t, go in zip(bottom, top, propagate_down):
            if go:
                grad = torch.zeros(b.shape, device=rows.device)
                b.gradient.set(grad.index_copy_(0, rows, t.gradient.tensor(rows.device)))


@register
class Parameter(EngineLayer):
    """A parameter of the given shape as a top, which is its own memory."""

    bottoms, tops = (0, 0), (1, 1)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.blobs.add_blob(*self.layer_param.parameter_param.shape.dim)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        top[0].share_data(self.blobs[0])
        top[0].share_diff(self.blobs[0])

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        pass


@register
class Silence(EngineLayer):
    """Reads its bottoms and does nothing, so that they are not outputs of the net."""

    bottoms, tops = (1, math.inf), (0, 0)
    replayable = True

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        for blob, go in zip(bottom, propagate_down):
            if go:
                blob.gradient.zero()
