"""Utility layers: the ones that move, join and combine blobs, and Python layers."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import torch

from .. import mode
from ..blob import Blob
from ..errors import CaffeError
from ..fillers import fill
from .base import Function, Layer, _registry, canonical_axis, register


@register
class Split(Layer):
    """One blob under several names; its gradient is the sum of theirs.

    The net inserts it where a blob has several readers.
    """

    bottoms, tops = (1, 1), (1, math.inf)
    in_place = False

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


@register
class Concat(Function):
    """The bottoms one after the other along `axis`."""

    bottoms, tops = (1, math.inf), (1, 1)
    in_place = False

    def compute(self, *xs: torch.Tensor) -> torch.Tensor:
        p, shape = self.layer_param.concat_param, xs[0].shape
        if p.HasField("axis") and p.HasField("concat_dim"):
            raise self.error("axis and concat_dim are two names of one field; give one of them")
        axis = canonical_axis(self, p.concat_dim if p.HasField("concat_dim") else p.axis, shape)
        for x in xs[1:]:
            if x.dim() != len(shape) or any(
                a != b for i, (a, b) in enumerate(zip(x.shape, shape)) if i != axis
            ):
                raise self.error(
                    f"bottoms of shapes {tuple(shape)} and {tuple(x.shape)}; all axes but {axis} "
                    "need to be equal"
                )
        return torch.cat(xs, axis)


@register
class Eltwise(Function):
    """The product, weighted sum or maximum of the bottoms, element by element."""

    bottoms, tops = (2, math.inf), (1, 1)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.eltwise_param
        if len(p.coeff) not in (0, len(bottom)):
            raise self.error(f"{len(p.coeff)} coeff for {len(bottom)} bottoms; one each is needed")
        if p.coeff and p.operation != p.SUM:
            raise self.error("coeff is for operation SUM")

    def compute(self, *xs: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.eltwise_param
        for x in xs[1:]:
            if x.shape != xs[0].shape:
                raise self.error(
                    f"bottoms of shapes {tuple(xs[0].shape)} and {tuple(x.shape)}; they need to be "
                    "equal"
                )
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


@register
class Scale(Function):
    """y = w * x (+ b), w spread over x from `axis` on; w is a second bottom or a parameter."""

    bottoms, tops = (1, 2), (1, 1)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, where = self.layer_param.scale_param, f"layer {self.name!r}"
        shape = bottom[0].shape
        self.axis = 0
        if len(bottom) == 1:
            self.axis = canonical_axis(self, p.axis, shape)
            end = len(shape) if p.num_axes == -1 else self.axis + p.num_axes
            if p.num_axes < -1 or end > len(shape):
                raise self.error(
                    f"axis {p.axis} and num_axes {p.num_axes} reach past a bottom of shape {shape}"
                )
            self.blobs.add_blob(*shape[self.axis : end])
            if p.HasField("filler"):
                fill(self.blobs[0], p.filler, where)
            else:
                self.blobs[0].data[...] = 1
        if p.bias_term:
            self.blobs.add_blob(*(bottom[1].shape if len(bottom) == 2 else self.blobs[0].shape))
            fill(self.blobs[-1], p.bias_filler, where)

    def compute(self, x: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        p = self.layer_param.scale_param
        scale = self.weights[0] if factor is None else factor
        axis = self.axis
        if factor is not None and scale.dim():
            axis = canonical_axis(self, p.axis, x.shape)
        elif not scale.dim():
            axis = 0
        if tuple(x.shape[axis : axis + scale.dim()]) != tuple(scale.shape):
            raise self.error(
                f"a factor of shape {tuple(scale.shape)} does not match a bottom of shape "
                f"{tuple(x.shape)} from axis {axis} on"
            )
        spread = (*scale.shape, *[1] * (x.dim() - axis - scale.dim()))
        y = x * scale.reshape(spread)
        return y + self.weights[-1].reshape(spread) if p.bias_term else y


@register
class Softmax(Function):
    """y = exp(x) / sum of exp(x) along `axis`."""

    bottoms, tops = (1, 1), (1, 1)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, canonical_axis(self, self.layer_param.softmax_param.axis, x.shape))


@register
class Silence(Layer):
    """Reads its bottoms and does nothing, so that they are not outputs of the net."""

    bottoms, tops = (1, math.inf), (0, 0)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        for blob, go in zip(bottom, propagate_down):
            if go:
                blob.gradient.zero()


def _python(param: Any) -> Layer:
    """The user's layer that python_param names by module and class."""
    p = param.python_param
    module = importlib.import_module(p.module)
    cls = getattr(module, p.layer, None)
    if not (isinstance(cls, type) and issubclass(cls, Layer)):
        raise CaffeError(
            f"layer {param.name!r} (Python): module {p.module!r} has no caffe.Layer named "
            f"{p.layer!r}"
        )
    return cls(param)


_registry["Python"] = _python
