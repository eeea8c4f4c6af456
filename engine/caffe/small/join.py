"""Layers that join small blobs: Concat and Eltwise."""

from __future__ import annotations

from ..native import instructions as ops
from .site import Call, Calls, Site


def concat(site: Site) -> Calls | None:
    """The bottoms, one after the other along the layer's axis."""
    if len(site.x) < 2:
        return None
    axis = site.layer.joined_axis(site.x[0].shape)
    forward: list[Call] = []
    backward: list[Call] = []
    start, (y,), (dy,) = 0, site.y, site.dy
    for x, dx in zip(site.x, site.dx):
        part = (slice(None),) * axis + (slice(start, start + x.shape[axis]),)
        forward.append(ops.copy(x, y[part]))
        if dx is not None and dy is not None:
            backward.append(ops.copy(dy[part], dx))
        start += x.shape[axis]
    return Calls(forward, backward)


def eltwise(site: Site) -> Calls | None:
    """The sum of two bottoms, without coefficients."""
    if not site.layer.is_sum():
        return None
    (y,), (dy,) = site.y, site.dy
    forward: list[Call] = [ops.add(*site.x, y)]
    if dy is None:
        return Calls(forward, [])
    # In place, the gradient of a bottom is the top's already.
    targets = [dx for dx in site.dx if dx is not None and dx is not dy]
    return Calls(forward, [ops.copy(dy, dx) for dx in targets])
