"""Deformable convolution, whose kernels read where offsets say (Dai et al. 2017)."""

from __future__ import annotations

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
