"""Transposed convolutions of each channel with a kernel of its own that factors, on the CPU.

Bilinear interpolation is one: its kernels are outer products. An axis at a time, each stride of
outputs is one small matrix, a channel's own, times the few inputs that it sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

#: A kernel factors if its factors give it back to this share of its largest value.
ROUNDING = 2.0**-22


def factors(kernels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """C x kh and C x kw whose outer products are the kernels, C x kh x kw; None without any."""
    exact = kernels.double()
    peak, at = exact.abs().flatten(1).max(1)
    row, column = at // exact.shape[2], at % exact.shape[2]
    channel = torch.arange(len(exact))
    down, across = exact[channel, :, column], exact[channel, row]
    down = down / torch.where(peak > 0, exact[channel, row, column], 1)[:, None]
    outer = down[:, :, None] * across[:, None]
    if not bool(((outer - exact).abs() <= ROUNDING * peak[:, None, None]).all()):
        return None
    return down.float(), across.float()


def takes(x: torch.Tensor) -> bool:
    """Whether maps like this one, N x C x H x W, are upsampled here."""
    return x.device.type == "cpu" and x.dtype == torch.float32


def upsample(
    x: torch.Tensor,
    down: torch.Tensor,
    across: torch.Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
) -> torch.Tensor:
    """N x C x H x W to N x C x size; down is C x kh, across C x kw, and both get no gradient."""
    return _Upsample.apply(x, down, across, tuple(size), tuple(stride), tuple(pad))


class _Upsample(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: torch.Tensor,
        down: torch.Tensor,
        across: torch.Tensor,
        size: tuple[int, int],
        stride: tuple[int, int],
        pad: tuple[int, int],
    ) -> torch.Tensor:
        ctx.save_for_backward(down, across)
        ctx.axes = tuple(zip(stride, pad, x.shape[2:]))
        maps = x.flatten(0, 1).transpose(1, 2)
        columns = _spread(maps, across, stride[1], pad[1], size[1]).transpose(1, 2)
        return _spread(columns, down, stride[0], pad[0], size[0]).unflatten(0, x.shape[:2])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        down, across = ctx.saved_tensors
        rows = _gather(grad.flatten(0, 1), down, *ctx.axes[0]).transpose(1, 2)
        found = _gather(rows, across, *ctx.axes[1]).transpose(1, 2)
        return (found.unflatten(0, grad.shape[:2]), *[None] * 5)


def _spread(x: torch.Tensor, kernel: torch.Tensor, stride: int, pad: int, n: int) -> torch.Tensor:
    """y[p, o] = sum_i x[p, i] kernel[p, o + pad - stride i], for x of P x I x M and y of P x n x M.

    The kernels are those of C channels, P a multiple of it.
    """
    strides = _in_strides(kernel, stride, x.shape[0])
    seen = strides.shape[1]
    count = x.shape[1] + seen - 1
    windows = F.pad(x, (0, 0, seen - 1, seen - 1)).unfold(1, seen, 1).transpose(2, 3)
    matrices = strides.flip(1).transpose(1, 2)
    y = torch.bmm(_each(matrices, count), windows.flatten(0, 1))
    return y.view(x.shape[0], count * stride, -1)[:, pad : pad + n]


def _gather(y: torch.Tensor, kernel: torch.Tensor, stride: int, pad: int, n: int) -> torch.Tensor:
    """The gradient of `_spread`'s input, P x n x M, from that of its outcome, P x O x M."""
    strides = _in_strides(kernel, stride, y.shape[0])
    seen = strides.shape[1]
    count = n + seen - 1
    whole = F.pad(y, (0, 0, pad, count * stride - pad - y.shape[1]))
    parts = torch.bmm(_each(strides, count), whole.reshape(-1, stride, y.shape[2]))
    parts = parts.view(-1, count, *parts.shape[1:])
    found = parts[:, :n, 0]
    for i in range(1, seen):
        found = found + parts[:, i : i + n, i]
    return found


def _in_strides(kernel: torch.Tensor, stride: int, count: int) -> torch.Tensor:
    """Kernels of C x K in whole strides, zeros at the end, and again up to a count: P x R x S."""
    whole = F.pad(kernel, (0, -kernel.shape[1] % stride)).unflatten(1, (-1, stride))
    return whole.repeat(count // whole.shape[0], 1, 1)


def _each(matrices: torch.Tensor, count: int) -> torch.Tensor:
    """Every matrix so many times in turn."""
    return matrices.repeat_interleave(count, 0)
