"""Layers of the R-CNN family: Fast R-CNN, Faster R-CNN, R-FCN."""

from __future__ import annotations

import torch

from ..function import Function
from ..registry import register


@register
class SmoothL1Loss(Function):
    """sum(w_out * f(w_in * (x - t))) / N (Girshick 2015, "Fast R-CNN", equations 2 and 3).

    f(d) = 0.5 (sigma d)^2 where |d| < 1 / sigma^2, else |d| - 0.5 / sigma^2. N is the number of
    images. Bottoms: x, t, and optionally w_in and w_out, all of one shape (py-faster-rcnn).
    """

    bottoms, tops = (2, 4), (1, 1)
    loss = True
    in_place = False
    no_gradient = (2, 3)

    def compute(self, x: torch.Tensor, t: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        shapes = {tuple(b.shape) for b in (x, t, *weights)}
        if len(shapes) > 1:
            raise self.shape_error(f"bottoms of shapes {sorted(shapes)}; all need to be equal")
        return smooth_l1(x, t, self.layer_param.smooth_l1_loss_param.sigma, *weights).sum() / len(x)


def smooth_l1(
    x: torch.Tensor,
    t: torch.Tensor,
    sigma: float,
    inside: torch.Tensor | float = 1.0,
    outside: torch.Tensor | float = 1.0,
) -> torch.Tensor:
    """Return the smooth L1 distance of each value; `SmoothL1Loss` has the formula."""
    d = inside * (x - t)
    size, square = d.abs(), sigma * sigma
    near = 0.5 * square * d * d
    return outside * torch.where(size < 1 / square, near, size - 0.5 / square)
