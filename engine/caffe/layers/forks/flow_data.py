"""Layers around optical flow nets: DataAugmentation, Mean, Accum, Downsample, losses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ... import mode
from ...blob import Blob
from ...proto import caffe_pb2
from ..function import Function
from ..registry import register
from .flow_augmentation import Drawing, check_maps, move

#: The map of the places of a crop that is the centre.
CENTRE = np.eye(2, 3)


@register
class DataAugmentation(Drawing):
    """Crops with a mean subtracted (Dosovitskiy et al. 2015, FlowNet, section 4.2; flownet2).

    The bottom is N x C x H x W, the top N x C x crop_height x crop_width; a size of 0 keeps that of
    the bottom. `mean` has a value for each channel. With recompute_mean there are three parameters:
    the number of batches so far, the mean of each pixel, and that of each channel; TRAIN updates
    them for that many batches, and mean_per_pixel says which of the means is subtracted.

    The crop is the centre; in TRAIN, or with augment_during_test, it is mirrored, turned, moved and
    scaled by numbers that augmentation_param says how to draw (`draw_move`). A second top has the
    maps of the places, N x 2 x 3; a second bottom has such maps to be used. Changes of colours,
    which augmentation_param has too, are not done.
    """

    bottoms, tops = (1, 2), (1, 2)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        super().setup(bottom, top)
        p, shape = self.layer_param.augmentation_param, bottom[0].shape
        if len(shape) != 4:
            raise self.shape_error(f"the bottom has shape {shape}; it needs 4 axes")
        if len(p.mean) not in (0, 1, shape[1]):
            raise self.error(
                f"{len(p.mean)} mean for {shape[1]} channels; it needs none, one, or one for each"
            )
        if p.recompute_mean:
            for size in ((1,), (1, shape[1], *self._size(shape)), (1, shape[1], 1, 1)):
                self.add_parameter(size, caffe_pb2.FillerParameter())
            specs = self.layer_param.param
            while len(specs) < 3:
                specs.add()
            for spec in specs:
                spec.lr_mult = spec.decay_mult = 0

    def _size(self, shape: Sequence[int]) -> tuple[int, int]:
        p = self.layer_param.augmentation_param
        size = (p.crop_height or shape[2], p.crop_width or shape[3])
        if size[0] > shape[2] or size[1] > shape[3]:
            raise self.shape_error(
                f"crops of {size} from a bottom of shape {tuple(shape)}; "
                "crops need to fit the bottom"
            )
        return size

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        shape = bottom[0].shape
        top[0].resize((*shape[:2], *self._size(shape)))
        for maps in bottom[1:]:
            check_maps(self, maps.shape, shape)
        for maps in top[1:]:
            maps.resize((shape[0], 2, 3))

    def _maps(self, bottom: Sequence[Blob]) -> torch.Tensor | None:
        """Return the maps of the places, N x 2 x 3, or None for centres."""
        if len(bottom) > 1:
            return bottom[1].values.tensor()
        if not self.draws():
            return None
        shape = bottom[0].shape
        crop = self._size(shape)
        maps = [self.draw_inside(CENTRE, crop, shape[2:]) for _ in range(shape[0])]
        return torch.from_numpy(np.stack(maps).astype(np.float32))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, x = self.layer_param.augmentation_param, bottom[0].values.tensor(mode.device())
        height, width = self._size(x.shape)
        first, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        maps = self._maps(bottom)
        if maps is None:
            y = x[:, :, first : first + height, left : left + width].clone()
            maps = torch.from_numpy(CENTRE.astype(np.float32)).expand(len(x), 2, 3)
        else:
            y = move(x, maps, (height, width))
        for blob in top[1:]:
            blob.values.set(maps.clone())
        if p.recompute_mean:
            count, pixels, channels = (b.values.mutable(y.device).data for b in self.blobs)
            if self.phase == caffe_pb2.TRAIN and float(count) < p.recompute_mean:
                mean = y.mean(0, keepdim=True)
                count += 1
                pixels += (mean - pixels) / count
                channels.copy_(pixels.mean((2, 3), keepdim=True))
            fits = p.mean_per_pixel and pixels.shape[2:] == y.shape[2:]
            y -= pixels if fits else channels
        if p.mean:
            y -= torch.tensor(list(p.mean), device=y.device)[:, None, None]
        top[0].values.set(y)


@register
class Mean(Function):
    """y = output_scale (input_scale x - mean), or + mean with operation ADD (flownet2).

    x is N x C x H x W; `value` has one mean, or one for each channel.
    """

    pure = True
    bottoms, tops = (1, 1), (1, 1)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.mean_param
        if len(p.value) not in (1, x.shape[1]):
            raise self.error(
                f"{len(p.value)} value for {x.shape[1]} channels; it needs one, or one for each"
            )
        mean = torch.tensor(list(p.value), device=x.device).reshape(1, -1, *[1] * (x.dim() - 2))
        sign = 1 if p.operation == p.ADD else -1
        return p.output_scale * (p.input_scale * x + sign * mean)


class _Resized(Function):
    """A layer whose second bottom, or whose settings, give the height and width of the top."""

    bottoms, tops = (1, 2), (1, 1)
    in_place = False
    no_gradient = (1,)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0


@register
class Accum(_Resized):
    """The bottom enlarged bilinearly, corner on corner (OpenCV and flownet2's Accum).

    top_height and top_width, or the size of a second bottom, or the next multiple of
    size_divisible_by give the size of the top.
    """

    pure = True

    def compute(self, x: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
        p = self.layer_param.accum_param
        if like is not None:
            size = tuple(like.shape[2:])
        elif p.size_divisible_by:
            size = tuple(
                math.ceil(n / p.size_divisible_by) * p.size_divisible_by for n in x.shape[2:]
            )
        else:
            size = (p.top_height, p.top_width)
        if x.dim() != 4 or min(size) < 1:
            raise self.shape_error(
                f"a bottom of shape {tuple(x.shape)} for a top of {size}; "
                "4 axes and sizes from 1 on are needed"
            )
        return F.interpolate(x, size, mode="bilinear", align_corners=True)


@register
class Downsample(_Resized):
    """The mean of what each position of the smaller top covers (flownet2).

    Position i of n, of a bottom of N positions, is at i (N - 1) / (n - 1). The values within
    (N - 1) / (n - 1) / 2 of that place count, with the share of each that lies inside. Not-a-number
    values are left out.
    """

    pure = True

    def compute(self, x: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
        p = self.layer_param.downsample_param
        size = (p.top_height, p.top_width) if like is None else tuple(like.shape[2:])
        if x.dim() != 4 or any(not 1 <= n <= m for n, m in zip(size, x.shape[2:])):
            raise self.shape_error(
                f"a bottom of shape {tuple(x.shape)} for a top of {size}; the top is the smaller"
            )
        down, right = (shares(m, n, x) for m, n in zip(x.shape[2:], size))
        valid = ~x.isnan()
        total = down @ torch.where(valid, x, torch.zeros_like(x)) @ right.T
        return total / (down @ valid.to(x) @ right.T)


def shares(positions: int, count: int, like: torch.Tensor) -> torch.Tensor:
    """Return the share of each of `positions` in each of `count` windows, count x positions.

    like: a tensor of the device and the element type.
    """
    step = (positions - 1) / max(count - 1, 1)
    centre = torch.arange(count).to(like)[:, None] * step
    half = max(step, 1) / 2
    distance = (torch.arange(positions).to(like) - centre).abs()
    return (half + 0.5 - distance).clamp(0, 1)


@register
class L1Loss(Function):
    """The distance of two maps N x C x H x W, over the batch (flownet2; NVIDIA/caffe).

    sum of |a - b| / N, or of one bottom |a|. With l2_per_location it is the sum over positions of
    sqrt(sum over channels of (a - b)^2 + epsilon) / N, the end-point error of FlowNet; channels are
    first divided by their number with l2_prescale_by_channels, and positions whose squares are
    below plateau^2 do not count. With normalize_by_num_entries the divisor is the number of entries
    that are numbers. Not-a-number entries of the second bottom do not count.
    """

    pure = True
    bottoms, tops = (1, 2), (1, 1)
    auto_tops = 1
    loss = True
    in_place = False

    def compute(self, a: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        p = self.layer_param.l1_loss_param
        if b is not None and a.shape != b.shape:
            raise self.shape_error(
                f"bottoms of shapes {tuple(a.shape)} and {tuple(b.shape)}; they need to be equal"
            )
        difference = a if b is None else a - b
        valid = ~difference.isnan()
        difference = torch.where(valid, difference, torch.zeros_like(difference))
        divisor = valid.sum() / a.shape[1] if p.normalize_by_num_entries else len(a)
        if not p.l2_per_location:
            return difference.abs().sum() / divisor
        scale = 1 / a.shape[1] if p.l2_prescale_by_channels else 1.0
        squares = (scale * difference).square().sum(1)
        far = squares > p.plateau**2 if p.plateau else valid.all(1)
        return ((squares + p.epsilon).pow(p.power) * far).sum() / divisor
