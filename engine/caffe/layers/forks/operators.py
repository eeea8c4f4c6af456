"""Operators by the names that papers and converters give them: activations, products, shuffles.

Such names stand for one formula each, whichever fork or converter writes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..function import Function, Shape, Traced
from ..registry import register
from ..windows import POINT, Window
from .mobile import ConvolutionDepthwise


class _Activation(Function):
    """A function of each value."""

    bottoms, tops = (1, 1), (1, 1)
    keeps_shape = True
    pointwise = True

    def traced(self, shapes: Sequence[Shape]) -> Traced | None:
        return Traced(self.compute)

    def window(self) -> Window | None:
        return POINT


@register
class HSwish(_Activation):
    """y = x min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, MobileNetV3, section 5.2)."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x + 3).clamp(0, 6) / 6


@register
class HardSwish(HSwish):
    """HSwish under the name that PyTorch and ONNX give it."""


@register
class HSigmoid(_Activation):
    """y = min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, MobileNetV3, section 5.2)."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return (x + 3).clamp(0, 6) / 6


@register
class BReLU(_Activation):
    """y = min(max(x, 0), 1) (Cai et al. 2016, DehazeNet, section III-A; equation 7)."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(0, 1)


@register
class SiLU(_Activation):
    """y = x / (1 + exp(-x)): Swish with beta 1 (Elfwing et al. 2018)."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(x)


@register
class Softplus(_Activation):
    """y = log(1 + exp(x)), as BNLL computes it."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))


@register
class SELU(_Activation):
    """y = 1.0507 x where x > 0, else 1.0507 * 1.6733 (exp(x) - 1) (Klambauer et al. 2017, eq. 2).

    The factors have the paper's 15 digits.
    """

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return F.selu(x)


@register
class CReLU(Function):
    """The channels of max(x, 0), then those of max(-x, 0) (Shang et al. 2016, definition 2.1).

    x is N x C x any further axes; y has 2 C channels.
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        (shape,) = bottoms
        if len(shape) < 2:
            raise self.shape_error(f"the bottom has shape {shape}; it needs a channel axis")
        return [(shape[0], 2 * shape[1], *shape[2:])]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, -x], 1).clamp(min=0)


@register
class PixelShuffle(Function):
    """y[n, c, r h + i, r w + j] = x[n, r r c + r i + j, h, w] (Shi et al. 2016, equation 4).

    x is N x C x H x W, r is upscale_factor of pixel_shuffle_param. The channels are in the order of
    PyTorch and of ONNX's DepthToSpace in mode CRD.
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    precision = "kept"

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        (shape,), r = bottoms, self.layer_param.pixel_shuffle_param.upscale_factor
        if len(shape) != 4 or r < 1 or shape[1] % (r * r):
            raise self.shape_error(
                f"the bottom has shape {shape} and upscale_factor is {r}; it needs 4 axes, and "
                "channels that the square of upscale_factor divides"
            )
        return [(shape[0], shape[1] // (r * r), r * shape[2], r * shape[3])]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return F.pixel_shuffle(x, self.layer_param.pixel_shuffle_param.upscale_factor)


@register
class MatMul(Function):
    """The matrix products y = A B over the last two axes of both bottoms.

    The bottoms are ... x M x K and ... x K x N, with equal leading axes.
    """

    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        a, b = bottoms
        if min(len(a), len(b)) < 2 or a[:-2] != b[:-2] or a[-1] != b[-2]:
            raise self.shape_error(
                f"bottoms of shapes {a} and {b}; they need ... x M x K and ... x K x N"
            )
        return [(*a[:-1], b[-1])]

    def compute(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b


@register
class BatchMatMul(MatMul):
    """MatMul under the name of operators whose leading axes are a batch."""


@register
class DepthwiseConv(ConvolutionDepthwise):
    """ConvolutionDepthwise under the name that HiSilicon's tools for NNIE read."""
