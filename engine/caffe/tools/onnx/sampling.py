"""Writers of the layers that sample maps between their positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...layers.forks.sampler import THETAS
from .arrays import Array, Size, constant, inputs, number, positions, size_of, sizes_of
from .model import FLOAT, INT64, Model, Source, writes, writes_also


def _triangle(distance: Array) -> Array:
    """Return the weight of a linear filter at these distances."""
    return (1.0 - distance.apply("Abs")).maximum(0.0)


@writes
def SpatialTransformer(m: Model, source: Source) -> str:
    """Write the places, their four neighbours with GatherElements, and the weighted sum."""
    p = source.param.st_param
    x, theta = inputs(m, source)
    batch, old = sizes_of(m, source, (0, 1)), sizes_of(m, source, (2, 3))
    new = [fixed or size for fixed, size in zip((p.output_H, p.output_W), old)]
    rows, columns = (positions(m, n) * 2.0 / number(n) - 1.0 for n in new)
    theta = theta.reshape(batch[0], len(source.layer.open))
    entries: list[Any] = [getattr(p, name) for name in THETAS]
    for i, place in enumerate(source.layer.open):
        entries[place] = theta.slice(1, i, i + 1).unsqueeze(2)
    r, c = rows.reshape(1, -1, 1), columns.reshape(1, 1, -1)
    places = []
    for (to_r, to_c, shift), size in zip((entries[:3], entries[3:]), old):
        places.append((r * to_r + c * to_c + shift + 1.0) / 2.0 * number(size))
    total = _neighbours(m, x, places, batch, old)
    return total.reshape(*batch, *new).name


def _neighbours(
    m: Model, x: Array, places: list[Array], batch: list[Size], size: list[Size]
) -> Array:
    """Return the bilinear values of N x C x H x W at rows and columns, N x h x w each."""
    limits = [number(n) for n in size]
    flat, total = x.reshape(0, 0, -1), None
    corners = [place.apply("Floor") for place in places]
    for i in (0.0, 1.0):
        for j in (0.0, 1.0):
            y, z = corners[0] + i, corners[1] + j
            weight = _triangle(places[0] - y) * _triangle(places[1] - z)
            inside = (y >= 0.0) & (y < limits[0]) & (z >= 0.0) & (z < limits[1])
            row, column = (v.maximum(0.0).minimum(limit - 1.0) for v, limit in zip((y, z), limits))
            index = (row * limits[1] + column).to(INT64).reshape(batch[0], 1, -1)
            values = flat.node("GatherElements", index.expand(1, batch[1], 1), axis=2)
            part = values * (weight * inside.to(FLOAT)).reshape(batch[0], 1, -1)
            total = part if total is None else total + part
    assert total is not None
    return total


@writes
def ROIWarping(m: Model, source: Source) -> str:
    """Write the weights of rows and columns for each region, and MatMul with the maps.

    The sums over rows are a product of R x (N H) weights and (N H) x (C W) values.
    """
    p = source.param.roi_warping_param
    x, rois = inputs(m, source)
    count, channels = size_of(m, source, 0), source.shapes[0][1]
    height, width = sizes_of(m, source, (2, 3))
    rois = rois.reshape(-1, 5)
    boxes = rois.slice(1, 1, 5) * p.spatial_scale
    left, top, right, bottom = (boxes.slice(1, i, i + 1) for i in range(4))
    rows = _weights(m, top, bottom, p.pooled_h, height)
    columns = _weights(m, left, right, p.pooled_w, width)
    of_image = rois.slice(1, 0, 1).equals(positions(m, count)).to(FLOAT)
    masks = (rows.unsqueeze(2) * of_image.unsqueeze(1, 3)).reshape(0, p.pooled_h, -1)
    values = x.transpose(0, 2, 1, 3).reshape(-1, width * channels)
    strips = masks.matmul(values).reshape(0, p.pooled_h, channels, width)
    sums = strips.transpose(0, 2, 1, 3).matmul(columns.transpose(0, 2, 1).unsqueeze(1))
    return sums.name


writes_also(ROIWarping, "ROIWarpingTest")


def _weights(m: Model, first: Array, last: Array, bins: int, size: Size) -> Array:
    """Return the weight of each position at each of the sampled places, R x bins x size."""
    places = first + (last - first) * constant(m, np.arange(bins) / bins)
    return _triangle(places.unsqueeze(2) - positions(m, size))


@writes
def FlowWarp(m: Model, source: Source) -> str:
    """Write the four neighbours with GatherElements, and their weighted sum."""
    x, flow = inputs(m, source)
    batch, size = sizes_of(m, source, (0, 1)), sizes_of(m, source, (2, 3))
    height, width = map(number, size)
    column = flow.slice(1, 0, 1) + positions(m, size[1])
    row = flow.slice(1, 1, 2) + positions(m, size[0]).unsqueeze(1)
    zero = constant(m, 0.0)
    inside = (column >= zero) & (column < width) & (row >= zero) & (row < height)
    top, left = row.apply("Floor"), column.apply("Floor")
    down, right = row - top, column - left
    flat, total = x.reshape(0, 0, -1), None
    for i, vertical in ((0.0, 1.0 - down), (1.0, down)):
        for j, horizontal in ((0.0, 1.0 - right), (1.0, right)):
            y_place = (top + i).maximum(0.0).minimum(height - 1.0)
            x_place = (left + j).maximum(0.0).minimum(width - 1.0)
            places = inside.where(y_place * width + x_place, zero).to(INT64)
            index = places.reshape(0, 1, -1).expand(1, batch[1], 1)
            part = flat.node("GatherElements", index, axis=2).reshape(*batch, *size)
            part = part * vertical * horizontal
            total = part if total is None else total + part
    assert total is not None
    p = source.param.flow_warp_param
    empty = constant(m, math.nan) if p.fill_value == p.NOT_A_NUMBER else zero
    return inside.where(total, empty).to(FLOAT).name
