"""A region's layers, computed only where the image reaches.

What the image reaches of a blob is its patch. A window that passes the patch's edges is joined from
the patch, the border around it, and the fill beyond the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from .. import mode
from ..layers import Function
from ..layers.activation import ReLU
from ..layers.convolution import Convolution
from ..ops import cuda
from .border import Border, Indices
from .functional import as_tuple
from .geometry import (
    Extent,
    Span,
    places_in_patch,
    places_in_small,
    runs,
    span,
    window_start_stop,
)
from .region import Region
from .wiring import Node


class Patch(NamedTuple):
    """The part of a blob that the image reaches, with the operations that are not done yet.

    rectify: whether max(x, 0) is pending. bias: to be added before that; None for none.
    """

    values: torch.Tensor
    rectify: bool = False
    bias: torch.Tensor | None = None

    def finished(self) -> torch.Tensor:
        """Return the values after all pending operations."""
        x = self.values if self.bias is None else self.values + self.bias.view(1, -1, 1, 1)
        return torch.relu(x) if self.rectify else x


class _Joined(torch.autograd.Function):
    """A window of a blob, joined from its patch (rectified or not), its border and the fill."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        patch: torch.Tensor,
        rectify: bool,
        rows: Span,
        columns: Span,
        fill: float,
        places: Sequence[tuple[slice, slice]],
        *border: torch.Tensor,
    ) -> torch.Tensor:
        x = patch[:, :, rows.source, columns.source]
        shape = (*x.shape[:2], rows.size, columns.size)
        layout = mode.map_layout(shape, x.device)
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
        for part in rows.outside():
            out[:, :, part] = fill
        for part in columns.outside():
            out[:, :, :, part] = fill
        for (row, column), values in zip(places, border):
            out[:, :, row, column] = values
        middle = out[:, :, rows.patch, columns.patch]
        if rectify:
            torch.clamp_min(x, 0, out=middle)
            ctx.save_for_backward(out)
        else:
            middle.copy_(x)
        ctx.rectify, ctx.rows, ctx.columns, ctx.places = rectify, rows, columns, places
        ctx.patch_shape = patch.shape
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        rows, columns = ctx.rows, ctx.columns
        to_patch = None
        if ctx.needs_input_grad[0]:
            to_patch = grad[:, :, rows.patch, columns.patch]
            if ctx.rectify:
                (out,) = ctx.saved_tensors
                to_patch = torch.ops.aten.threshold_backward(
                    to_patch, out[:, :, rows.patch, columns.patch], 0
                )
            if to_patch.shape != ctx.patch_shape:
                part, to_patch = to_patch, grad.new_zeros(ctx.patch_shape)
                to_patch[:, :, rows.source, columns.source] = part
        to_border = [grad[:, :, a, b] for a, b in ctx.places]
        if grad.shape[0] > 1:
            to_border = [part.sum(0, keepdim=True) for part in to_border]
        return (to_patch, None, None, None, None, None, *to_border)


