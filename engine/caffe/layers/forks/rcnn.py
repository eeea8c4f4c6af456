"""Layers of the R-CNN family: Fast R-CNN, Faster R-CNN and R-FCN.

A region of interest (ROI) is a row (image, xmin, ymin, xmax, ymax) in pixels of the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ...blob import Blob
from ...ops import boxes
from ...proto import caffe_pb2
from ..base import EngineLayer, Layer, zero_gradients
from ..function import Function
from ..python import stand_in
from ..registry import register


class _OfRegions(Function):
    """A layer that pools regions: bottoms features N x C x H x W, and ROIs R x 5."""

    bottoms, tops = (2, 2), (1, 1)
    in_place = False
    no_gradient = (1,)
    leaves_gradients = True
    replayable = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def regions(self, x: torch.Tensor, rois: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the image of each ROI, R, and its corners, R x 4. Raises ShapeError."""
        values = rois.detach().flatten(1).cpu().numpy()
        images = values[:, 0].astype(np.int64)
        if values.shape[1] != 5 or (len(images) and not 0 <= images.min() <= images.max() < len(x)):
            raise self.shape_error(
                f"ROIs of shape {tuple(rois.shape)} for {len(x)} images; rows of 5 are needed, "
                "with the number of an image first"
            )
        return images, values[:, 1:]


def _round(values: np.ndarray) -> np.ndarray:
    """Round halves away from zero, as C does."""
    return np.sign(values) * np.floor(np.abs(values) + np.float32(0.5))


