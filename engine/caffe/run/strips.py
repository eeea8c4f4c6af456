"""Runs the first layers of a region on strips of rows, so that large maps stay in the cache.

The maps before the first layer that shrinks them are the largest of a net, and much of the time of
a pass goes into reading and writing them. In strips, a few rows of these maps exist at a time.
"""

from __future__ import annotations

from collections.abc import Set

import torch

from .. import mode
from .border import Border
from .geometry import Extent, window_start_stop
from .patches import Patch, Patches
from .region import Region

#: Maps with at least LARGE values for an image run in strips. The largest map of a strip has about
#: STRIP values.
LARGE, STRIP = 6 << 20, 1 << 20


def run_region(
    patches: Patches, source: torch.Tensor, border: Border, kept: Set[int]
) -> dict[int, torch.Tensor]:
    """Run a region's layers on an input; return the blobs of `kept`, on their whole maps."""
    region = patches.region
    tensors: dict[int, torch.Tensor] = {}
    live = {region.source: Patch(source)}
    done = 0
    while done < len(region.nodes):
        stage = strip_stage(region, done, kept, source.device)
        if stage:
            (bottom,), (top,) = region.nodes[done].bottoms, region.nodes[stage[-1]].tops
            live[top] = run_strips(patches, stage, live[bottom], border)
            done = stage.stop
        else:
            node = region.nodes[done]
            live.update(zip(node.tops, patches.run_layer(node, live, border)))
            done += 1
        for b in patches.expired(live, done):
            if b in kept:
                tensors[b] = patches.complete_map(b, live[b], border)
            del live[b]
    return tensors


def strip_stage(region: Region, start: int, kept: Set[int], device: torch.device) -> range:
    """Return the layers from `start`, counted in the region, that run in strips.

    They go up to the first layer that shrinks its bottom. The range is empty if gradients are
    recorded, if the maps are small, or if another layer or `kept` needs a map in between.
    """
    none, between = range(start, start), set[int]()
    if device.type != "cpu" or torch.is_grad_enabled() or not mode.fast():
        return none
    for i in range(start, len(region.nodes)):
        node = region.nodes[i]
        if node.copies or len(node.bottoms) != 1 or len(node.tops) != 1:
            return none
        if i > start and node.bottoms != region.nodes[i - 1].tops:
            return none
        if between and max(region.windows[node.number].stride) > 1:
            later = {b for reader in region.nodes[i + 1 :] for b in reader.bottoms}
            needed = any(b in kept or b in later for b in between)
            small = _largest_patch(region, between) < LARGE
            return none if needed or small else range(start, i + 1)
        between.add(node.tops[0])
    return none


def run_strips(patches: Patches, stage: range, source: Patch, border: Border) -> Patch:
    """Return the patch of the top of the last layer of `stage`, computed in strips of rows."""
    region = patches.region
    nodes = [region.nodes[i] for i in stage]
    (bottom,) = nodes[0].bottoms
    tops = [node.tops[0] for node in nodes]
    rows, columns = region.extents[tops[-1]]
    values = _largest_patch(region, set(tops[:-1])) * source.values.shape[0]
    # Multiples of 4 rows leave complete tiles to Winograd's algorithm.
    strip = -(-rows.reached // (4 * max(1, values // STRIP))) * 4
    joined: Patch | None = None
    for lo in range(rows.lo, rows.hi, strip):
        hi = min(lo + strip, rows.hi)
        extents = _narrow_extents(region, stage, lo, hi)
        live = {bottom: source}
        for node in nodes:
            (live[node.tops[0]],) = patches.run_layer(node, live, border, extents)
        part = live[tops[-1]]
        if joined is None:
            batch, channels = part.values.shape[:2]
            shape = (batch, rows.reached, columns.reached, channels)
            joined = part._replace(values=part.values.new_empty(shape).permute(0, 3, 1, 2))
        joined.values[:, :, lo - rows.lo : hi - rows.lo] = part.values
    assert joined is not None
    return joined


def _largest_patch(region: Region, blobs: set[int]) -> int:
    """Return the values of an image in the largest of these blobs' patches."""
    return max(region.shapes[b][1] * region.extents[b].reached for b in blobs)


def _narrow_extents(region: Region, stage: range, lo: int, hi: int) -> dict[int, Extent]:
    """Return the extents with the rows that rows `lo` .. `hi` - 1 of the last top depend on."""
    extents = dict(region.extents)
    for i in reversed(stage):
        node = region.nodes[i]
        (bottom,), (top,) = node.bottoms, node.tops
        rows = extents[top].rows._replace(lo=lo, hi=hi)
        extents[top] = extents[top]._replace(rows=rows)
        sizes = (values[0] for values in region.windows[node.number][:4])
        axis = region.extents[bottom].rows
        start, stop = window_start_stop(rows, *sizes)
        lo, hi = max(axis.lo, start), min(axis.hi, stop)
    return extents
