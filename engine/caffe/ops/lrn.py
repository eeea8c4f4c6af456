"""Local response normalization across channels.

y = x s^-beta with s = k + a (the sum of x^2 over n channels around each channel).

The C library normalizes float32 maps with channels last if the exponent is 3/4. PyTorch normalizes
all other maps: the squares of the n - 1 neighbours are added in place to the squares of a channel,
without a padded copy. On the CPU, PyTorch's operations run over a stretch of positions at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ..native import library
from ..native.records import PANEL
from ..native.structures import LRN
from . import jobs

#: Values of a stretch on the CPU, whose intermediate results fit into the cache.
STRETCH = 1 << 20


def normalize_across(x: torch.Tensor, n: int, a: float, beta: float, k: float) -> torch.Tensor:
    """Return x, N x C x H x W, normalized over n channels around each; channels outside are 0."""
    return _Normalize.apply(x, n, a, beta, k)


def sum_across(values: torch.Tensor, n: int) -> torch.Tensor:
    """Return for each channel (axis 1) the sum over the n channels around it."""
    sums = values.clone()
    for d in range(1, min(n // 2, values.shape[1] - 1) + 1):
        sums[:, d:] += values[:, :-d]
        sums[:, :-d] += values[:, d:]
    return sums


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: torch.Tensor, n: int, a: float, beta: float, k: float
    ) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.constants = n, a, beta, k
        if _is_native(x, n, beta):
            return _Native(x, n, a, k)(x)
        y = torch.empty_like(x)
        for x_part, y_part in _stretches(x, y):
            power = _power(sum_across(x_part * x_part, n).mul_(a).add_(k), beta)
            torch.div(x_part, power, out=y_part)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        n, a, beta, k = ctx.constants
        to_x = torch.empty_like(x)
        for x_part, grad_part, to_part in _stretches(x, grad, to_x):
            s = sum_across(x_part * x_part, n).mul_(a).add_(k)
            torch.div(grad_part, _power(s, beta), out=to_part)
            through_sums = sum_across((to_part * x_part).div_(s), n)
            to_part.addcmul_(x_part, through_sums, value=-2 * a * beta)
        return to_x, None, None, None, None


def _is_native(x: torch.Tensor, n: int, beta: float) -> bool:
    """Return whether the C library normalizes the map."""
    if beta != 0.75 or n // 2 > PANEL or x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    last = x.is_contiguous(memory_format=torch.channels_last) or x.stride(1) == 1
    return last and x.numel() > 0 and jobs.is_usable(PANEL)


class _Native(jobs.Operation):
    """`normalize_across` of the map x with an exponent of 3/4, by the C library."""

    def __init__(self, x: torch.Tensor, n: int, a: float, k: float) -> None:
        channels = x.shape[1]
        fields = {"channels": channels, "reach": n // 2, "a": a, "k": k}
        super().__init__(library.required().lrn, LRN, x.shape, fields)
        self._x, self.scratch_values = self.bottom(x), channels + 2 * PANEL

    def rows(self) -> int:
        return self._x.numel() // self._x.shape[1]

    def empty_top(self) -> torch.Tensor:
        # Several layouts share the strides of a map of one channel; the result has those of x.
        return torch.empty_like(self._x)


def _power(s: torch.Tensor, beta: float) -> torch.Tensor:
    """Return s^beta, by square roots if beta is 3/4, the exponent of every published net."""
    if beta != 0.75:
        return s**beta
    root = s.sqrt()
    return root.sqrt().mul_(root)


def _stretches(*maps: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield parts of the maps with the same positions and channels as axis 1.

    The part of the last map is a view that can be written to. The first map decides whether the
    maps are divided: they are if it lies on the CPU with channels last.
    """
    last = torch.channels_last
    x = maps[0]
    if x.device.type == "cpu" and x.is_contiguous(memory_format=last):
        rows = [m.contiguous(memory_format=last).permute(0, 2, 3, 1).flatten(0, 2) for m in maps]
        yield from zip(*(r.split(max(1, STRETCH // max(1, r.shape[1]))) for r in rows))
    else:
        yield maps
