"""Cases of the layers of SSD and of the R-CNN family that compute maps and boxes.

Proposal, DetectionOutput, DetectionEvaluate and the losses have tests of their own, with plain
loops, in `tests/engine/forks/`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .case import Arrays, Case, normal

SSD = "Liu et al. 2016, SSD; weiliu89/caffe"


def normalized(bottoms: Arrays, parameters: Arrays, across: bool) -> np.ndarray:
    """Divide each position, or each image, by its norm; multiply by the scale."""
    (x,), (scale,) = bottoms, parameters
    y = np.empty_like(x)
    for n in range(len(x)):
        for place in [(slice(None), slice(None))] if across else list(np.ndindex(*x.shape[2:])):
            index = (n, slice(None), *place)
            y[index] = x[index] / math.sqrt((x[index] ** 2).sum())
    return y * np.broadcast_to(scale, x.shape[1]).reshape(1, -1, 1, 1)


def prior_boxes(layer: Any, rows: int, columns: int, height: int, width: int) -> np.ndarray:
    """Return the top of PriorBox for settings with one min_size and flipped ratios, by loops."""
    p = layer.prior_box_param
    small = p.min_size[0]
    sides = [(small, small)]
    if p.max_size:
        sides.append((math.sqrt(small * p.max_size[0]),) * 2)
    for ratio in p.aspect_ratio:
        long, short = small * math.sqrt(ratio), small / math.sqrt(ratio)
        sides += [(long, short), (short, long)]
    boxes = []
    for row, column in np.ndindex(rows, columns):
        y, x = (row + p.offset) * height / rows, (column + p.offset) * width / columns
        for w, h in sides:
            boxes += [(x - w / 2) / width, (y - h / 2) / height]
            boxes += [(x + w / 2) / width, (y + h / 2) / height]
    corners = np.clip(boxes, 0, 1) if p.clip else np.array(boxes)
    return np.stack([corners, np.tile(list(p.variance), len(corners) // 4)])[None]


def nearest(value: float) -> int:
    """Round a number of at least 0, halves up."""
    return math.floor(value + 0.5)


def region_maxima(bottoms: Arrays, rows: int, columns: int, scale: float) -> np.ndarray:
    """Fast R-CNN's ROI pooling, one bin at a time."""
    x, rois = bottoms
    y = np.zeros((len(rois), x.shape[1], rows, columns))
    for r, (image, *corners) in enumerate(rois):
        left, top, right, bottom = (nearest(scale * c) for c in corners)
        height, width = max(bottom - top + 1, 1), max(right - left + 1, 1)
        for i, j in np.ndindex(rows, columns):
            part = x[
                int(image),
                :,
                max(top + i * height // rows, 0) : top - (-(i + 1) * height // rows),
                max(left + j * width // columns, 0) : left - (-(j + 1) * width // columns),
            ]
            y[r, :, i, j] = part.max((1, 2)) if part.size else 0
    return y


def region_means(bottoms: Arrays, k: int, scale: float) -> np.ndarray:
    """R-FCN's position-sensitive pooling, one bin of one channel at a time."""
    x, rois = bottoms
    channels = x.shape[1] // k**2
    y = np.zeros((len(rois), channels, k, k))
    for r, (image, *corners) in enumerate(rois):
        left, top = (nearest(c) * scale for c in corners[:2])
        width = max((nearest(corners[2]) + 1) * scale - left, 0.1) / k
        height = max((nearest(corners[3]) + 1) * scale - top, 0.1) / k
        for c, i, j in np.ndindex(channels, k, k):
            ys = _span(top + i * height, top + (i + 1) * height, x.shape[2])
            xs = _span(left + j * width, left + (j + 1) * width, x.shape[3])
            part = x[int(image), (c * k + i) * k + j][ys, xs]
            y[r, c, i, j] = part.mean() if part.size else 0
    return y


def _span(start: float, end: float, size: int) -> slice:
    """Return the positions that an interval touches, inside a side; the margin is for rounding."""
    margin = 1e-6
    return slice(max(math.floor(start + margin), 0), min(math.ceil(end - margin), size))


def with_regions(*shape: int) -> Any:
    """Return a function that draws features and seven ROIs in an image 16 times as large."""

    def draw(random: np.random.RandomState) -> list[np.ndarray]:
        size = 16 * np.array(shape[:1:-1])
        low = random.uniform(0, 0.6, (7, 2)) * size
        high = low + random.uniform(0.05, 0.4, (7, 2)) * size
        images = random.randint(shape[0], size=(7, 1))
        return [random.standard_normal(shape), np.concatenate([images, low, high], 1)]

    return draw


def permuted(order: Sequence[int]) -> Case:
    """Return the case of an order of all axes."""
    text = " ".join(f"order: {axis}" for axis in order)
    return Case(
        "Permute",
        f"permute_param {{ {text} }}",
        normal((2, 3, 4, 5)),
        SSD,
        lambda b, p: np.transpose(b[0], order),
        opencv=True,
    )


CASES = [
    permuted((0, 2, 3, 1)),
    Case(
        "Normalize",
        "norm_param { across_spatial: false channel_shared: false }",
        normal((1, 6, 4, 5)),
        "Liu et al. 2016, ParseNet; weiliu89/caffe",
        lambda b, p: normalized(b, p, False),
        opencv=True,
        learns=(0,),
    ),
    Case(
        "Normalize",
        "norm_param { }",
        normal((2, 6, 4, 5)),
        "Liu et al. 2016, ParseNet; weiliu89/caffe",
        lambda b, p: normalized(b, p, True),
        "over the image",
        learns=(0,),
    ),
    Case(
        "ROIPooling",
        "roi_pooling_param { pooled_h: 3 pooled_w: 4 spatial_scale: 0.0625 }",
        with_regions(1, 3, 12, 16),
        "Girshick 2015, Fast R-CNN",
        lambda b, p: region_maxima(b, 3, 4, 0.0625),
        opencv=True,
    ),
    Case(
        "PSROIPooling",
        "psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 0.0625 }",
        with_regions(1, 18, 12, 16),
        "Dai et al. 2016, R-FCN",
        lambda b, p: region_means(b, 3, 0.0625),
        opencv=True,
    ),
]
