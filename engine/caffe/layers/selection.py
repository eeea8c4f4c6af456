"""Layers that select rows of a batch: BatchReindex and Filter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .. import mode
from ..blob import Blob
from .base import EngineLayer
from .function import Function
from .registry import register


@register
class BatchReindex(Function):
    """y[i] = x[index[i]]: rows of x in the order of the second bottom (batch_reindex_layer.cpp).

    The second bottom has one axis, of indices; an index may occur several times.
    """

    bottoms, tops = (2, 2), (1, 1)
    in_place = False
    no_gradient = (1,)
    replayable = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        shape, index = bottoms
        if len(index) != 1:
            raise self.shape_error(f"the indices have shape {tuple(index)}; they need 1 axis")
        return [(*index, *shape[1:])]

    def compute(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        rows = index.detach().long()
        if not x.is_meta and rows.numel() and not 0 <= rows.min() <= rows.max() < x.shape[0]:
            raise self.error(
                f"an index is outside 0 .. {x.shape[0] - 1}; the indices are {int(rows.min())} .. "
                f"{int(rows.max())}"
            )
        return x.index_select(0, rows)


@register
class Filter(EngineLayer):
    """The rows of the bottoms for which the last bottom, the selector, is not 0 (filter_layer.cpp).

    The selector has one value for each row. The tops have as many rows as the selector selects.
    """

    bottoms, tops = (2, math.inf), (1, math.inf)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if len(top) != len(bottom) - 1:
            raise self.error(
                f"has {len(top)} tops for {len(bottom) - 1} bottoms and a selector; it needs one "
                "for each bottom"
            )
        self.first = True

    def _rows(self, bottom: Sequence[Blob]) -> torch.Tensor:
        """Return the numbers of the selected rows."""
        selector = bottom[-1].values.tensor(mode.device())
        if selector.numel() != selector.shape[0]:
            raise self.shape_error(
                f"the selector has shape {bottom[-1].shape}; it needs one value for each row"
            )
        for b in bottom[:-1]:
            if b.shape[0] != selector.shape[0]:
                raise self.shape_error(
                    f"{selector.shape[0]} selectors for a bottom of shape {b.shape}; it needs "
                    f"{b.shape[0]}"
                )
        return selector.flatten().nonzero()[:, 0]

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        # As in Caffe, the first reshape, before there are values, counts every row as selected.
        count = bottom[0].shape[0] if self.first else len(self._rows(bottom))
        self.first = False
        for b, t in zip(bottom, top):
            t.resize((count, *b.shape[1:]))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        rows = self._rows(bottom)
        for b, t in zip(bottom, top):
            t.values.set(b.values.tensor(rows.device).index_select(0, rows))

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        rows = self._rows(bottom)
        if propagate_down[-1]:
            raise self.error("has no gradient for its selector; set propagate_down: false there")
        for b, t, go in zip(bottom, top, propagate_down):
            if go:
                grad = torch.zeros(b.shape, device=rows.device)
                b.gradient.set(grad.index_copy_(0, rows, t.gradient.tensor(rows.device)))
