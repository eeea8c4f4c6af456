"""Layers of small, gated and residual nets.

Depthwise convolutions, ReLU6, ShuffleChannel, Axpy, EltwiseAffine, PadChannel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...blob import Blob
from ...proto import caffe_pb2
from ..axes import canonical_axis
from ..convolution import Convolution
from ..function import Function, Shape, Tensors, Traced
from ..registry import register
from ..windows import POINT, Window


@register
class ConvolutionDepthwise(Convolution):
    """A Convolution of each channel with its own kernels, whatever `group` says (ShuffleNet).

    The weights are num_output x 1 x kernel; num_output is a multiple of the channels (Howard et
    al. 2017, "MobileNets", section 3.1).
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.convolution_param, bottom[0].shape
        p.group = shape[canonical_axis(self, p.axis, shape)]
        super().setup(bottom, top)


@register
class DepthwiseConvolution(Convolution):
    """A Convolution under the name that a faster implementation of depthwise ones has in forks.

    As there, `group` is the one of convolution_param.
    """


@register
class ReLU6(Function):
    """y = min(max(x, 0), 6) + negative_slope * min(x, 0) (Howard et al. 2017; MobileNet-YOLO)."""

    bottoms, tops = (1, 1), (1, 1)
    keeps_shape = True
    pointwise = True
    precision = "kept"
    idempotent = True

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        slope = self.layer_param.relu6_param.negative_slope
        y = x.clamp(0, 6)
        return y + slope * x.clamp(max=0) if slope else y

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        return Traced(self.compute)

    def window(self) -> Window | None:
        return POINT


@register
class ShuffleChannel(Function):
    """The channels of G groups in turn, y[k G + g] = x[g C / G + k] (Zhang et al. 2017).

    x is N x C x any further axes; G is `group` of shuffle_channel_param (1).
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    precision = "kept"

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        group, shape = self.layer_param.shuffle_channel_param.group, bottoms[0]
        if len(shape) < 2 or group < 1 or shape[1] % group:
            raise self.shape_error(
                f"group {group} does not divide axis 1 of a bottom of shape {shape}"
            )
        return bottoms

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        group = self.layer_param.shuffle_channel_param.group
        groups = x.reshape(x.shape[0], group, x.shape[1] // group, *x.shape[2:])
        return groups.transpose(1, 2).reshape(x.shape)

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        return Traced(self.compute, aliases=True)


@register
class Axpy(Function):
    """y[n, c] = a[n, c] * x[n, c] + b[n, c], one factor for each channel (Hu et al. 2017, SENet).

    The bottoms are a, N x C or N x C x 1 x 1, and x and b, N x C x H x W.
    """

    bottoms, tops = (3, 3), (1, 1)
    in_place = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        a, x, b = bottoms
        if a[:2] != x[:2] or set(a[2:]) - {1} or x != b or len(x) < 2:
            raise self.shape_error(
                f"bottoms of shapes {a}, {x} and {b}; they need N x C, and twice N x C x H x W"
            )
        return [x]

    def compute(self, a: torch.Tensor, x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a.reshape(*x.shape[:2], *[1] * (x.dim() - 2)) * x + b


@register
class EltwiseAffine(Function):
    """y = a[c] x + b[c] for each channel c, with learned a and b (ducha-aiki/caffenet-benchmark).

    x is N x C x any further axes; a, filled with 1, and b, with 0, have C values, or one value each
    with channel_shared.
    """

    bottoms, tops = (1, 1), (1, 1)
    pointwise = True

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.eltwise_affine_param, bottom[0].shape
        if len(shape) < 2:
            raise self.shape_error(f"the bottom has shape {shape}; it needs a channel axis")
        size = () if p.channel_shared else shape[1:2]
        one = caffe_pb2.FillerParameter(type="constant", value=1)
        self.add_parameter(size, p.slope_filler if p.HasField("slope_filler") else one)
        self.add_parameter(size, p.bias_filler)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        size = self.blobs[0].shape
        if size and bottoms[0][1:2] != size:
            raise self.shape_error(
                f"the bottom has shape {bottoms[0]}; axis 1 needs {size[0]} channels"
            )
        return bottoms

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        spread = (1, -1, *[1] * (x.dim() - 2))
        slope, shift = (w.reshape(spread) for w in self.weights)
        return x * slope + shift

    def channel_affine(self, shape: Shape) -> Tensors | None:
        slope, shift = self.parameters(torch.device("cpu"))
        return slope.reshape(-1).expand(shape[1]), shift.reshape(-1).expand(shape[1])


@register
class PadChannel(Function):
    """x, followed by num_channels_to_pad channels of zeros (Han et al. 2017, PyramidNet).

    x is N x C x any further axes (jhkim89/PyramidNet-caffe).
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    precision = "kept"

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        (shape,), more = bottoms, self.layer_param.pad_channel_param.num_channels_to_pad
        if len(shape) < 2:
            raise self.shape_error(f"the bottom has shape {shape}; it needs a channel axis")
        return [(shape[0], shape[1] + more, *shape[2:])]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        more = self.layer_param.pad_channel_param.num_channels_to_pad
        return torch.cat([x, x.new_zeros(x.shape[0], more, *x.shape[2:])], 1)
