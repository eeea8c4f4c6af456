"""Products of all pairs of channels in few values, and their normalization.

CompactBilinear, SignedSqrt, L2Normalize, L2Normalization.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ... import mode
from ...blob import Blob
from ...proto import caffe_pb2
from ..function import Function
from ..registry import register
from ..windows import POINT, Window


@register
class CompactBilinear(Function):
    """The count sketch of the outer product of two bottoms' channels (Gao et al. 2016, section 3).

    The sketch of x has num_output values: s_k x_k is added at the place h_k, for each channel k.
    The top at a position is the circular convolution of the sketches of both bottoms, the product
    of their Fourier transforms. With sum_pool it is summed over all positions, N x num_output x 1 x
    1, else N x num_output x H x W. The bottoms are N x C x H x W, and may have different C.

    The places h and signs s of both bottoms are parameters, which are drawn and do not learn; in a
    file they may have any order, since signs are 1 and -1. Sources: the paper
    (algorithm 2) and the settings of gy20073/compact_bilinear_pooling and akirafukui/vqa-mcb,
    which leaves open what sum_pool is where it is not set: the layer asks for it.
    """

    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.compact_bilinear_param
        if p.num_output < 2 or not p.HasField("sum_pool"):
            raise self.error(
                f"num_output is {p.num_output}; it needs at least 2, and sum_pool to be set"
            )
        for blob in bottom:
            if len(blob.shape) != 4:
                raise self.shape_error(f"a bottom of shape {blob.shape}; N x C x H x W is needed")
            channels = blob.shape[1]
            places = mode.rng().randint(0, p.num_output, channels)
            for values in (places, 2 * mode.rng().randint(0, 2, channels) - 1):
                self.add_parameter((channels,), caffe_pb2.FillerParameter())
                self.blobs[-1].data[...] = values
        specs = self.layer_param.param
        while len(specs) < len(self.blobs):
            specs.add()
        for spec in specs:
            spec.lr_mult = spec.decay_mult = 0

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        (n, _, *size), (other, _, *other_size) = bottoms
        p = self.layer_param.compact_bilinear_param
        channels = sorted(shape[1] for shape in bottoms)
        if n != other or size != other_size or channels != self._stored_channels():
            raise self.shape_error(
                f"bottoms of shapes {bottoms[0]} and {bottoms[1]}; they need equal batches and "
                f"sizes, and {self._stored_channels()} channels"
            )
        return [(n, p.num_output, *([1, 1] if p.sum_pool else size))]

    def _stored_channels(self) -> list[int]:
        return sorted(self.blobs[i].shape[0] for i in (0, 2))

    def compute(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.compact_bilinear_param
        signs = [w.detach() for w in self.weights if bool((w.abs() == 1).all())]
        places = [w.long() for w in self.weights if not bool((w.abs() == 1).all())]
        if len(signs) != 2 or any(not 0 <= h.min() <= h.max() < p.num_output for h in places):
            raise self.error(
                "the parameters need to be two rows of places below num_output and two of signs"
            )
        images = []
        for maps in zip(x, y):
            product: torch.Tensor | float = 1.0
            for values, h, s in zip(maps, places, signs):
                rows = values.flatten(1) * s[:, None]
                sketch = rows.new_zeros(p.num_output, rows.shape[1]).index_add(0, h, rows)
                product = product * torch.fft.rfft(sketch, dim=0)
            assert isinstance(product, torch.Tensor)
            if p.sum_pool:
                product = product.sum(1, keepdim=True)
            images.append(torch.fft.irfft(product, p.num_output, dim=0))
        size = (1, 1) if p.sum_pool else tuple(x.shape[2:])
        return torch.stack(images).reshape(len(x), p.num_output, *size)


@register
class SignedSqrt(Function):
    """y = sign(x) sqrt(|x|) (Gao et al. 2016, section 5.1; akirafukui/vqa-mcb).

    The gradient at 0, which does not exist, is 0.
    """

    bottoms, tops = (1, 1), (1, 1)
    keeps_shape = True
    pointwise = True

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        # Of the two branches of `where`, neither may have an infinite gradient.
        size = torch.where(x == 0, torch.ones_like(x), x.abs())
        return torch.where(x == 0, torch.zeros_like(x), x.sign() * size.sqrt())

    def window(self) -> Window | None:
        return POINT


@register
class L2Normalize(Function):
    """y[n] = x[n] / |x[n]|, for N x C, or N x C x 1 x 1 (Gao et al. 2016; akirafukui/vqa-mcb)."""

    bottoms, tops = (1, 1), (1, 1)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        if len(bottoms[0]) < 2 or np.prod(bottoms[0][2:]) != 1:
            raise self.shape_error(
                f"bottom of shape {bottoms[0]}; N x C or N x C x 1 x 1 is needed"
            )
        return bottoms

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x / x.norm(dim=1, keepdim=True).clamp(min=1e-12)


@register
class L2Normalization(L2Normalize):
    """L2Normalize under another spelling of its name."""
