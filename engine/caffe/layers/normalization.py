"""Normalization layers: LRN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..blob import Blob
from .base import Function, register


@register
class LRN(Function):
    """y = x / (k + alpha / n * sum of x^2 over n neighbours) ^ beta.

    The neighbours are channels, or with WITHIN_CHANNEL the n x n positions around (then k is 1).
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.lrn_param
        if p.local_size % 2 == 0:
            raise self.error(f"local_size is {p.local_size}; it needs to be odd")

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.lrn_param
        if x.dim() != 4:
            raise self.error(f"the bottom has shape {tuple(x.shape)}; it needs 4 axes")
        n, square = p.local_size, x * x
        if p.norm_region == p.ACROSS_CHANNELS:
            around = F.pad(square, (0, 0, 0, 0, n // 2, n // 2))
            mean = F.avg_pool3d(around[:, None], (n, 1, 1), 1)[:, 0]
            return x * (p.k + p.alpha * mean) ** -p.beta
        mean = F.avg_pool2d(F.pad(square, (n // 2,) * 4), n, 1)
        return x * (1 + p.alpha * mean) ** -p.beta
