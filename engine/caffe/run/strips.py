"""Layers of a region a strip of rows at a time, so that their large maps stay in cache.

Up to the first layers that shrink them, maps are the largest of a net, and much of the time goes
into memory. No map in between is ever whole.
"""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import TYPE_CHECKING

import torch

from ..layers.join import Split

if TYPE_CHECKING:
    from .region import Border, Extent, Patch, Region

#: Maps of so many values an image are large, and strips of them have about so many.
LARGE, STRIP = 6 << 20, 1 << 20


def stage(region: Region, start: int, wanted: Container[int], on: torch.device) -> range:
    """The layers from `start` that run in strips: up to the first that shrinks its bottom.

    None do where gradients are recorded, where maps are small, or where somebody else reads a map
    in between.
    """
    none, inner = range(start, start), set[int]()
    if on.type != "cpu" or torch.is_grad_enabled():
        return none
    for i in range(start, len(region._layers)):
        bottoms, tops = region._bottoms[i], region._tops[i]
        if isinstance(region._layers[i], Split) or len(bottoms) != 1 or len(tops) != 1:
            return none
        if i > start and bottoms != region._tops[i - 1]:
            return none
        if inner and max(region._windows[region.first + i].stride) > 1:
            later = {b for bottoms in region._bottoms[i + 1 :] for b in bottoms}
            kept = any(b in wanted or b in later for b in inner)
            return none if kept or _largest(region, inner) < LARGE else range(start, i + 1)
        inner.add(tops[0])
    return none


def run(region: Region, layers: range, source: Patch, border: Border) -> Patch:
    """What the image reaches of the top of the last of these layers."""
    (bottom,) = region._bottoms[layers.start]
    tops = [region._tops[i][0] for i in layers]
    rows, columns = region.extents[tops[-1]]
    strips = max(1, _largest(region, set(tops[:-1])) * source.values.shape[0] // STRIP)
    # Multiples of 4 rows leave whole tiles to Winograd's algorithm.
    each = -(-(rows.hi - rows.lo) // (4 * strips)) * 4
    whole: Patch | None = None
    for lo in range(rows.lo, rows.hi, each):
        hi = min(lo + each, rows.hi)
        part = copy.copy(region)
        part.extents = _narrowed(region, layers, lo, hi)
        live = {bottom: source}
        for i, top in zip(layers, tops):
            (live[top],) = part.layer(i, live, border)
        made = live[tops[-1]]
        if whole is None:
            batch, channels = made.values.shape[:2]
            size = (batch, rows.hi - rows.lo, columns.hi - columns.lo, channels)
            whole = made._replace(values=made.values.new_empty(size).permute(0, 3, 1, 2))
        whole.values[:, :, lo - rows.lo : hi - rows.lo] = made.values
    assert whole is not None
    return whole


def _largest(region: Region, blobs: set[int]) -> int:
    """The values of an image in the largest of these blobs' patches."""
    return max(region._shapes[b][1] * region.extents[b].reached for b in blobs)


def _narrowed(region: Region, layers: range, lo: int, hi: int) -> dict[int, Extent]:
    """The extents with the rows that rows `lo` up to `hi` of the last of the layers' tops need."""
    extents = dict(region.extents)
    for i in reversed(layers):
        (bottom,), (top,) = region._bottoms[i], region._tops[i]
        extents[top] = extents[top]._replace(rows=extents[top].rows._replace(lo=lo, hi=hi))
        window, axis = region._windows[region.first + i], region.extents[bottom].rows
        k, s, p, d = (values[0] for values in window[:4])
        lo, hi = max(axis.lo, lo * s - p), min(axis.hi, (hi - 1) * s - p + d * (k - 1) + 1)
    return extents
