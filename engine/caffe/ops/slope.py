"""Functions of single values whose gradient is written out.

Caffe computes the gradients of these functions by formulas. The formulas differ from autograd's for
NaN, infinity and overflows, and at the kinks of a function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

#: The slope of a function at x, from x and the value there.
Slope = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def with_slope(
    x: torch.Tensor, value: Callable[[torch.Tensor], torch.Tensor], slope: Slope
) -> torch.Tensor:
    """Return value(x), whose gradient is that of the result times slope(x, value(x)).

    Both functions work on single values, keep the shape, and run without autograd.
    """
    return _WithSlope.apply(x, value, slope)


class _WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, value: Callable[[torch.Tensor], torch.Tensor], slope: Slope
    ) -> torch.Tensor:
        y = value(x)
        y = x.clone() if y is x else y
        ctx.save_for_backward(x, y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:  # type: ignore[override]
        x, y = ctx.saved_tensors
        return grad * ctx.slope(x, y), None, None


def scaled(x: torch.Tensor, factor: float) -> torch.Tensor:
    """Return x times a factor as BLAS does: a factor of 0 gives 0, also for NaN and infinity."""
    if factor == 1:
        return x
    return x * factor if factor else torch.zeros_like(x)
