"""Common layers: InnerProduct, Dropout."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .. import mode
from ..blob import Blob
from ..fillers import fill
from ..ops.product import large, product, room
from ..proto import caffe_pb2
from .axes import canonical_axis
from .function import Function
from .registry import register


@register
class InnerProduct(Function):
    """y[n] = w x[n] + b, where x[n] is everything from `axis` on as one vector."""

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
        self.blobs.add_blob(*matrix)
        fill(self.blobs[0], p.weight_filler, f"layer {self.name!r}")
        if p.bias_term:
            self.blobs.add_blob(p.num_output)
            fill(self.blobs[1], p.bias_filler, f"layer {self.name!r}")

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        shape, found = bottoms[0], math.prod(bottoms[0][self.axis :])
        if found != self.inputs:
            raise self.error(
                f"a bottom of shape {shape} has {found} values from axis {self.axis} on; the "
                f"weights need {self.inputs}"
            )
        return [(*shape[: self.axis], self.layer_param.inner_product_param.num_output)]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        def matrix(weights: torch.Tensor) -> torch.Tensor:
            return weights.t() if self.layer_param.inner_product_param.transpose else weights

        w, b = self.weight_and_bias()
        rows = x.reshape(-1, self.inputs)
        y = product(rows, matrix(w), b, room(self.blobs[0], w, matrix))
        return y.view(*x.shape[: self.axis], y.shape[1])

    def rounds_weight(self) -> bool:
        return large(self.blobs[0])


@register
class Dropout(Function):
    """TRAIN: each value is zeroed with chance `dropout_ratio`, the rest grow to keep the mean."""

    precision = "kept"
    bottoms, tops = (1, 1), (1, 1)
    keeps_shape = True

    @property
    def idempotent(self) -> bool:  # type: ignore[override]
        return self.phase == caffe_pb2.TEST

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        return self.phase == caffe_pb2.TRAIN

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        ratio = self.layer_param.dropout_param.dropout_ratio
        if not 0 <= ratio < 1:
            raise self.error(f"dropout_ratio is {ratio:g}; it needs to be at least 0 and below 1")

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        if self.phase == caffe_pb2.TEST:
            return x.view_as(x)
        keep = 1 - self.layer_param.dropout_param.dropout_ratio
        mask = torch.empty_like(x).bernoulli_(keep, generator=mode.generator(x.device))
        return x * mask.div_(keep)


@register
class Embed(Function):
    """y[n] = w[x[n]] + b: the row of a table for each index."""

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    no_gradient = (0,)
    replayable = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, where = self.layer_param.embed_param, f"layer {self.name!r}"
        if p.num_output < 1 or p.input_dim < 1:
            raise self.error(
                f"num_output {p.num_output}, input_dim {p.input_dim}; both need to be at least 1"
            )
        self.blobs.add_blob(p.input_dim, p.num_output)
        fill(self.blobs[0], p.weight_filler, where)
        if p.bias_term:
            self.blobs.add_blob(p.num_output)
            fill(self.blobs[1], p.bias_filler, where)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        w, b = self.weight_and_bias()
        index = x.detach().long()
        if not x.is_meta and x.numel() and not 0 <= index.min() <= index.max() < w.shape[0]:
            raise self.error(f"an index is outside 0 .. {w.shape[0] - 1}")
        y = F.embedding(index, w)
        return y if b is None else y + b
