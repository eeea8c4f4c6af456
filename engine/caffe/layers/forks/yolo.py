"""Layers of the YOLO forks: Reorg and Mish."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ...blob import Blob
from ..function import Function
from ..registry import register


@register
class Reorg(Function):
    """Darknet's reorganisation of positions into channels (Redmon & Farhadi 2016, YOLO9000, 3).

    With stride s, N x C x H x W becomes N x C s^2 x H / s x W / s, and with `reverse` N x C / s^2 x
    H s x W s. As in Darknet, the values of an image are read as C / s^2 maps of H s x W s (reverse:
    written as such), and value (k, j, i) of C x H x W is the one in map k mod C / s^2 at row
    j s + k / (C / s^2) / s and column i s + k / (C / s^2) mod s. C is a multiple of s^2.
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    precision = "kept"

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.layer_param.reorg_param.stride < 1:
            raise self.error(
                f"stride is {self.layer_param.reorg_param.stride}; it needs to be at least 1"
            )

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.reorg_param
        s = p.stride
        if (
            x.dim() != 4
            or x.shape[1] % (s * s)
            or (not p.reverse and any(n % s for n in x.shape[2:]))
        ):
            raise self.shape_error(
                f"a bottom of shape {tuple(x.shape)}; it needs 4 axes, channels that {s * s} "
                f"divides, and a height and width that {s} divides"
            )
        n, c, h, w = x.shape
        if p.reverse:
            maps = x.reshape(n, s, s, c // (s * s), h, w).permute(0, 3, 4, 1, 5, 2)
            return maps.reshape(n, c // (s * s), h * s, w * s)
        maps = x.reshape(n, c // (s * s), h, s, w, s).permute(0, 3, 5, 1, 2, 4)
        return maps.reshape(n, c * s * s, h // s, w // s)


@register
class Mish(Function):
    """y = x tanh(log(1 + exp(x))) (Misra 2019)."""

    bottoms, tops = (1, 1), (1, 1)
    keeps_shape = True
    pointwise = True

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return F.mish(x)
