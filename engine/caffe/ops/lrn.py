"""Local response normalization across channels.

y = x s^-beta with s = k + a (the sum of x^2 over n channels around each channel).

The C library normalizes float32 maps with channels last if the exponent is 3/4. PyTorch normalizes
all other maps: the squares of the n - 1 neighbours are added in place to the squares of a channel,
without a padded copy. On the CPU, PyTorch's operations run over a stretch of positions at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import torch

from ..native import library
from ..native.records import PANEL
from ..native.structures import LRN
from . import jobs

#: Values of a stretch on the CPU, whose intermediate results fit into the cache.
STRETCH = 1 << 20


class Normalization:
    """The function of maps x with these constants; channels outside of x are 0.

    It keeps the tables of jobs for maps of several shapes, so it is for one thread at a time.
    """

    def __init__(self, n: int, a: float, beta: float, k: float) -> None:
        self.n, self.a, self.beta, self.k = n, a, beta, k
        #: Returns the operation of the C library for maps of a shape with these strides.
        self.native = lru_cache(jobs.KEPT)(partial(_Native, n, a, k))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, N x C x H x W, normalized over n channels around each."""
        return _Normalize.apply(x, self)

    def is_native(self, x: torch.Tensor) -> bool:
        """Return whether the C library normalizes the map."""
        if self.beta != 0.75 or self.n // 2 > PANEL:
            return False
        if x.device.type != "cpu" or x.dtype != torch.float32:
            return False
        last = x.is_contiguous(memory_format=torch.channels_last) or x.stride(1) == 1
        return last and x.numel() > 0 and jobs.is_usable(PANEL)


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
        ctx: Any, x: torch.Tensor, norm: Normalization
    ) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.norm = norm
        if norm.is_native(x):
            x = x.contiguous(memory_format=torch.channels_last)
            return norm.native(x.shape, x.stride())(x)
        y = torch.empty_like(x)
        for x_part, y_part in _stretches(x, y):
            squares = sum_across(x_part * x_part, norm.n)
            power = _power(squares.mul_(norm.a).add_(norm.k), norm.beta)
            torch.div(x_part, power, out=y_part)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        norm: Normalization = ctx.norm
        to_x = torch.empty_like(x)
        for x_part, grad_part, to_part in _stretches(x, grad, to_x):
            s = sum_across(x_part * x_part, norm.n).mul_(norm.a).add_(norm.k)
            torch.div(grad_part, _power(s, norm.beta), out=to_part)
            through_sums = sum_across((to_part * x_part).div_(s), norm.n)
            to_part.addcmul_(x_part, through_sums, value=-2 * norm.a * norm.beta)
        return to_x, None


class _Native(jobs.Operation):
    """`Normalization` with an exponent of 3/4, by the C library."""

    def __init__(
        self, n: int, a: float, k: float, shape: Sequence[int], strides: Sequence[int]
    ) -> None:
        channels = shape[1]
        fields = {"channels": channels, "reach": n // 2, "a": a, "k": k}
        super().__init__(library.required().lrn, LRN, shape, fields)
        self._strides, self.scratch_values = strides, channels + 2 * PANEL

    def rows(self) -> int:
        return math.prod(self.y_shape) // self.y_shape[1]

    def empty_top(self) -> torch.Tensor:
        # Several layouts share the strides of a map of one channel; the result has those of x.
        return torch.empty_strided(self.y_shape, self._strides)


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