@register
class ROIPooling(_OfRegions):
    """The maximum of each of pooled_h x pooled_w bins of a region (Girshick 2015, section 2.1).

    The corners times spatial_scale, rounded, are positions of the features. Bin i of n over a side
    of k positions spans floor(i k / n) up to ceil((i + 1) k / n). The top is
    R x C x pooled_h x pooled_w; a bin without positions is 0 (roi_pooling_layer.cpp of Fast R-CNN).
    pad_ratio, of MS-CNN, enlarges each region by this part of its size on every side.
    """

    precision = "kept"

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.roi_pooling_param
        if p.pooled_size:
            p.pooled_h, p.pooled_w = p.pooled_h or p.pooled_size, p.pooled_w or p.pooled_size
        if not (p.pooled_h and p.pooled_w):
            raise self.error(f"pooled_h {p.pooled_h} and pooled_w {p.pooled_w} need to be above 0")

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        p = self.layer_param.roi_pooling_param
        return [(bottoms[1][0], bottoms[0][1], p.pooled_h, p.pooled_w)]

    def compute(self, x: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.roi_pooling_param
        images, corners = self.regions(x, rois)
        starts, ends = self._extents(corners, x.shape[2:])
        regions = []
        for image, (left, top), (right, bottom) in zip(images, starts, ends):
            rows = _bins(top, bottom, p.pooled_h, x.shape[2])
            regions.append((int(image), rows, _bins(left, right, p.pooled_w, x.shape[3])))
        if not regions:
            return x.new_zeros(0, x.shape[1], p.pooled_h, p.pooled_w)
        if torch.is_grad_enabled() and x.requires_grad:
            return _Maxima.apply(x, regions)
        return torch.stack(
            [
                torch.stack([_maxima(x[n], a, b, columns) for a, b in rows], 1)
                for n, rows, columns in regions
            ]
        )

    def _extents(self, corners: np.ndarray, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and the last position (x, y) of each region."""
        p = self.layer_param.roi_pooling_param
        scale = np.float32(p.spatial_scale)
        low, high = corners[:, :2], corners[:, 2:]
        if not p.pad_ratio:
            return _round(low * scale), _round(high * scale)
        pad = (high - low + 1) * np.float32(p.pad_ratio)
        limits = _round(np.array(size[::-1], np.float32) / scale) - 1
        starts = np.maximum(_round((low - pad) * scale), 0)
        return starts, np.minimum(_round((high + pad) * scale), limits)


def _bins(start: float, end: float, count: int, size: int) -> list[tuple[int, int]]:
    """Return the start and the end (exclusive) of each bin, limited to 0 .. size."""
    length = np.float32(max(end - start + 1, 1)) / np.float32(count)
    index = np.arange(count, dtype=np.float32)
    first = np.clip(np.floor(index * length) + start, 0, size)
    last = np.clip(np.ceil((index + 1) * length) + start, 0, size)
    return list(zip(first.astype(int).tolist(), last.astype(int).tolist()))


def _maxima(
    image: torch.Tensor, first: int, last: int, columns: Sequence[tuple[int, int]]
) -> torch.Tensor:
    """Return the maxima, C x columns, of a row of bins of an image C x H x W."""
    strip = image[:, first:last].amax(1) if last > first else None
    maxima = [
        image.new_zeros(len(image)) if strip is None or b <= a else strip[:, a:b].amax(1)
        for a, b in columns
    ]
    return torch.stack(maxima, 1)


class _Maxima(torch.autograd.Function):
    """The maxima of the bins of regions; the gradient goes to the first maximum of each bin.

    A region is its image, and the bins of its rows and of its columns. A graph of slices would
    write a gradient of the map's size for each bin.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, regions: Sequence[Any]) -> torch.Tensor:
        bins = [(n, r, c) for n, rows, columns in regions for r in rows for c in columns]
        values = x.new_zeros(len(bins), x.shape[1])
        places = torch.zeros(len(bins), x.shape[1], dtype=torch.long, device=x.device)
        for i, (n, (a, b), (c, d)) in enumerate(bins):
            if b > a and d > c:
                values[i], inside = x[n, :, a:b, c:d].flatten(1).max(1)
                row = torch.div(inside, d - c, rounding_mode="floor")
                places[i] = (a + row) * x.shape[3] + c + inside - row * (d - c)
            else:
                # An empty bin, whose value is 0, has no gradient.
                places[i] = -1
        ctx.shape, ctx.images = x.shape, [n for n, _, _ in regions]
        ctx.save_for_backward(places)
        grid = (len(regions), len(regions[0][1]), len(regions[0][2]))
        return values.reshape(*grid, -1).movedim(3, 1).contiguous()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:  # type: ignore[override]
        total = grad.new_zeros(*ctx.shape[:2], ctx.shape[2] * ctx.shape[3])
        places = ctx.saved_tensors[0].reshape(len(ctx.images), -1, ctx.shape[1]).transpose(1, 2)
        for n, index, values in zip(ctx.images, places, grad.flatten(2)):
            total[n].scatter_add_(1, index.clamp(min=0), values * (index >= 0))
        return total.reshape(ctx.shape), None


@register
class PSROIPooling(_OfRegions):
    """Position-sensitive ROI pooling (Dai et al. 2016, "R-FCN", equation 1).

    The features have output_dim * k^2 channels, k = group_size. Bin (i, j) of output channel c is
    the mean of feature channel (c k + i) k + j over the bin's positions; a bin without positions is
    0. The top is R x output_dim x k x k (psroi_pooling_layer.cu of R-FCN).
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.psroi_pooling_param
        if p.output_dim < 1 or p.group_size < 1 or not p.spatial_scale > 0:
            raise self.error("output_dim, group_size and spatial_scale are needed, above 0")

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        p = self.layer_param.psroi_pooling_param
        if bottoms[0][1] != p.output_dim * p.group_size**2:
            raise self.shape_error(
                f"features of {bottoms[0][1]} channels; output_dim {p.output_dim} and group_size "
                f"{p.group_size} need {p.output_dim * p.group_size**2}"
            )
        return [(bottoms[1][0], p.output_dim, p.group_size, p.group_size)]

    def compute(self, x: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.psroi_pooling_param
        k, scale = p.group_size, np.float32(p.spatial_scale)
        images, corners = self.regions(x, rois)
        starts = _round(corners[:, :2]) * scale
        ends = (_round(corners[:, 2:]) + np.float32(1)) * scale
        lengths = np.maximum(ends - starts, np.float32(0.1)) / np.float32(k)
        index = np.arange(k, dtype=np.float32)
        regions = []
        for image, start, length in zip(images, starts, lengths):
            first = np.floor(index[:, None] * length + start).clip(0, x.shape[:1:-1]).astype(int)
            last = np.ceil((index[:, None] + 1) * length + start)
            last = last.clip(0, x.shape[:1:-1]).astype(int)
            regions.append((int(image), first, last))
        maps = x.reshape(len(x), p.output_dim, k, k, *x.shape[2:])
        return _Means.apply(maps, regions)


class _Means(torch.autograd.Function):
    """The means of the bins (i, j) of regions over maps N x D x k x k x H x W, R x D x k x k.

    A region is its image, and the first and the last positions (x, y) of its bins. A graph of
    slices would write a gradient of the map's size for each bin.
    """

    @staticmethod
    def forward(ctx: Any, maps: torch.Tensor, regions: Sequence[Any]) -> torch.Tensor:
        ctx.shape, ctx.regions = maps.shape, regions
        y = maps.new_zeros(len(regions), *maps.shape[1:4])
        for part, region in zip(y, regions):
            for (i, j), window in _windows(region):
                part[:, i, j] = _mean(maps[window])
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:  # type: ignore[override]
        total = grad.new_zeros(ctx.shape)
        for part, region in zip(grad, ctx.regions):
            for (i, j), window in _windows(region):
                values = total[window]
                if values.numel():
                    area = values.shape[1] * values.shape[2]
                    values += (part[:, i, j] / area)[:, None, None]
        return total, None


def _windows(region: tuple[int, np.ndarray, np.ndarray]) -> Iterator[tuple[Any, Any]]:
    """Yield each bin (i, j) of a region and the index of its values in the maps."""
    image, first, last = region
    for i, j in np.ndindex(len(first), len(first)):
        rows, columns = slice(first[i, 1], last[i, 1]), slice(first[j, 0], last[j, 0])
        yield (i, j), (image, slice(None), i, j, rows, columns)


def _mean(bin_values: torch.Tensor) -> torch.Tensor:
    """Return the mean over the last two axes; 0 where they are empty."""
    count = bin_values.shape[1] * bin_values.shape[2]
    return bin_values.sum((1, 2)) / max(count, 1)


@register
class Proposal(EngineLayer):
    """The regions that a region proposal network proposes (Ren et al. 2015, "Faster R-CNN", 3.1).

    Bottoms: probabilities 1 x 2A x H x W (A of background, A of objects), box codes
    1 x 4A x H x W, and the image's height, width and scale. A anchors of each scale and ratio
    around base_size lie at every feat_stride pixels. Boxes are decoded, clipped to the image, and
    kept with sides of at least min_size * scale; the pre_nms_topn best go through suppression at
    nms_thresh, and post_nms_topn remain. Tops: ROIs R x 5, and their scores R x 1
    (proposal_layer.py of py-faster-rcnn).
    """

    bottoms, tops = (3, 3), (1, 2)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.proposal_param
        ratios, scales = list(p.ratio) or [0.5, 1, 2], list(p.scale) or [8, 16, 32]
        self.anchors = anchors(p.base_size, ratios, scales)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        count = len(self.anchors)
        shapes = [b.shape for b in bottom[:2]]
        if shapes[0][:2] != (1, 2 * count) or shapes[1][:2] != (1, 4 * count):
            raise self.shape_error(
                f"bottoms of shapes {shapes[0]} and {shapes[1]}; {count} anchors need one image "
                f"with {2 * count} and {4 * count} channels"
            )
        post = self.layer_param.proposal_param.post_nms_topn
        for blob, columns in zip(top, (5, 1)):
            blob.resize((post, columns))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.proposal_param
        scores, codes, info = (b.values.tensor().numpy() for b in bottom)
        height, width, scale = info.ravel()[:3]
        grid = self._grid(scores.shape[2:], p.feat_stride)
        decoded = decode_pixels(codes[0].reshape(len(self.anchors), 4, -1), grid)
        decoded = decoded.clip(0, np.array([width, height, width, height], np.float32) - 1)
        objects = scores[0, len(self.anchors) :].reshape(len(self.anchors), -1).T.ravel()
        sides = decoded[:, 2:] - decoded[:, :2] + 1
        index = np.flatnonzero((sides >= np.float32(p.min_size) * scale).all(1))
        index = index[np.argsort(-objects[index], kind="stable")]
        if p.pre_nms_topn:
            index = index[: p.pre_nms_topn]
        limit = p.post_nms_topn or None
        index = index[boxes.suppress(decoded[index], p.nms_thresh, extra=1, limit=limit)]
        rois = np.concatenate([np.zeros((len(index), 1), np.float32), decoded[index]], 1)
        for blob, value in zip(top, (rois, objects[index][:, None])):
            blob.resize(value.shape)
            blob.values.set(torch.from_numpy(np.ascontiguousarray(value)))

    def _grid(self, size: Sequence[int], stride: int) -> np.ndarray:
        """Return the anchors at every position, (H W) x A x 4."""
        y, x = np.mgrid[: size[0], : size[1]].astype(np.float32) * stride
        shifts = np.stack([x, y, x, y], -1).reshape(-1, 1, 4)
        return shifts + self.anchors

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """Proposals have no gradient: the bottoms get zeros, as in py-faster-rcnn."""
        zero_gradients(propagate_down, bottom)


def read_numbers(param_str: str) -> dict[str, list[float]]:
    """Return feat_stride, scales and ratios of the param_str of a layer of py-faster-rcnn."""
    read = re.compile(r"(feat_stride|scales|ratios)'?\s*:\s*[^0-9\n]*([0-9][0-9., ]*)")
    return {
        name: [float(number) for number in re.findall(r"[0-9.]+", text)]
        for name, text in read.findall(param_str)
    }


@stand_in("rpn.proposal_layer", "ProposalLayer")
def proposal_of_python(param: Any) -> Layer:
    """Return the Proposal for py-faster-rcnn's Python layer of a LayerParameter.

    `param_str` has feat_stride, scales and, in SSH, ratios; the rest has the defaults of
    py-faster-rcnn's config.
    """
    numbers = read_numbers(param.python_param.param_str)
    p = param.proposal_param
    p.feat_stride = int(numbers.get("feat_stride", [16])[0])
    p.scale.extend(numbers.get("scales", []))
    p.ratio.extend(numbers.get("ratios", []))
    if param.phase == caffe_pb2.TRAIN:
        p.pre_nms_topn, p.post_nms_topn = 12000, 2000
    return Proposal(param)


def anchors(base: int, ratios: Sequence[float], scales: Sequence[float]) -> np.ndarray:
    """Return an anchor for each ratio and scale, A x 4, ratios outermost.

    The anchor of ratio r and scale s has round(sqrt(base^2 / r)) * s columns, and r times as many
    rows before rounding, around the centre of a window of base x base pixels.
    """
    center = (base - 1) / 2
    rows = []
    for ratio in ratios:
        width = np.round(np.sqrt(base * base / ratio))
        height = np.round(width * ratio)
        for scale in scales:
            half = (np.array([width, height]) * scale - 1) / 2
            rows.append([*(center - half), *(center + half)])
    return np.array(rows, np.float32)


def decode_pixels(codes: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return boxes in pixels, (positions A) x 4, from codes A x 4 x positions around a grid.

    As `ops.boxes.decode` with CENTER_SIZE, for boxes of xmax - xmin + 1 pixels.
    """
    moved = codes.transpose(2, 0, 1)
    sizes = grid[..., 2:] - grid[..., :2] + 1
    centers = grid[..., :2] + sizes / 2 + moved[..., :2] * sizes
    halves = np.exp(moved[..., 2:]) * sizes / 2
    return np.concatenate([centers - halves, centers + halves], -1).reshape(-1, 4)


def smooth_l1(difference: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
    """Return 0.5 (sigma d)^2 where |d| < 1 / sigma^2, else |d| - 0.5 / sigma^2."""
    size, square = difference.abs(), sigma * sigma
    near = 0.5 * square * difference * difference
    return torch.where(size < 1 / square, near, size - 0.5 / square)


@register
class SmoothL1Loss(Function):
    """sum(w_out * f(w_in * (x - t))) / N (Girshick 2015, "Fast R-CNN", equations 2 and 3).

    f(d) = 0.5 (sigma d)^2 where |d| < 1 / sigma^2, else |d| - 0.5 / sigma^2. N is the number of
    images. Bottoms: x, t, and optionally w_in and w_out, all of one shape (py-faster-rcnn).
    """

    pure = True
    bottoms, tops = (2, 4), (1, 1)
    auto_tops = 1
    loss = True
    in_place = False
    no_gradient = (2, 3)
    leaves_gradients = True

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index < 2

    def compute(self, x: torch.Tensor, t: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        shapes = {tuple(b.shape) for b in (x, t, *weights)}
        if len({w.numel() for w in (x, t, *weights)}) > 1:
            raise self.shape_error(f"bottoms of shapes {sorted(shapes)}; all need to be equal")
        inside, outside = ([w.reshape(x.shape) for w in weights] + [torch.ones_like(x)] * 2)[:2]
        difference = inside * (x - t.reshape(x.shape))
        distance = smooth_l1(difference, self.layer_param.smooth_l1_loss_param.sigma)
        return (outside * distance).sum() / len(x)
