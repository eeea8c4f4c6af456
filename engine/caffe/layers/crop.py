"""Crop: a part of one blob with the size of another."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .axes import canonical_axis
from .function import Function
from .registry import register


@register
class Crop(Function):
    """The first bottom, cut to the size of the second from `axis` on (crop_layer.cpp).

    On axis i the top is x[offset_i : offset_i + size of the second bottom]; the axes before `axis`
    (2) stay. `offset` is set once for all axes, or for each.
    """

    precision = "kept"
    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def compute(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        axis = canonical_axis(self, self.layer_param.crop_param.axis, x.shape)
        if like.dim() != x.dim():
            raise self.shape_error(
                f"bottoms of shapes {tuple(x.shape)} and {tuple(like.shape)}; they need equally "
                "many axes"
            )
        y = x
        for i, offset in enumerate(self._offsets(x.dim() - axis), axis):
            if offset + like.shape[i] > x.shape[i]:
                raise self.shape_error(
                    f"offset {offset} + size {like.shape[i]} on axis {i} reaches past the bottom "
                    f"of shape {tuple(x.shape)}; offset and size need to fit"
                )
            y = y.narrow(i, offset, like.shape[i])
        return y

    def _offsets(self, axes: int) -> Sequence[int]:
        """The offset of each of the `axes` axes that are cut."""
        offsets = list(self.layer_param.crop_param.offset)
        if len(offsets) not in (0, 1, axes):
            raise self.error(
                f"{len(offsets)} offsets; it needs none, one for all axes, or {axes}, one for each"
            )
        return offsets if len(offsets) == axes else (offsets or [0]) * axes
