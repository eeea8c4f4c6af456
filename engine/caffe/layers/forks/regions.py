"""Layers that sample regions and masks: ROIAlign, and those of MNC (Dai et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ...blob import Blob
from ..function import Function
from ..registry import register
from .rcnn import smooth_l1


def bilinear_samples(image: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return the bilinear values of C x H x W at rows y and columns x, C x (shape of y).

    The weight of a position is max(0, 1 - |dy|) max(0, 1 - |dx|); beyond the map all is 0.
    """
    height, width = image.shape[1:]
    top, left = y.detach().floor(), x.detach().floor()
    total = image.new_zeros(len(image), *y.shape)
    for i in (0, 1):
        for j in (0, 1):
            row, column = top + i, left + j
            weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            places = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            values = image.flatten(1)[:, places.reshape(-1)].reshape(total.shape)
            total = total + values * (weight * inside)
    return total


class _Sampled(Function):
    """A layer that samples regions: bottoms features N x C x H x W, and ROIs R x 5."""

    bottoms, tops = (2, 2), (1, 1)
    in_place = False
    replayable = False
    settings: str

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.param = getattr(self.layer_param, self.settings)
        if not (self.param.pooled_h and self.param.pooled_w):
            raise self.error(
                f"pooled_h {self.param.pooled_h} and pooled_w {self.param.pooled_w} need to be "
                "above 0"
            )

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        if bottoms[1][-1] != 5 and tuple(bottoms[1][1:]) != (5, 1, 1):
            raise self.shape_error(f"ROIs of shape {bottoms[1]}; R x 5 is needed")
        return [(bottoms[1][0], bottoms[0][1], self.param.pooled_h, self.param.pooled_w)]

    def compute(self, x: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        p = self.param
        tops = [self.sample(x[int(r[0])], r[1:]) for r in rois.reshape(len(rois), 5)]
        return torch.stack(tops) if tops else x.new_zeros(0, x.shape[1], p.pooled_h, p.pooled_w)

    def sample(self, image: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Return the values of one region, C x pooled_h x pooled_w."""
        raise NotImplementedError


@register
class ROIAlign(_Sampled):
    """The mean of bilinear samples in each bin of a region (He et al. 2017, Mask R-CNN, 3).

    The corners times spatial_scale are not rounded; sides are at least 1. Each of
    pooled_h x pooled_w bins has sample_num x sample_num (2 x 2) regularly placed samples.
    """

    no_gradient = (1,)
    settings = "roi_align_param"

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def sample(self, image: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        p, n = self.param, max(1, self.param.sample_num)
        left, top, right, bottom = (box.detach() * p.spatial_scale).tolist()
        height, width = max(bottom - top, 1.0), max(right - left, 1.0)
        y = top + (torch.arange(p.pooled_h * n).to(image) + 0.5) * height / (p.pooled_h * n)
        x = left + (torch.arange(p.pooled_w * n).to(image) + 0.5) * width / (p.pooled_w * n)
        # Up to a position beyond the map, the value is that of the edge.
        size = image.shape[1:]
        near_y, near_x = (y > -1) & (y < size[0]), (x > -1) & (x < size[1])
        y, x = y.clamp(0, size[0] - 1), x.clamp(0, size[1] - 1)
        grid = torch.meshgrid(y, x, indexing="ij")
        values = bilinear_samples(image, *grid) * (near_y[:, None] & near_x)
        return F.avg_pool2d(values, n)


@register
class ROIWarping(_Sampled):
    """A region warped to pooled_h x pooled_w, also as a function of its corners (MNC, 3.2).

    Position (i, j) of the top is the bilinear value at y + i h / pooled_h, x + j w / pooled_w
    (equations 4 to 6), for the region at x, y of w x h, times spatial_scale. The region's corners
    have a gradient.
    """

    settings = "roi_warping_param"

    def sample(self, image: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        p = self.param
        left, top, right, bottom = (box * p.spatial_scale).unbind()
        y = top + torch.arange(p.pooled_h).to(image) / p.pooled_h * (bottom - top)
        x = left + torch.arange(p.pooled_w).to(image) / p.pooled_w * (right - left)
        return bilinear_samples(image, *torch.meshgrid(y, x, indexing="ij"))


@register
class ROIWarpingTest(ROIWarping):
    """ROIWarping under the name that MNC's nets for inference use."""


@register
class MaskPooling(Function):
    """y = x m: features R x C x H x W where a mask R x 1 x H x W is (MNC, 3.3)."""

    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        x, mask = bottoms
        if len(x) != 4 or tuple(mask) != (x[0], 1, *x[2:]):
            raise self.shape_error(f"bottoms of shapes {x} and {mask}; R x 1 x H x W is needed")
        return [x]

    def compute(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return x * mask


@register
class MaskResize(Function):
    """R x C x H x W at output_height x output_width, bilinear (MNC).

    Row i of the top reads row i H / output_height of the bottom.
    """

    pure = True
    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.mask_resize_param
        if x.dim() != 4 or not (p.output_height and p.output_width):
            raise self.shape_error(
                f"a bottom of shape {tuple(x.shape)}, output {p.output_height} x {p.output_width}; "
                "4 axes and sizes above 0 are needed"
            )
        y = torch.arange(p.output_height).to(x) * x.shape[2] / p.output_height
        z = torch.arange(p.output_width).to(x) * x.shape[3] / p.output_width
        grid = torch.meshgrid(
            y.clamp(max=x.shape[2] - 1), z.clamp(max=x.shape[3] - 1), indexing="ij"
        )
        flat = bilinear_samples(x.flatten(0, 1), *grid)
        return flat.reshape(*x.shape[:2], p.output_height, p.output_width)


@register
class SmoothL1LossWithWeight(Function):
    """sum(w f(x - t)) / N, with f of SmoothL1Loss and N rows (MNC).

    Bottoms: x, t and w, all of one shape.
    """

    pure = True
    bottoms, tops = (3, 3), (1, 1)
    auto_tops = 1
    loss = True
    in_place = False
    no_gradient = (2,)
    leaves_gradients = True

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index < 2

    def compute(self, x: torch.Tensor, t: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        if not x.numel() == t.numel() == w.numel():
            raise self.shape_error(
                f"bottoms of shapes {tuple(x.shape)}, {tuple(t.shape)} and {tuple(w.shape)}; all "
                "need to be equal"
            )
        distance = smooth_l1(x - t.reshape(x.shape), self.layer_param.smooth_l1_loss_param.sigma)
        return (w.reshape(x.shape) * distance).sum() / len(x)
