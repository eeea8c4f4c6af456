"""DenseBlock: the layers of a DenseNet between two transitions as one layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ... import boost_random, mode
from ...blob import Blob
from ...proto import caffe_pb2
from ..function import Function
from ..registry import register

#: Added to variances (cuDNN's least epsilon).
EPSILON = 1e-5
#: The kinds of parameters: kernels, scales, biases, means and variances of each layer.
KINDS = 5


@register
class DenseBlock(Function):
    """x, and the growthRate channels of each layer on all channels before (Huang et al. 2017).

    A layer is a batch normalisation with scale and bias, ReLU, and a convolution of filter_H x
    filter_W; with use_BC first a normalisation, ReLU and a 1 x 1 convolution to 4 growthRate
    channels. With use_dropout, TRAIN drops dropout_amount of a layer's values. TRAIN normalises by
    the batch, TEST by the running mean and variance.

    The parameters are, for the numTransition layers, all kernels, then the scales, biases, means
    and variances of the first normalisations; with use_BC the 1 x 1 kernels and the same of the
    second normalisations; and one value, by which running means and variances are divided, as by
    the third of BVLC's BatchNorm. Files of older versions lack it. Sources: the paper
    (sections 3 and 4) and the layer of Tongcheng/caffe, which senlinuc/caffe_ocr has.
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    precision = "full"

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        """In TRAIN, each forward moves the running statistics, and draws a mask."""
        return self.phase == caffe_pb2.TRAIN

    @property
    def replayable(self) -> bool:  # type: ignore[override]
        """A CUDA graph may contain the layer where it changes nothing."""
        return not self.stateful

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.denseblock_param, bottom[0].shape
        if len(shape) != 4 or min(p.numTransition, p.growthRate) < 1:
            raise self.shape_error(
                f"bottom of shape {shape}, numTransition {p.numTransition}, growthRate "
                f"{p.growthRate}; it needs N x C x H x W, and both at least 1"
            )
        if (p.conv_verticalStride, p.conv_horizentalStride) != (1, 1):
            raise self.error("the strides are not 1; the channels of all layers need one size")
        count, grown = p.numTransition, p.growthRate
        channels = [shape[1] + i * grown for i in range(count)]
        window = (p.filter_H, p.filter_W)
        stored = len(self.layer_param.blobs)
        self.divides = not stored or stored % KINDS == 1
        inner = [4 * grown] * count if p.use_BC else channels
        self._add_layers([(grown, n, *window) for n in inner], channels)
        if p.use_BC:
            self._add_layers([(4 * grown, n, 1, 1) for n in channels], inner)
        if self.divides:
            self.add_parameter((1,), caffe_pb2.FillerParameter())
        parts = len(self.blobs) // (KINDS * count)
        statistics = [
            (part * KINDS + kind) * count + i
            for part in range(parts)
            for kind in (3, 4)
            for i in range(count)
        ]
        self._keep_from_learning([*statistics, *range(parts * KINDS * count, len(self.blobs))])

    def _add_layers(self, kernels: Sequence[tuple[int, ...]], normalised: Sequence[int]) -> None:
        """Add the parameters of all layers with these kernels after channels to be normalised."""
        p = self.layer_param.denseblock_param
        one = caffe_pb2.FillerParameter(value=1)
        zero = caffe_pb2.FillerParameter()
        scale = p.BN_Scaler_Filler if p.HasField("BN_Scaler_Filler") else one
        bias = p.BN_Bias_Filler if p.HasField("BN_Bias_Filler") else zero
        for shape in kernels:
            self.add_parameter(shape, p.Filter_Filler)
        for filler in (scale, bias, zero, zero if self.divides else one):
            for channels in normalised:
                self.add_parameter((1, channels, 1, 1), filler)

    def _keep_from_learning(self, indices: Sequence[int]) -> None:
        """Set lr_mult and decay_mult of the running statistics to 0."""
        specs = self.layer_param.param
        while len(specs) < max(indices) + 1:
            specs.add()
        for i in indices:
            specs[i].lr_mult = specs[i].decay_mult = 0

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        p, (n, c, *size) = self.layer_param.denseblock_param, bottoms[0]
        first = self.blobs[p.numTransition].shape[1]
        if len(bottoms[0]) != 4 or c != first:
            raise self.shape_error(f"bottom of shape {bottoms[0]}; it needs {first} channels")
        if (p.filter_H - 1, p.filter_W - 1) != (2 * p.pad_h, 2 * p.pad_w):
            raise self.error(
                f"filter {p.filter_H} x {p.filter_W} with pad {p.pad_h} x {p.pad_w} changes the "
                "size; the channels of all layers need one size"
            )
        return [(n, c + p.numTransition * p.growthRate, *size)]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.denseblock_param
        for i in range(p.numTransition):
            y = self._normalised(x, 0, i)
            if p.use_BC:
                y = self._normalised(F.conv2d(y, self._parameter(1, 0, i)), 1, i)
            y = F.conv2d(y, self._parameter(0, 0, i), padding=(p.pad_h, p.pad_w))
            if p.use_dropout and p.dropout_amount and self.stateful:
                y = y * self._mask(y, 1 - p.dropout_amount)
            x = torch.cat([x, y], 1)
        return x

    def _parameter(self, part: int, kind: int, layer: int) -> torch.Tensor:
        count = self.layer_param.denseblock_param.numTransition
        return self.weights[(part * KINDS + kind) * count + layer]

    def _normalised(self, x: torch.Tensor, part: int, layer: int) -> torch.Tensor:
        """Return relu(scale (x - mean) / std + bias) by the normalisation of a part."""
        scale, bias, mean, variance = (self._parameter(part, kind, layer) for kind in range(1, 5))
        if self.stateful:
            mean, variance = x.mean((0, 2, 3), True), x.var((0, 2, 3), False, True)
            self._follow(part, layer, mean.detach(), variance.detach(), x.numel() // x.shape[1])
        elif self.divides:
            total = self.weights[-1]
            factor = torch.where(total == 0, total, 1 / total)
            mean, variance = mean * factor, variance * factor
        return torch.relu((x - mean) / (variance + EPSILON).sqrt() * scale + bias)

    def _follow(self, part: int, layer: int, mean: Any, variance: Any, values: int) -> None:
        """Move the running statistics of a normalisation towards those of this batch."""
        if mean.is_meta:
            return
        p = self.layer_param.denseblock_param
        kept = 1 - p.moving_average_fraction
        unbiased = variance * (values / max(1, values - 1))
        for kind, value in ((3, mean), (4, unbiased)):
            blob = self.blobs[(part * KINDS + kind) * p.numTransition + layer]
            memory = blob.values.mutable(value.device).data
            memory.mul_(kept).add_(value, alpha=1 if self.divides else 1 - kept)
        if self.divides and part == 0 and layer == 0:
            self.blobs[-1].values.mutable(mean.device).data.mul_(kept).add_(1)

    def _mask(self, x: torch.Tensor, keep: float) -> torch.Tensor:
        """Return 1 / keep with the probability `keep` and else 0."""
        if x.is_meta:
            return x
        if x.device.type != "cpu":
            mask = torch.empty_like(x).bernoulli_(keep, generator=mode.generator(x.device))
            return mask.div_(keep)
        values = boost_random.bernoulli(mode.rng(), keep, x.numel()).reshape(x.shape)
        return torch.from_numpy(values).to(x.dtype).div_(keep)
