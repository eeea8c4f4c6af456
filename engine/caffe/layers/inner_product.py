"""Layers whose weights are a matrix: InnerProduct and Embed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from .. import mode
from ..blob import Blob
from ..ops import inner
from ..ops.product import bound, can_pack, large, packed, product, room
from .axes import canonical_axis
from .function import Call, Function, Shape
from .registry import register


@register
class InnerProduct(Function):
    """y[n] = w x[n] + b, where x[n] is all values from `axis` on as one vector.

    N x inputs becomes N x num_output (inner_product_layer.cpp); N stands for the axes before
    `axis` (1). The weights are num_output x inputs, or inputs x num_output with `transpose`.
    With `normalize`, a field of happynear/caffe-windows, the weights of each output are first
    divided by their length.
    """

    precision = "low"
    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.inner_product_param, bottom[0].shape
        if p.num_output < 1:
            raise self.error(f"num_output is {p.num_output}; it needs to be at least 1")
        self.axis = canonical_axis(self, p.axis, shape)
        self.inputs = math.prod(shape[self.axis :])
        matrix = (self.inputs, p.num_output) if p.transpose else (p.num_output, self.inputs)
        self.add_parameter(matrix, p.weight_filler)
        if p.bias_term:
            self.add_parameter((p.num_output,), p.bias_filler)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        shape, inputs = bottoms[0], math.prod(bottoms[0][self.axis :])
        if inputs != self.inputs:
            raise self.shape_error(
                f"a bottom of shape {shape} has {inputs} values from axis {self.axis} on; the "
                f"weights need {self.inputs}"
            )
        return [(*shape[: self.axis], self.layer_param.inner_product_param.num_output)]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        def matrix(weights: torch.Tensor) -> torch.Tensor:
            return weights.t() if self.layer_param.inner_product_param.transpose else weights

        w, b = self.weight_and_bias()
        rows = x.reshape(-1, self.inputs)
        if self.layer_param.inner_product_param.normalize:
            directions = F.normalize(matrix(w), dim=1)
            return F.linear(rows, directions, b).view(*x.shape[: self.axis], -1)
        y = product(rows, matrix(w), b, room(self.blobs[0], w, matrix))
        return y.view(*x.shape[: self.axis], y.shape[1])

    def rounds_weight(self) -> bool:
        return large(self.blobs[0])

    def bind(self, shapes: Sequence[Shape]) -> Call:
        p, low, (shape,) = self.layer_param.inner_product_param, mode.low_dtype(), shapes
        inputs, rows = self.inputs, math.prod(shape[: self.axis])
        held = any(blob.values.held() for blob in self.blobs)
        if low == torch.float32 and not p.normalize:
            w, *rest = self.parameters(torch.device("cpu"))
            if not p.transpose and self.axis == 1 and inner.is_usable(shape, w):
                return inner.Product(shape, w, rest[0] if rest else None)
            multiply = bound(rows, w.t() if p.transpose else w, rest[0] if rest else None)
        elif can_pack(low) and not (held or p.normalize or p.transpose):
            multiply = self._packed(rows, low)
        else:
            return super().bind(shapes)
        top = (*shape[: self.axis], p.num_output)
        if len(shape) == 2 and self.axis == 1:
            return multiply
        return lambda x: multiply(x.reshape(rows, inputs)).view(top)

    def _packed(self, rows: int, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the product with weights that are rounded and in oneDNN's order."""
        weights, *rest = (blob.values for blob in self.blobs)

        def part(place: slice) -> torch.Tensor:
            read = weights.rounded(dtype, place)
            return weights.tensor()[place].to(dtype) if read is None else read

        b = rest[0].tensor().to(dtype) if rest else None
        return packed(rows, (weights.shape[0], weights.shape[1]), part, b)


@register
class Embed(Function):
    """y[n] = w[x[n]] + b: the row of a table for each index (embed_layer.cpp).

    x is of any shape and holds indices 0 .. input_dim - 1; y has a further axis of num_output. The
    weights are input_dim x num_output.
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    no_gradient = (0,)
    replayable = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.embed_param
        if p.num_output < 1 or p.input_dim < 1:
            raise self.error(
                f"num_output {p.num_output}, input_dim {p.input_dim}; both need to be at least 1"
            )
        self.add_parameter((p.input_dim, p.num_output), p.weight_filler)
        if p.bias_term:
            self.add_parameter((p.num_output,), p.bias_filler)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        return [(*bottoms[0], self.layer_param.embed_param.num_output)]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        w, b = self.weight_and_bias()
        index = x.detach().long()
        if not x.is_meta and x.numel() and not 0 <= index.min() <= index.max() < w.shape[0]:
            raise self.error(
                f"an index is outside 0 .. {w.shape[0] - 1}; the indices are {int(index.min())} .. "
                f"{int(index.max())}"
            )
        y = F.embedding(index, w)
        return y if b is None else y + b
