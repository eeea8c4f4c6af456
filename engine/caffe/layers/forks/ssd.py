"""Layers of SSD (Liu et al. 2016, "SSD: Single Shot MultiBox Detector"; weiliu89/caffe)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...blob import Blob
from ..function import Function
from ..registry import register


@register
class Permute(Function):
    """y has the axes of x in the order of `order`: axis i of y is axis order[i] of x.

    Axes that `order` does not name follow in their own order (permute_layer.cpp of SSD).
    """

    precision = "kept"
    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        order, axes = list(self.layer_param.permute_param.order), len(bottom[0].shape)
        if len(set(order)) < len(order) or any(axis >= axes for axis in order):
            raise self.error(f"order {order} needs to name axes below {axes}, each at most once")
        self.order = order + [axis for axis in range(axes) if axis not in order]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(self.order).contiguous()
