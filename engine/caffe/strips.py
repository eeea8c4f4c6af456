"""The first layers of a region a strip of rows at a time, so that their large maps stay in cache.

Up to the first layer that shrinks them, maps are the largest of a net, and more time goes into
memory than into arithmetic. No map of theirs is ever whole.
"""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import TYPE_CHECKING

import torch

from .layers.utility import Split

if TYPE_CHECKING:
    from .region import Border, Extent, Patch, Region

#: Strips of the largest map have about so many values, and are not worth it for smaller maps.
STRIP = 1 << 20


def count(region: Region, source: torch.Tensor, wanted: Container[int]) -> int:
    """How many of the first layers run in strips: those up to the first that shrinks its bottom.

    None do where gradients are recorded, where maps are small, or where somebody else reads a map
    in between.
    """
    if source.device.type != "cpu" or torch.is_grad_enabled():
        return 0
    inner: set[int] = set()
    for i, (bottoms, tops) in enumerate(zip(region._bottoms, region._tops)):
        if isinstance(region._layers[i], Split) or len(bottoms) != 1 or len(tops) != 1:
            return 0
        if i and bottoms != region._tops[i - 1]:
            return 0
        if i and max(region._windows[region.first + i].stride) > 1:
            later = {b for bottoms in region._bottoms[i + 1 :] for b in bottoms}
            kept = any(b in wanted or b in later for b in inner)
            return 0 if kept or tops[0] not in later or _largest(region, inner) < STRIP else i + 1
        inner.add(tops[0])
    return 0


def run(region: Region, layers: int, source: Patch, border: Border) -> Patch:
    """What the image reaches of the top of the last of the first `layers` layers."""
    tops = [tops[0] for tops in region._tops[:layers]]
    rows, columns = region.extents[tops[-1]]
    strips = max(1, _largest(region, set(tops[:-1])) * source.values.shape[0] // STRIP)
    # Multiples of 4 rows leave whole tiles to Winograd's algorithm.
    each = -(-(rows.hi - rows.lo) // (4 * strips)) * 4
    whole: Patch | None = None
    for lo in range(rows.lo, rows.hi, each):
        hi = min(lo + each, rows.hi)
        part = copy.copy(region)
        part.extents = _narrowed(region, layers, lo, hi)
        live = {region.source: source}
        for i, top in enumerate(tops):
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


def _narrowed(region: Region, layers: int, lo: int, hi: int) -> dict[int, Extent]:
    """The extents with the rows that rows `lo` up to `hi` of the last of the layers' tops need."""
    extents = dict(region.extents)
    for i in reversed(range(layers)):
        (bottom,), (top,) = region._bottoms[i], region._tops[i]
        extents[top] = extents[top]._replace(rows=extents[top].rows._replace(lo=lo, hi=hi))
        window, axis = region._windows[region.first + i], region.extents[bottom].rows
        k, s, p, d = (values[0] for values in window[:4])
        lo, hi = max(axis.lo, lo * s - p), min(axis.hi, (hi - 1) * s - p + d * (k - 1) + 1)
    return extents