class Patches:
    """Computes the patches of a region."""

    def __init__(self, region: Region) -> None:
        self.region = region
        #: Positions of maps in their small maps; all borders of the region share them.
        self.indices: Indices = {}
        self._places: dict[Any, cuda.Places] = {}
        last_readers = {b: i for i, node in enumerate(region.nodes) for b in node.bottoms}
        #: By blob, the last layer of the region that reads it, counted from the region's first.
        self._last_reader = last_readers

    def tensors(self) -> list[torch.Tensor]:
        """Return the index tensors that every pass reads."""
        places = [t for p in self._places.values() for t in (*p.tensors, *p.runs)]
        return [*self.indices.values(), *places]

    def expired(self, patches: dict[int, Patch], done: int) -> list[int]:
        """Return the blobs that no layer after the first `done` ones of the region reads."""
        return [b for b in patches if self._last_reader.get(b, -1) < done]

    def complete_map(self, blob: int, patch: Patch, border: Border) -> torch.Tensor:
        """Return the values of a blob on the whole map."""
        extent = self.region.extents[blob]
        rows, columns = (0, extent.rows.n), (0, extent.columns.n)
        return self.window(blob, extent, patch, border, (rows, columns), 0.0)

    def run_layer(
        self,
        node: Node,
        patches: dict[int, Patch],
        border: Border,
        extents: dict[int, Extent] | None = None,
    ) -> list[Patch]:
        """Return the patches of a layer's tops, from those of its bottoms.

        extents: of the blobs, where they are narrower than the region's.
        """
        layer, bottom = node.layer, node.bottoms[0]
        if node.copies:
            return [patches[bottom]] * len(node.tops)
        if isinstance(layer, ReLU) and not layer.layer_param.relu_param.negative_slope:
            return [patches[bottom]._replace(rectify=True)]
        assert isinstance(layer, Function)
        return self._compute(node, layer, patches, border, extents or self.region.extents)

    def _compute(
        self,
        node: Node,
        layer: Function,
        patches: dict[int, Patch],
        border: Border,
        extents: dict[int, Extent],
    ) -> list[Patch]:
        """One layer on the windows that its tops' patches are made of."""
        window = self.region.windows[node.number]
        # A maximum can be rectified after it is taken, and a bias added, where the whole window
        # lies in the patch.
        rectify, bias = window.fill < 0 and patches[node.bottoms[0]].rectify, None
        inputs = []
        for j, b in enumerate(node.bottoms):
            top = extents[node.tops[min(j, len(node.tops) - 1)]]
            rows, columns = (
                window_start_stop(axis, *sizes) for axis, *sizes in zip(top, *window[:4])
            )
            patch = patches[b]._replace(rectify=False) if rectify else patches[b]
            if window.fill < 0 and patch.bias is not None and _in_patch(extents[b], rows, columns):
                patch, bias = patch._replace(bias=None), patch.bias
            inputs.append(self.window(b, extents[b], patch, border, (rows, columns), window.fill))
        x = layer.rounded(inputs)
        if isinstance(layer, Convolution) and cuda.late_bias(x[0], layer.weights):
            bias = layer.weights[1]
            return [Patch(y, bias=bias) for y in layer.without_bias(*x)]
        return [Patch(y, rectify, bias) for y in as_tuple(layer.inside(*x))]

    def window(
        self,
        blob: int,
        extent: Extent,
        patch: Patch,
        border: Border,
        positions: tuple[tuple[int, int], tuple[int, int]],
        fill: float,
    ) -> torch.Tensor:
        """Return the values of a blob at rows and columns `positions`; beyond its edges, `fill`."""
        r, c = span(extent.rows, *positions[0]), span(extent.columns, *positions[1])
        if r.all_patch and c.all_patch:
            return patch._replace(values=patch.values[:, :, r.source, c.source]).finished()
        if cuda.takes(patch.values):
            places = self.cuda_places(blob, extent, positions)
            maps = patch.values, patch.bias, border.maps.get(blob)
            return cuda.Join.apply(*maps, places, patch.rectify, fill)
        if patch.bias is not None:
            patch = Patch(patch.finished())
        frame = [
            (r.before, c.inside),
            (r.after, c.inside),
            (r.patch, c.before),
            (r.patch, c.after),
        ]
        frame = [(a, b) for a, b in frame if a.start < a.stop and b.start < b.stop]
        (top, _), (left, _) = positions
        strips = [
            border.strip(
                blob,
                extent,
                range(a.start + top, a.stop + top),
                range(b.start + left, b.stop + left),
            )
            for a, b in frame
        ]
        return _Joined.apply(patch.values, patch.rectify, r, c, fill, frame, *strips)

    def cuda_places(
        self, blob: int, extent: Extent, positions: Sequence[tuple[int, int]]
    ) -> cuda.Places:
        """Return where these positions of a blob lie in its patch and in its small map."""
        key = (blob, extent, *positions, mode.device())
        if key not in self._places:
            self._places[key] = self._new_places(blob, extent, positions)
        return self._places[key]

    def _new_places(
        self, blob: int, extent: Extent, positions: Sequence[tuple[int, int]]
    ) -> cuda.Places:
        in_patch = [
            places_in_patch(range(a.lo, a.hi), *edges) for a, edges in zip(extent, positions)
        ]
        in_small = []
        for axis, cut, (first, last) in zip(extent, self.region.cut, positions):
            within = range(max(first, 0), min(last, axis.n))
            index = places_in_small(axis, cut // axis.step, within)
            before, after = within.start - first, last - first - len(index)
            in_small.append([-1] * before + index + [-1] * (after - before))
        spans = [span(axis, *edges) for axis, edges in zip(extent, positions)]
        edges = [edge for s in spans for edge in (s.patch.start, s.patch.stop)]
        has_all = [s.patch.stop - s.patch.start == a.reached for s, a in zip(spans, extent)]
        # The source, with zeros around it, has no small map.
        is_source = blob == self.region.source
        small = [a.n for a in extent] if is_source else self.region.small_size(blob)
        edge_runs = [runs(index, n) for index, n in zip(in_small, small)]
        tensors = [
            torch.tensor(numbers, dtype=torch.int32, device=mode.device())
            for numbers in (*in_patch, *in_small, *edge_runs)
        ]
        return cuda.Places(tensors[:4], all(has_all), edges, tensors[4:])


def _in_patch(extent: Extent, rows: tuple[int, int], columns: tuple[int, int]) -> bool:
    """Return whether a window lies in the patch of a blob."""
    return span(extent.rows, *rows).all_patch and span(extent.columns, *columns).all_patch
