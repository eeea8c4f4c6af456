"""Local response normalization across channels.

y = x s^-beta with s = k + a (the sum of x^2 over n channels around each channel).

The C library normalizes float32 maps with channels last if the exponent is 3/4. PyTorch normalizes
all other maps: the squares of the n - 1 neighbours are added in place to the squares of a channel,
without a padded copy. On the CPU, PyTorch's operations run over a stretch of positions at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
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
            return _natively(x, n, a, k)
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


def _natively(x: torch.Tensor, n: int, a: float, k: float) -> torch.Tensor:
    """As `normalize_across` with an exponent of 3/4, by the C library."""
    native = library.load()
    assert native is not None
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.empty_like(x)
    channels, positions, threads = x.shape[1], x.numel() // x.shape[1], torch.get_num_threads()
    table = np.zeros(threads, LRN)
    table["x"], table["y"], table["channels"] = x.data_ptr(), y.data_ptr(), channels
    cuts = jobs.cuts(positions, threads)
    table["first"], table["end"] = cuts[:-1], cuts[1:]
    table["reach"], table["a"], table["k"] = n // 2, a, k
    native.lrn(table.ctypes.data, threads, jobs.team(threads, channels + 2 * PANEL))
    return y


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
