"""DeformableConvolution: a convolution whose kernels read at places that another blob moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ...blob import Blob
from ..convolution import Convolving
from ..function import Tensors
from ..registry import register


def read_at(x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return the values of maps at real positions, bilinearly; 0 beyond the map.

    x: N x C x H x W. rows, columns: N x P. Returns N x C x P.
    """
    height, width = x.shape[2:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    row = rows.detach().clamp(0, height - 1).floor()
    column = columns.detach().clamp(0, width - 1).floor()
    # Between the last row and the edge of the map, the last row counts.
    below, right = (rows - row).clamp(0, 1), (columns - column).clamp(0, 1)
    flat = x.flatten(2)
    total = flat.new_zeros(())
    for i, weight_row in ((0, 1 - below), (1, below)):
        for j, weight_column in ((0, 1 - right), (1, right)):
            at = (row + i).clamp(max=height - 1) * width + (column + j).clamp(max=width - 1)
            index = at.long()[:, None].expand(-1, x.shape[1], -1)
            total = total + flat.gather(2, index) * (weight_row * weight_column)[:, None]
    return total * inside[:, None]


@register
class DeformableConvolution(Convolving):
    """A Convolution that reads at moved places (Dai et al. 2017, section 2.1).

    The second bottom, N x (2 deformable_group kernel_h kernel_w) x h x w for tops of h x w, moves
    the place of each value of a kernel: down by its even channels and to the right by its odd ones.
    Each of deformable_group parts of the channels has places of its own. A place between pixels is
    read bilinearly, a place outside is 0. The settings are deformable_convolution_param, with the
    fields of convolution_param (unsky/Deformable-ConvNets-caffe).
    """

    bottoms, tops = (2, 2), (1, 1)
    equal_bottoms_and_tops = False
    precision = "full"

    @property
    def param(self) -> Any:
        return self.layer_param.deformable_convolution_param

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.param
        if len(bottom[0].shape) != 4 or p.axis != 1:
            raise self.shape_error(f"the bottom has shape {bottom[0].shape}; it needs 4 axes")
        if p.deformable_group < 1 or bottom[0].shape[1] % p.deformable_group:
            raise self.error(
                f"deformable_group {p.deformable_group} does not divide {bottom[0].shape[1]} "
                "channels"
            )
        super().setup(bottom, top)

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        x, moves = bottoms
        (top,) = super().shapes([x])
        parts = self.param.deformable_group
        channels = 2 * parts * math.prod(self.kernel)
        if moves != (x[0], channels, *top[2:]):
            raise self.shape_error(
                f"a second bottom of shape {moves}; it needs {(x[0], channels, *top[2:])}"
            )
        return [top]

    def compute(self, *xs: torch.Tensor) -> Tensors:
        x, moves = xs
        parts = self.param.deformable_group
        weights, bias = self.weight_and_bias()
        count, channels = x.shape[:2]
        height, width = moves.shape[2:]
        kernel = math.prod(self.kernel)
        moves = moves.reshape(count * parts, kernel, 2, height * width)
        places = self._places(height, width, x.device)
        rows, columns = ((places[i] + moves[:, :, i]).flatten(1) for i in range(2))
        split = x.reshape(count * parts, channels // parts, *x.shape[2:])
        values = read_at(split, rows, columns)
        patches = values.reshape(count, self.group, channels // self.group * kernel, -1)
        w = weights.reshape(self.group, -1, patches.shape[2])
        y = torch.matmul(w, patches).reshape(count, -1, height, width)
        return (y if bias is None else y + bias[:, None, None],)

    def _places(self, height: int, width: int, device: torch.device) -> Sequence[torch.Tensor]:
        """Return the rows and the columns that the kernels read unmoved, kernel x (h w) each."""
        axes = []
        for i, size in enumerate((height, width)):
            starts = torch.arange(size, device=device) * self.stride[i] - self.pad[i]
            steps = torch.arange(self.kernel[i], device=device) * self.dilation[i]
            axes.append(steps[:, None] + starts)
        tall, wide = self.kernel
        rows = axes[0][:, None, :, None].expand(tall, wide, height, width)
        columns = axes[1][None, :, None, :].expand(tall, wide, height, width)
        return [grid.reshape(tall * wide, height * width) for grid in (rows, columns)]
