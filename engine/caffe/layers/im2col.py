"""Im2col: the patches of a blob as columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..blob import Blob
from .axes import canonical_axis
from .convolving import spatial_window
from .function import Function
from .registry import register


@register
class Im2col(Function):
    """The patches that Convolution multiplies with its weights, one in each column.

    N x ... x C x spatial axes becomes N x ... x C kernel x output sizes (im2col_layer.cpp).
    """

    bottoms, tops = (1, 1), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.convolution_param, bottom[0].shape
        self.axis = canonical_axis(self, p.axis, shape)
        if len(shape) - self.axis < 2:
            raise self.shape_error(f"the bottom of shape {shape} has no axis after {self.axis}")
        window = spatial_window(self, self.axis, shape)
        self.kernel, self.stride, self.pad, self.dilation = window[:4]
        self.reach = window.reach

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[self.axis + 1 :]
        short = [max(0, r - n - 2 * p) for n, p, r in zip(size, self.pad, self.reach)]
        if any(n >= s for n, s in zip(short, self.stride)):
            raise self.shape_error(
                f"a bottom of shape {tuple(x.shape)} is smaller than the kernel {self.kernel} "
                f"(stride {self.stride}, pad {self.pad}, dilation {self.dilation}); it needs a "
                "larger input"
            )
        # A kernel that is larger than the padded bottom by less than a stride reads zeros there.
        y = F.pad(x, [p for a, b in zip(reversed(self.pad), reversed(short)) for p in (a, a + b)])
        first, n = self.axis + 1, len(self.kernel)
        for i, (k, s, d) in enumerate(zip(self.kernel, self.stride, self.dilation)):
            # Each axis becomes two: the place in the kernel, and the place of the kernel.
            axis = first + 2 * i
            starts = torch.arange(0, y.shape[axis] - d * (k - 1), s, device=x.device)
            index = torch.arange(k, device=x.device)[:, None] * d + starts
            parts = (*y.shape[:axis], *index.shape, *y.shape[axis + 1 :])
            y = y.index_select(axis, index.flatten()).reshape(parts)
        order = [*range(first), *range(first, y.dim(), 2), *range(first + 1, y.dim(), 2)]
        return y.permute(order).flatten(self.axis, self.axis + n)
