"""Deformable convolution and pooling, which read where offsets say (Dai et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ...blob import Blob
from ..function import Function
from ..registry import register
from ..windows import read_window


@register
class DeformableConvolution(Function):
    """A Convolution whose positions move by the second bottom (Dai et al. 2017, equation 2).

    Bottoms: x, N x C x H x W, and offsets, N x 2 G kh kw x h x w for tops of h x w. Channel
    2 (i kw + j) of a group's offsets moves position (i, j) of the kernel down, the next one moves
    the position to the right; the channels of x belong to G = deformable_group groups. Values
    between positions are bilinear, and 0 outside 0 <= y < H, 0 <= x < W. The parameters are those
    of Convolution (deformable_im2col of msracver/Deformable-ConvNets;
    unsky/Deformable-ConvNets-caffe).
    """

    precision = "low"
    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shapes = self.layer_param.deformable_convolution_param, [b.shape for b in bottom]
        if any(len(shape) != 4 for shape in shapes):
            raise self.shape_error(f"bottoms of shapes {shapes[0]} and {shapes[1]} need 4 axes")
        # The two messages share the numbers of their fields.
        self.layer_param.convolution_param.ParseFromString(p.SerializeToString())
        try:
            window = read_window("Convolution", self.layer_param, 2)
        except ValueError as error:
            raise self.error(str(error)) from None
        assert window is not None
        self.window_read = window
        self.kernel = window.kernel
        channels, moves = shapes[0][1], 2 * self.kernel[0] * self.kernel[1]
        self.groups = shapes[1][1] // moves
        if shapes[1][1] % moves or (
            p.HasField("deformable_group") and p.deformable_group != self.groups
        ):
            raise self.shape_error(
                f"offsets of {shapes[1][1]} channels; {p.deformable_group} groups of "
                f"{moves // 2} positions need {p.deformable_group * moves}"
            )
        divisors = (p.group, self.groups)
        if p.num_output < 1 or not all(n and channels % n == 0 for n in divisors):
            raise self.error(
                f"num_output {p.num_output}, group {p.group} and {self.groups} groups of offsets "
                f"for {channels} channels; num_output is needed, and groups that divide the others"
            )
        if p.num_output % p.group:
            raise self.error(f"group {p.group} does not divide num_output {p.num_output}")
        self.add_parameter((p.num_output, channels // p.group, *self.kernel), p.weight_filler)
        if p.bias_term:
            self.add_parameter((p.num_output,), p.bias_filler)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        w, outputs = self.window_read, self.layer_param.convolution_param.num_output
        axes = zip(bottoms[0][2:], w.reach, w.stride, w.pad)
        size = tuple((n + 2 * p - r) // s + 1 for n, r, s, p in axes)
        if min(size) < 1 or bottoms[1] != (bottoms[0][0], bottoms[1][1], *size):
            raise self.shape_error(
                f"bottoms of shapes {bottoms[0]} and {bottoms[1]}; offsets for each of "
                f"{' x '.join(map(str, size))} positions are needed"
            )
        return [(bottoms[0][0], outputs, *size)]

    def compute(self, x: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        weights, bias = self.weight_and_bias()
        images, group = len(x), self.layer_param.convolution_param.group
        size = offsets.shape[2:]
        moved = offsets.reshape(images, self.groups, -1, 2, *size)
        samples = self._sampled(x, *self._places(moved, x))
        columns = samples.reshape(images, group, -1, size[0] * size[1])
        kernels = weights.reshape(group, len(weights) // group, -1)
        y = (kernels @ columns).reshape(images, len(weights), *size)
        return y if bias is None else y + bias[:, None, None]

    def _places(self, moved: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows and columns of samples, N x G x (kh kw) x h x w each."""
        w = self.window_read
        grids = []
        for axis, count in enumerate(moved.shape[4:]):
            first = torch.arange(count).to(x) * w.stride[axis] - w.pad[axis]
            steps = torch.arange(w.kernel[axis]).to(x) * w.dilation[axis]
            grids.append(steps[:, None] + first)
        rows = grids[0][:, None, :, None].expand(-1, w.kernel[1], -1, 1).flatten(0, 1)
        columns = grids[1][None, :, None].expand(w.kernel[0], -1, 1, -1).flatten(0, 1)
        return moved[:, :, :, 0] + rows, moved[:, :, :, 1] + columns

    def _sampled(self, x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Return the samples, N x C x (kh kw) x h x w, channels of a group at its places."""
        images, channels, height, width = x.shape
        maps = x.reshape(images, self.groups, channels // self.groups, height * width)
        inside = (rows >= 0) & (columns >= 0) & (rows < height) & (columns < width)
        top, left = rows.detach().floor(), columns.detach().floor()
        # At the last row and column the value is that of the edge.
        down = torch.where(top >= height - 1, 0, rows - top)
        right = torch.where(left >= width - 1, 0, columns - left)
        total: torch.Tensor | float = 0.0
        for i, vertical in ((0, 1 - down), (1, down)):
            for j, horizontal in ((0, 1 - right), (1, right)):
                y, z = (top + i).clamp(0, height - 1), (left + j).clamp(0, width - 1)
                places = (y * width + z).long().flatten(2)[:, :, None]
                values = maps.gather(3, places.expand(-1, -1, maps.shape[2], -1))
                weight = (vertical * horizontal * inside).flatten(2)[:, :, None]
                total = total + values * weight
        assert isinstance(total, torch.Tensor)
        return total.reshape(images, channels, *rows.shape[2:])


@register
class DeformablePSROIPooling(Function):
    """Position-sensitive ROI pooling whose bins move by the third bottom (Dai et al. 2017, 2.2).

    Bottoms: features N x D G^2 x H x W, with D = output_dim and G = group_size; ROIs R x 5; and,
    without no_trans, offsets R x 2 K x P x P, with P = part_size. Each of K classes has D / K
    channels of the top, R x D x k x k, with k = pooled_size. Channels 2 c and 2 c + 1 of the
    offsets move the bins of class c to the right and down, in units of trans_std times the
    region's width and height. A bin is the mean of the bilinear values at sample_per_part^2
    places, without the places more than half a position outside the map. A bin without places
    is 0.

    The formula is that of deformable_psroi_pooling.cu of msracver/Deformable-ConvNets
    (unsky/Deformable-ConvNets-caffe).
    """

    bottoms, tops = (2, 3), (1, 1)
    in_place = False
    replayable = False
    no_gradient = (1,)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.deformable_psroi_pooling_param
        if not (p.output_dim and p.group_size and p.sample_per_part and p.spatial_scale > 0):
            raise self.error(
                "output_dim, group_size, sample_per_part and spatial_scale are needed, above 0"
            )
        if len(bottom) != (2 if p.no_trans else 3):
            raise self.error(
                f"{len(bottom)} bottoms; features and ROIs are needed with no_trans, and offsets, "
                "too, without"
            )
        self.size = p.pooled_size or p.group_size
        self.parts = p.part_size or self.size

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        p = self.layer_param.deformable_psroi_pooling_param
        features, rois = bottoms[:2]
        if len(features) != 4 or features[1] != p.output_dim * p.group_size**2:
            raise self.shape_error(
                f"features of shape {features}; output_dim {p.output_dim} and group_size "
                f"{p.group_size} need {p.output_dim * p.group_size**2} channels"
            )
        if math.prod(rois[1:]) != 5:
            raise self.shape_error(f"ROIs of shape {rois}; R x 5 is needed")
        for offsets in bottoms[2:]:
            classes = offsets[1] // 2
            shape = (rois[0], 2 * classes, self.parts, self.parts)
            if offsets != shape or not classes or p.output_dim % classes:
                raise self.shape_error(
                    f"offsets of shape {offsets}; {rois[0]} x 2 K x {self.parts} x {self.parts} is "
                    f"needed, for K classes that divide output_dim {p.output_dim}"
                )
        return [(rois[0], p.output_dim, self.size, self.size)]

    def compute(
        self, x: torch.Tensor, rois: torch.Tensor, offsets: torch.Tensor | None = None
    ) -> torch.Tensor:
        p = self.layer_param.deformable_psroi_pooling_param
        rows = rois.detach().reshape(len(rois), 5)
        corners = (rows[:, 1:].abs() + 0.5).floor() * rows[:, 1:].sign()
        starts = corners[:, :2] * p.spatial_scale - 0.5
        sizes = ((corners[:, 2:] + 1) * p.spatial_scale - 0.5 - starts).clamp(min=0.1)
        if offsets is None:
            moves = x.new_zeros(len(rows), 1, 2, self.size, self.size)
        else:
            part = self._cells(self.parts, x.device)
            moved = offsets[:, :, part[:, None], part] * p.trans_std
            moves = moved.reshape(len(rows), -1, 2, self.size, self.size)
        tops = [
            self._pooled(x[int(image)], start, size, move)
            for image, start, size, move in zip(rows[:, 0], starts, sizes, moves)
        ]
        return torch.stack(tops) if tops else x.new_zeros(0, p.output_dim, self.size, self.size)

    def _cells(self, count: int, device: torch.device) -> torch.Tensor:
        """Return the cell, of `count` cells in a row, of each of the bins in a row."""
        return torch.arange(self.size, device=device) * count // self.size

    def _pooled(
        self, x: torch.Tensor, start: torch.Tensor, size: torch.Tensor, moves: torch.Tensor
    ) -> torch.Tensor:
        """Return the bins of a region, D x k x k. moves: classes x 2 x k x k, right and down."""
        p = self.layer_param.deformable_psroi_pooling_param
        height, width = x.shape[1:]
        bins = torch.arange(self.size).to(x)
        steps = torch.arange(p.sample_per_part).to(x) / (self.size * p.sample_per_part)
        left = start[0] + size[0] * (bins / self.size + moves[:, 0])
        top = start[1] + size[1] * (bins[:, None] / self.size + moves[:, 1])
        columns = left[..., None, None] + size[0] * steps
        rows = top[..., None, None] + size[1] * steps[:, None]
        columns, rows = torch.broadcast_tensors(columns, rows)
        # The channels of a class share its places.
        classes = torch.arange(p.output_dim, device=x.device) * len(moves) // p.output_dim
        columns, rows = columns[classes], rows[classes]
        inside = (columns >= -0.5) & (columns <= width - 0.5) & (rows >= -0.5)
        inside = inside & (rows <= height - 0.5)
        cells = self._cells(p.group_size, x.device)
        outputs = torch.arange(p.output_dim, device=x.device)[:, None, None]
        channels = (outputs * p.group_size + cells[:, None]) * p.group_size + cells
        values = channel_samples(
            x, channels[..., None, None], rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        )
        count = inside.sum((3, 4))
        return (values * inside).sum((3, 4)) / count.clamp(min=1)


def channel_samples(
    image: torch.Tensor, channels: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """Return the bilinear values of C x H x W at places inside the map, a channel for each."""
    height, width = image.shape[1:]
    top, left = rows.detach().floor(), columns.detach().floor()
    total = torch.zeros_like(rows)
    for i, vertical in ((0, 1 - (rows - top)), (1, rows - top)):
        for j, horizontal in ((0, 1 - (columns - left)), (1, columns - left)):
            y, z = (top + i).clamp(max=height - 1).long(), (left + j).clamp(max=width - 1).long()
            total = total + image[channels, y, z] * vertical * horizontal
    return total
