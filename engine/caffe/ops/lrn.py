"""Local response normalization across channels: y = x s^-beta, s = k + a (sum of x^2 around).

The sum over n channels is the values and, added in place, n - 1 times those of another channel;
nothing is copied to be padded. On the CPU that is done a stretch of positions at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

#: So many values at a time on the CPU: what comes of them stays in cache, and is not new memory.
STRETCH = 1 << 20


def normalize_across(x: torch.Tensor, n: int, a: float, beta: float, k: float) -> torch.Tensor:
    """N x C x H x W, normalized over n channels around each; beyond the ends are zeros."""
    return _Normalize.apply(x, n, a, beta, k)


def sum_across(values: torch.Tensor, n: int) -> torch.Tensor:
    """The sums over n channels, axis 1, around each."""
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
        ctx.how = n, a, beta, k
        y = torch.empty_like(x)
        for x_part, y_part in _stretches(x, y):
            power = _power(sum_across(x_part * x_part, n).mul_(a).add_(k), beta)
            torch.div(x_part, power, out=y_part)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        n, a, beta, k = ctx.how
        found = torch.empty_like(x)
        for x_part, grad_part, found_part in _stretches(x, grad, found):
            s = sum_across(x_part * x_part, n).mul_(a).add_(k)
            torch.div(grad_part, _power(s, beta), out=found_part)
            through = sum_across((found_part * x_part).div_(s), n)
            found_part.addcmul_(x_part, through, value=-2 * a * beta)
        return found, None, None, None, None


def _power(s: torch.Tensor, beta: float) -> torch.Tensor:
    """s^beta; with roots for the exponent of every published net, 3/4."""
    if beta != 0.75:
        return s**beta
    root = s.sqrt()
    return root.sqrt().mul_(root)


def _stretches(*maps: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same positions of each map, with channels as axis 1; parts of the last can be written."""
    last = torch.channels_last
    first = maps[0]
    if first.device.type == "cpu" and first.is_contiguous(memory_format=last):
        rows = [m.contiguous(memory_format=last).permute(0, 2, 3, 1).flatten(0, 2) for m in maps]
        yield from zip(*(r.split(max(1, STRETCH // max(1, r.shape[1]))) for r in rows))
    else:
        yield maps
