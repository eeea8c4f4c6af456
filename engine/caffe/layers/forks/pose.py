"""Layers of pose nets: ImResize and Nms (Cao et al. 2017, "Realtime multi-person 2D pose")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ...blob import Blob
from ..base import EngineLayer
from ..function import Function
from ..registry import register


@register
class ImResize(Function):
    """Heat maps enlarged by `factor` with bicubic interpolation (rtpose, OpenPose).

    N x C x H x W becomes N x C x h x w: H factor x W factor, or target_spatial_height x
    target_spatial_width. Maps of several images, which rtpose computes at several scales of one,
    are enlarged each for itself.
    """

    pure = True
    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.imresize_param
        if x.dim() != 4:
            raise self.shape_error(f"the bottom has shape {tuple(x.shape)}; it needs 4 axes")
        size = (p.target_spatial_height, p.target_spatial_width)
        if p.factor:
            size = (int(x.shape[2] * p.factor), int(x.shape[3] * p.factor))
        if min(size) < 1:
            raise self.error("has no size; set factor, or target_spatial_height and _width")
        # The a of the cubic kernel is -0.75, as in OpenCV.
        return F.interpolate(x, size, mode="bicubic", align_corners=False)


@register
class Nms(EngineLayer):
    """The peaks of heat maps, the strongest places of a body's parts (rtpose, OpenPose).

    The bottom is N x C x H x W with C at least num_parts. The top is N x num_parts x
    (max_peaks + 1) x 3: in row 0 the number of peaks, then x, y and value of each in the order of
    the rows of the map. A peak is above `threshold` and above its 8 neighbours; its place is the
    mean of the places within 3 positions, weighted by the values above 0.
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.nms_param, bottom[0].shape
        if len(shape) != 4 or shape[1] < p.num_parts:
            raise self.shape_error(
                f"the bottom has shape {shape}; it needs N x {p.num_parts} or more x H x W"
            )
        top[0].resize((shape[0], p.num_parts, p.max_peaks + 1, 3))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.nms_param
        maps = bottom[0].values.tensor().numpy()
        y = np.zeros(top[0].shape, np.float32)
        for image in range(len(maps)):
            for part in range(p.num_parts):
                places = peaks(maps[image, part], p.threshold, p.max_peaks)
                y[image, part, 0, 0] = len(places)
                y[image, part, 1 : len(places) + 1] = places
        top[0].values.set(torch.from_numpy(y))


def peaks(heat: np.ndarray, threshold: float, limit: int | None = None) -> np.ndarray:
    """Return the first `limit` peaks of a heat map H x W, K x 3: x, y and value.

    `Nms` says what a peak is.
    """
    height, width = heat.shape
    padded = np.pad(heat, 1, constant_values=-np.inf)
    highest = heat > threshold
    for down in range(3):
        for right in range(3):
            if (down, right) != (1, 1):
                highest &= heat > padded[down : down + height, right : right + width]
    rows = []
    for y, x in np.argwhere(highest)[:limit]:
        top, left = max(0, y - 3), max(0, x - 3)
        near = heat[top : y + 4, left : x + 4].clip(min=0)
        down, right = np.indices(near.shape)
        total = near.sum()
        place = ((right * near).sum() / total + left, (down * near).sum() / total + top)
        rows.append((*place, heat[y, x]))
    return np.array(rows, np.float32).reshape(-1, 3)
