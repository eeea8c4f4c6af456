"""Normalization layers: LRN, MVN, BatchNorm, Softmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .. import mode
from ..blob import Blob
from ..ops import batch_norm
from ..ops.lrn import Normalization
from ..ops.slope import with_slope
from ..proto import caffe_pb2
from .axes import canonical_axis
from .function import Call, Function, Shape, Tensors, Traced
from .registry import register
from .windows import POINT, Window


@register
class LRN(Function):
    """y = x / (k + alpha / n * sum of x^2 over n neighbours) ^ beta (lrn_layer.cpp).

    x is N x C x H x W and n is local_size. The neighbours are channels (Krizhevsky et al. 2012,
    section 3.3); with WITHIN_CHANNEL they are the n x n positions around, divided by n^2, and k is
    1.
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    pointwise = True

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.lrn_param
        if p.local_size % 2 == 0:
            raise self.error(f"local_size is {p.local_size}; it needs to be odd")
        self._across = Normalization(p.local_size, p.alpha / p.local_size, p.beta, p.k)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        if len(bottoms[0]) != 4:
            raise self.shape_error(f"the bottom has shape {bottoms[0]}; it needs 4 axes")
        return bottoms

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.lrn_param
        n = p.local_size
        if p.norm_region == p.ACROSS_CHANNELS:
            return self._across(x)
        mean = F.avg_pool2d(F.pad(x * x, (n // 2,) * 4), n, 1)
        return x * (1 + p.alpha * mean) ** -p.beta

    def window(self) -> Window | None:
        p = self.layer_param.lrn_param
        return POINT if p.norm_region == p.ACROSS_CHANNELS else None


@register
class MVN(Function):
    """y = (x - mean) / (std + eps) (mvn_layer.cpp).

    Mean and std are those of each channel of each image, or with across_channels of each image.
    Without normalize_variance the divisor is 1. x has 1 to 4 axes.
    """

    bottoms, tops = (1, 1), (1, 1)
    pointwise = True

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        if not 1 <= len(bottoms[0]) <= 4:
            raise self.shape_error(f"the bottom has shape {bottoms[0]}; it needs 1 to 4 axes")
        return [(*bottoms[0], *[1] * (4 - len(bottoms[0])))]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.mvn_param
        x = x.reshape(*x.shape, *[1] * (4 - x.dim()))
        rows = x.flatten(1 if p.across_channels else 2)
        y = rows - rows.mean(-1, keepdim=True)
        if p.normalize_variance:
            variance = (y * y).mean(-1, keepdim=True)
            # As in Caffe, the gradient treats eps as a part of the standard deviation.
            y = y / with_slope(variance, lambda v: v.sqrt() + p.eps, lambda v, std: 0.5 / std)
        return y.reshape(x.shape)


@register
class BatchNorm(Function):
    """y = (x - mean) / sqrt(var + eps) for each channel (batch_norm_layer.cpp).

    x is N x C x any further axes. With use_global_stats, which is the default in TEST alone, mean
    and variance are the running ones; without, they are those of the batch. The three parameters
    are the running sums of means (C) and of variances (C), and of the weight (1) that divides both.

    With scale_bias, a field of NVCaffe, y is also multiplied by a learned scale (C) and a learned
    bias (C) is added, which are two more parameters; so do use_weight_bias, and bias_term, of
    intel/caffe where they are set. scale_filler, or `filler` of intel/caffe, fills the scale.
    disable_mean and disable_variance, of happynear/caffe-windows, take 0 and 1 in their place.
    update_global_stats, of DeepLab's fork, has the running sums follow the batches also where they
    are used.
    """

    bottoms, tops = (1, 1), (1, 1)
    pointwise = True
    stateful = True
    replayable = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.batch_norm_param, bottom[0].shape
        self.uses_running_sums = (
            p.use_global_stats if p.HasField("use_global_stats") else self.phase == caffe_pb2.TEST
        )
        if len(shape) < 2:
            raise self.shape_error(f"the bottom has shape {shape}; it needs a channel axis")
        for size in (shape[1], shape[1], 1):
            self.blobs.add_blob(size)
        # The solver leaves the running sums alone.
        for i in range(3):
            if i == len(self.layer_param.param):
                self.layer_param.param.add().lr_mult = 0
            elif self.layer_param.param[i].lr_mult != 0:
                raise self.error("cannot learn its statistics; give its params lr_mult: 0")
        self.scales = p.scale_bias or (p.HasField("use_weight_bias") and p.use_weight_bias)
        if self.scales:
            one = caffe_pb2.FillerParameter(type="constant", value=1)
            names = [name for name in ("scale_filler", "filler") if p.HasField(name)]
            self.add_parameter(shape[1:2], getattr(p, names[0]) if names else one)
            if p.scale_bias or p.bias_term:
                self.add_parameter(shape[1:2], p.bias_filler)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        shape, channels = bottoms[0], self.blobs[0].shape[0]
        if len(shape) < 2 or shape[1] != channels:
            raise self.shape_error(
                f"the bottom has shape {shape}; axis 1 needs {channels} channels"
            )
        return bottoms

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p, (mean, var, weight, *affine) = self.layer_param.batch_norm_param, self.weights
        if not self.uses_running_sums and self._normalizes_fast(x):
            y, mean, var = batch_norm.normalize(x, p.eps)
            self._add_to_sums(mean, var, x.numel() // mean.numel())
            shape = (-1, *[1] * (x.dim() - 2))
            for i, parameter in enumerate(affine):
                y = y + parameter.view(shape) if i else y * parameter.view(shape)
            return y
        channels = x.flatten(2) if x.dim() > 2 else x[..., None]
        if self.uses_running_sums:
            scale = torch.where(weight == 0, torch.zeros_like(weight), 1 / weight).detach()
            mean, var = (_averages(sums, scale).detach() for sums in (mean, var))
            if p.update_global_stats and not x.is_meta:
                self._follow(channels.detach())
        else:
            mean = channels.mean((0, 2))
            var = ((channels - mean[:, None]) ** 2).mean((0, 2))
            self._add_to_sums(mean.detach(), var.detach(), x.numel() // mean.numel())
        y = channels if p.disable_mean else channels - mean[:, None]
        y = y if p.disable_variance else y / (var[:, None] + p.eps).sqrt()
        for i, parameter in enumerate(affine):
            y = y + parameter[:, None] if i else y * parameter[:, None]
        return y.reshape(x.shape)

    def _normalizes_fast(self, x: torch.Tensor) -> bool:
        """Return whether `batch_norm.normalize` computes the layer for this bottom."""
        p = self.layer_param.batch_norm_param
        plain = not p.disable_mean and not p.disable_variance and x.dim() > 2
        return plain and x.device.type == "cpu" and x.dtype == torch.float32 and mode.fast()

    def is_pure(self) -> bool:
        follows = self.layer_param.batch_norm_param.update_global_stats
        return self.uses_running_sums and not follows and not self.record

    def channel_affine(self, shape: Shape) -> Tensors | None:
        if not self.is_pure():
            return None
        p = self.layer_param.batch_norm_param
        mean, var, weight, *affine = self.parameters(torch.device("cpu"))
        scale = torch.where(weight == 0, torch.zeros_like(weight), 1 / weight)
        ones, zeros = torch.ones_like(mean), torch.zeros_like(mean)
        factor = ones if p.disable_variance else (_averages(var, scale) + p.eps).rsqrt()
        term = zeros if p.disable_mean else -_averages(mean, scale) * factor
        if affine:
            factor, term = factor * affine[0], term * affine[0]
        return factor, term + affine[1] if len(affine) > 1 else term

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        # As in Caffe, the bottom gets its gradient whatever `propagate_down` says.
        super().backward(top, [True], bottom)

    def _follow(self, channels: torch.Tensor) -> None:
        """Add the mean and the variance of a batch, N x C x values, to the running sums."""
        mean = channels.mean((0, 2))
        var = ((channels - mean[:, None]) ** 2).mean((0, 2))
        self._add_to_sums(mean, var, channels.numel() // mean.numel())

    def _add_to_sums(self, mean: torch.Tensor, var: torch.Tensor, count: int) -> None:
        """Decay the running sums and add the mean and the unbiased variance of this batch.

        mean, var: C values each. count: the number of values in a channel.
        """
        fraction = self.layer_param.batch_norm_param.moving_average_fraction
        unbiased = count / (count - 1) if count > 1 else 1.0
        terms = (mean, var * unbiased, torch.ones(1, device=mean.device))
        for blob, term in zip(self.blobs, terms):
            blob.values.mutable(mean.device).data.mul_(fraction).add_(term)


def _averages(sums: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return running sums times a scale of one value; 0 where the scale is 0, as in BLAS."""
    return (sums * scale).masked_fill(scale == 0, 0)


@register
class Softmax(Function):
    """y = exp(x) / sum of exp(x) along `axis` of softmax_param (1) (softmax_layer.cpp)."""

    bottoms, tops = (1, 1), (1, 1)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        canonical_axis(self, self.layer_param.softmax_param.axis, bottoms[0])
        return bottoms

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, canonical_axis(self, self.layer_param.softmax_param.axis, x.shape))

    def bind(self, shapes: Sequence[Shape]) -> Call:
        axis = canonical_axis(self, self.layer_param.softmax_param.axis, shapes[0])
        softmax = torch.softmax
        return lambda x: softmax(x, axis)

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        return Traced(self.bind(shapes))
