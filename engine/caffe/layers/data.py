"""Data layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..blob import Blob
from .base import Layer, register


@register
class Input(Layer):
    """Blobs that the user fills, of the given shapes."""

    bottoms, tops = (0, 0), (1, math.inf)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        shapes = self.layer_param.input_param.shape
        if len(shapes) not in (0, 1, len(top)):
            raise self.error(
                f"{len(shapes)} shapes for {len(top)} tops; none, one, or one each is needed"
            )
        for i, blob in enumerate(top):
            if shapes:
                blob.resize(list(shapes[0 if len(shapes) == 1 else i].dim))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        pass
