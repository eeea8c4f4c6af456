"""Transposed convolutions of each channel with the channel's own kernel, on the CPU.

The kernels have to be outer products, as those of bilinear interpolation are. The convolution then
runs along one axis after the other. Along an axis, `stride` neighbouring outputs depend on the same
few inputs. They are the product of these inputs and a small matrix, which is the same everywhere in
a channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F

from .. import heap, mode
from ..native import library
from ..native.records import PANEL
from ..native.structures import SPREAD
from . import jobs

#: The largest difference between a kernel and its factors' outer product, as a share of the
#: kernel's largest value: two roundings of float32.
ROUNDING = 2.0**-22
#: Sizes of kernels up to which oneDNN's transposed convolution is faster in inference: 4 x 4 of 64
#: channels on 40 x 40 takes 0.13 instead of 3.2 ms, 8 x 8 half the time; 16 x 16 is no faster.
SHORT = 8


class Axis:
    """The factors of the kernels along an axis, C x K.

    It keeps the tables of jobs for maps of several shapes, so it is for one thread at a time.
    """

    def __init__(self, kernel: torch.Tensor) -> None:
        self.kernel = kernel.contiguous()
        #: Returns the operation of the C library for maps of a shape; see `_Spread`.
        self.native = lru_cache(jobs.KEPT)(partial(_Spread, self.kernel))


class Factors:
    """Factors, down (C x kh) and across (C x kw), whose outer products are kernels, C x kh x kw."""

    def __init__(self, down: torch.Tensor, across: torch.Tensor) -> None:
        self.down, self.across = Axis(down), Axis(across)

    def is_short(self) -> bool:
        """Return whether oneDNN computes the transposed convolution faster, if nothing learns."""
        return max(self.down.kernel.shape[1], self.across.kernel.shape[1]) <= SHORT

    def products(self) -> torch.Tensor:
        """Return the kernels, C x 1 x kh x kw."""
        return (self.down.kernel[:, :, None] * self.across.kernel[:, None])[:, None]


def factors(kernels: torch.Tensor) -> Factors | None:
    """Return the factors of kernels, C x kh x kw; None if a kernel is not an outer product."""
    exact = kernels.double()
    peak, at = exact.abs().flatten(1).max(1)
    row, column = at // exact.shape[2], at % exact.shape[2]
    channel = torch.arange(len(exact))
    down, across = exact[channel, :, column], exact[channel, row]
    down = down / torch.where(peak > 0, exact[channel, row, column], 1)[:, None]
    outer = down[:, :, None] * across[:, None]
    if not bool(((outer - exact).abs() <= ROUNDING * peak[:, None, None]).all()):
        return None
    return Factors(down.float(), across.float())


def takes(x: torch.Tensor) -> bool:
    """Return whether `upsample` takes maps like x: float32 on the CPU, with fast paths on."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and mode.fast()


def upsample(
    x: torch.Tensor,
    kernels: Factors,
    size: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
) -> torch.Tensor:
    """Return the transposed convolution of x, N x C x H x W, as N x C x size.

    The kernels get no gradient. size, stride and pad are (height, width).
    """
    if kernels.is_short() and not torch.is_grad_enabled():
        x = x.contiguous(memory_format=mode.map_layout(x.shape, x.device))
        products, channels = kernels.products(), x.shape[1]
        return F.conv_transpose2d(x, products, None, list(stride), list(pad), 0, channels)
    return _Upsample.apply(x, kernels, tuple(size), tuple(stride), tuple(pad))


class _Upsample(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: torch.Tensor,
        kernels: Factors,
        size: tuple[int, int],
        stride: tuple[int, int],
        pad: tuple[int, int],
    ) -> torch.Tensor:
        ctx.kernels = kernels
        ctx.axes = tuple(zip(stride, pad, x.shape[2:]))
        maps = x.flatten(0, 1).transpose(1, 2)
        columns = _spread(maps, kernels.across, stride[1], pad[1], size[1]).transpose(1, 2)
        return _spread(columns, kernels.down, stride[0], pad[0], size[0]).unflatten(0, x.shape[:2])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        kernels: Factors = ctx.kernels
        rows = _gather(grad.flatten(0, 1), kernels.down.kernel, *ctx.axes[0]).transpose(1, 2)
        to_x = _gather(rows, kernels.across.kernel, *ctx.axes[1]).transpose(1, 2)
        return (to_x.unflatten(0, grad.shape[:2]), *[None] * 4)


def _spread(x: torch.Tensor, axis: Axis, stride: int, pad: int, n: int) -> torch.Tensor:
    """Return y, P x n x M, with y[p, o] = sum_i x[p, i] kernel[p, o + pad - stride i].

    x: P x I x M. The kernel is that of the axis, for C channels; P is a multiple of C.
    """
    if x.numel() and jobs.is_usable(PANEL):
        return axis.native(x.shape, stride, pad, n)(x)
    matrices = _in_strides(axis.kernel, stride, x.shape[0])
    inputs = matrices.shape[1]
    count = x.shape[1] + inputs - 1
    windows = F.pad(x, (0, 0, inputs - 1, inputs - 1)).unfold(1, inputs, 1).transpose(2, 3)
    flipped = matrices.flip(1).transpose(1, 2)
    windows = windows.flatten(0, 1)
    y = heap.empty((len(windows), stride, windows.shape[2]), torch.float32, torch.contiguous_format)
    torch.bmm(_repeat_each(flipped, count), windows, out=y)
    return y.view(x.shape[0], count * stride, -1)[:, pad : pad + n]


class _Spread(jobs.Operation):
    """`_spread`, by the C library, for inputs of this shape."""

    layout = y_layout = torch.contiguous_format

    def __init__(
        self, kernel: torch.Tensor, shape: Sequence[int], stride: int, pad: int, n: int
    ) -> None:
        self._kernel = kernel
        planes, inputs, width = shape
        fields = {
            **{"w": kernel.data_ptr(), "channels": len(kernel), "kernel": kernel.shape[1]},
            **{"inputs": inputs, "outputs": n, "width": width, "stride": stride, "pad": pad},
        }
        super().__init__(library.required().spread, SPREAD, (planes, n, width), fields)

    def rows(self) -> int:
        return self.y_shape[0] * self.y_shape[1]


def _gather(y: torch.Tensor, kernel: torch.Tensor, stride: int, pad: int, n: int) -> torch.Tensor:
    """Return the gradient of the input of `_spread`, P x n x M, from that of its output."""
    matrices = _in_strides(kernel, stride, y.shape[0])
    inputs = matrices.shape[1]
    count = n + inputs - 1
    padded = F.pad(y, (0, 0, pad, count * stride - pad - y.shape[1]))
    strides = padded.reshape(-1, stride, y.shape[2])
    parts = torch.bmm(_repeat_each(matrices, count), strides)
    parts = parts.view(-1, count, *parts.shape[1:])
    sums = parts[:, :n, 0]
    for i in range(1, inputs):
        sums = sums + parts[:, i : i + n, i]
    return sums


def _in_strides(kernel: torch.Tensor, stride: int, count: int) -> torch.Tensor:
    """Return kernels, C x K, cut into strides and repeated `count` / C times: count x R x stride.

    Zeros fill the last stride.
    """
    filled = F.pad(kernel, (0, -kernel.shape[1] % stride)).unflatten(1, (-1, stride))
    return filled.repeat(count // filled.shape[0], 1, 1)


def _repeat_each(matrices: torch.Tensor, count: int) -> torch.Tensor:
    """Return each matrix `count` times, one after the other."""
    return matrices.repeat_interleave(count, 0)
