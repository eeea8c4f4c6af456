"""Local, a convolution without shared weights, and SpatialDropout."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ... import boost_random, mode
from ...blob import Blob
from ...proto import caffe_pb2
from ..function import Function
from ..registry import register


@register
class Local(Function):
    """A convolution with other weights at each position (Taigman et al. 2014, DeepFace, 2).

    N x C x H x W becomes N x num_output x h x w as with a Convolution. The weights are
    num_output x 1 x (C kernel_size^2) x (h w), the bias 1 x 1 x num_output x (h w)
    (happynear/caffe-windows).
    """

    pure = True
    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    loose_axes = True

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.local_param, bottom[0].shape
        if len(shape) != 4 or p.num_output < 1 or p.kernel_size < 1 or p.stride < 1:
            raise self.error(
                f"num_output {p.num_output}, kernel_size {p.kernel_size}, stride {p.stride} for a "
                f"bottom of shape {shape}; 4 axes and values above 0 are needed"
            )
        self.size = [(n + 2 * p.pad - p.kernel_size) // p.stride + 1 for n in shape[2:]]
        if min(self.size) < 1:
            raise self.shape_error(
                f"a bottom of shape {shape} is smaller than the kernel {p.kernel_size} "
                f"(pad {p.pad}); it needs a larger input"
            )
        positions, values = math.prod(self.size), shape[1] * p.kernel_size**2
        self.add_parameter((p.num_output, 1, values, positions), p.weight_filler)
        if p.bias_term:
            self.add_parameter((1, 1, p.num_output, positions), p.bias_filler)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.local_param
        weights, bias = self.weight_and_bias()
        _, _, values, positions = weights.shape
        columns = F.unfold(x, p.kernel_size, 1, p.pad, p.stride)
        if columns.shape[1:] != (values, positions):
            raise self.shape_error(
                f"a bottom of shape {tuple(x.shape)}; the weights are for maps of {self.size}"
            )
        y = (weights[:, 0] * columns[:, None]).sum(2)
        y = y if bias is None else y + bias[0]
        return y.reshape(len(x), p.num_output, *self.size)


@register
class SpatialDropout(Function):
    """Dropout of whole channels in TRAIN (Tompson et al. 2015, section 3.2; intel/caffe).

    x is N x C x any further axes. A channel is 0 with probability dropout_ratio, and else divided
    by 1 - dropout_ratio.
    """

    bottoms, tops = (1, 1), (1, 1)
    keeps_shape = True

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        """In TRAIN, each forward draws another mask."""
        return self.phase == caffe_pb2.TRAIN

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        ratio = self.layer_param.spatial_dropout_param.dropout_ratio
        if not 0 <= ratio < 1:
            raise self.error(f"dropout_ratio is {ratio:g}; it needs to be at least 0 and below 1")

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        if not self.stateful:
            return x.view_as(x)
        keep = 1 - self.layer_param.spatial_dropout_param.dropout_ratio
        drawn = boost_random.bernoulli(mode.rng(), keep, x.shape[0] * x.shape[1])
        mask = torch.from_numpy(drawn).to(x).reshape(*x.shape[:2], *[1] * (x.dim() - 2))
        return x * mask / keep
