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

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        shape, like = bottoms
        axis = canonical_axis(self, self.layer_param.crop_param.axis, shape)
        if len(like) != len(shape):
            raise self.shape_error(
                f"bottoms of shapes {tuple(shape)} and {tuple(like)}; they need equally many axes"
            )
        for i, offset in enumerate(self._offsets(len(shape) - axis), axis):
            if offset + like[i] > shape[i]:
                raise self.shape_error(
                    f"offset {offset} + size {like[i]} on axis {i} reaches past the bottom "
                    f"of shape {tuple(shape)}; offset and size need to fit"
                )
        return [(*shape[:axis], *like[axis:])]

    def compute(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        axis = canonical_axis(self, self.layer_param.crop_param.axis, x.shape)
        y = x
        for i, offset in enumerate(self._offsets(x.dim() - axis), axis):
            y = y.narrow(i, offset, like.shape[i])
        return y

    def _offsets(self, axes: int) -> Sequence[int]:
        """Return the offset of each of the `axes` axes that are cut."""
        offsets = list(self.layer_param.crop_param.offset)
        if len(offsets) not in (0, 1, axes):
            raise self.error(
                f"{len(offsets)} offsets; it needs none, one for all axes, or {axes}, one for each"
            )
        return offsets if len(offsets) == axes else (offsets or [0]) * axes
