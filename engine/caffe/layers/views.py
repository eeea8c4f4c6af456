"""Layers that move no values: Flatten, Reshape, Parameter, Silence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..blob import Blob
from .axes import canonical_axis
from .base import EngineLayer, zero_gradients
from .function import Call, Shape, Tensors, Traced
from .registry import register


class _Shared(EngineLayer):
    """A layer whose top is the memory of another blob, so that a pass has nothing to do."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        pass


class View(_Shared):
    """The memory of the bottom, data and gradient, under another shape."""

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    weights: Tensors = ()

    def new_shape(self, shape: tuple[int, ...]) -> Sequence[int]:
        """Return the shape of the top, which has equally many values as the bottom."""
        raise NotImplementedError

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Return the top of a bottom, in memory of its own or the bottom's."""
        return x.reshape(*self.new_shape(tuple(x.shape)))

    def bind(self, shapes: Sequence[Shape]) -> Call:
        """As `Function.bind`; the result may share memory with the bottom."""
        new = tuple(self.new_shape(tuple(shapes[0])))
        return lambda x: x.reshape(new)

    def traced(self, shapes: Sequence[Shape]) -> Traced:
        """As `Function.traced`."""
        return Traced(self.bind(shapes), aliases=True)

    def parameters(self, on: torch.device) -> Tensors:
        """As `Function.parameters`: none."""
        return ()

    def rounded(self, x: Sequence[torch.Tensor]) -> Tensors:
        """As `Function.rounded`: the values as they come."""
        return tuple(x)

    def takes_float32(self) -> bool:
        """As `Function.takes_float32`: no."""
        return False

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        view = bottom[0].view(self.new_shape(bottom[0].shape))
        top[0].share_data(view)
        top[0].share_diff(view)


@register
class Flatten(View):
    """The values of the bottom with the axes `axis` .. `end_axis` as one axis (flatten_layer.cpp).

    Where `end_axis` is just before `axis`, the top has a new axis of size 1 there. As in Caffe,
    bottom and top share the memory of the gradient from the first backward on.
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
            raise self.shape_error(
                f"axis {p.axis} comes after end_axis {p.end_axis} in a bottom of shape {shape}"
            )
        return *shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]


@register
class Reshape(View):
    """The values of the bottom under the shape of reshape_param (reshape_layer.cpp).

    In `shape`, 0 copies the size of the bottom's axis and -1 stands for the size that makes the
    number of values equal. `axis` and `num_axes` limit the new shape to a part of the axes.
    """

    def new_shape(self, shape: tuple[int, ...]) -> Sequence[int]:
        p, count = self.layer_param.reshape_param, math.prod(shape)
        start, end = self._replaced_axes(shape)
        dims = list(p.shape.dim)
        for i, size in enumerate(dims):
            if size == 0:
                if start + i >= end:
                    raise self.shape_error(
                        f"dim {i} is 0, but the bottom has no axis to copy; give its size"
                    )
                dims[i] = shape[start + i]
        if dims.count(-1) > 1:
            raise self.error(f"dims {dims} have more than one -1; only one size can be computed")
        new = [*shape[:start], *dims, *shape[end:]]
        fixed = math.prod(n for n in new if n != -1)
        if -1 in new:
            if fixed == 0 or count % fixed:
                raise self.shape_error(f"a bottom of {count} values does not divide into {new}")
            new[new.index(-1)] = count // fixed
        elif fixed != count:
            raise self.shape_error(f"a bottom of {count} values does not fit the shape {new}")
        return new

    def _replaced_axes(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the axes of the bottom that the new shape replaces, `start` to before `end`."""
        p, axes = self.layer_param.reshape_param, len(shape)
        # `start` may also be `axes`: then the new shape follows all axes.
        start = p.axis if p.axis >= 0 else axes + p.axis + 1
        end = axes if p.num_axes == -1 else start + p.num_axes
        if not 0 <= start <= axes or not start <= end <= axes:
            raise self.shape_error(
                f"axis {p.axis} and num_axes {p.num_axes} reach past a bottom of shape {shape}"
            )
        return start, end


@register
class Parameter(_Shared):
    """A parameter of the shape in parameter_param; the top is its memory (parameter_layer.hpp)."""

    bottoms, tops = (0, 0), (1, 1)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.blobs.add_blob(*self.layer_param.parameter_param.shape.dim)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        top[0].share_data(self.blobs[0])
        top[0].share_diff(self.blobs[0])


@register
class Silence(EngineLayer):
    """Reads its bottoms, so that they are no outputs of the net; their gradient is 0."""

    bottoms, tops = (1, math.inf), (0, 0)
    replayable = True

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        zero_gradients(propagate_down, bottom)
