"""Transposed convolutions of each channel with the channel's own kernel, in one launch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from .launch import Kernel, compile_for_backward, launch_over

_UPSAMPLE = """
// Each channel has its own kernel, w: kh x kw x channels. Maps have channels last or first.
struct Place {
    int image, channel, y, x;
    __device__ Place(int i, int channels, int rows, int columns, bool last)
    {
        if (last) {
            channel = i % channels;
            i /= channels;
        }
        x = i % columns;
        y = i / columns % rows;
        i = i / columns / rows;
        if (!last) {
            channel = i % channels;
            i /= channels;
        }
        image = i;
    }
};

__device__ int at(const Place& p, int y, int x, int channels, int rows, int columns, bool last)
{
    return last ? ((p.image * rows + y) * columns + x) * channels + p.channel
                : ((p.image * channels + p.channel) * rows + y) * columns + x;
}

extern "C" __global__ void upsample(
    const float* map, const float* w, const float* bias, float* top,
    int images, int channels, int rows, int columns, int top_rows, int top_columns,
    int kh, int kw, int sh, int sw, int ph, int pw, int last, int has_bias)
{
    const int step = gridDim.x * blockDim.x, all = images * channels * top_rows * top_columns;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        const Place p(i, channels, top_rows, top_columns, last);
        const int y = p.y + ph, x = p.x + pw;
        const int y0 = y < kh ? 0 : (y - kh) / sh + 1, y1 = min(y / sh, rows - 1);
        const int x0 = x < kw ? 0 : (x - kw) / sw + 1, x1 = min(x / sw, columns - 1);
        float sum = 0;
        for (int iy = y0; iy <= y1; ++iy)
            for (int ix = x0; ix <= x1; ++ix)
                sum += w[((y - iy * sh) * kw + x - ix * sw) * channels + p.channel]
                       * map[at(p, iy, ix, channels, rows, columns, last)];
        top[i] = has_bias ? sum + bias[p.channel] : sum;
    }
}

extern "C" __global__ void from_upsampled(
    const float* grad, const float* w, float* to,
    int images, int channels, int rows, int columns, int top_rows, int top_columns,
    int kh, int kw, int sh, int sw, int ph, int pw, int last)
{
    const int step = gridDim.x * blockDim.x, all = images * channels * rows * columns;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        const Place p(i, channels, rows, columns, last);
        const int y = p.y * sh - ph, x = p.x * sw - pw;
        const int k0 = max(0, -y), k1 = min(kh, top_rows - y);
        const int j0 = max(0, -x), j1 = min(kw, top_columns - x);
        float sum = 0;
        for (int ky = k0; ky < k1; ++ky)
            #pragma unroll 8
            for (int kx = j0; kx < j1; ++kx)
                sum += w[(ky * kw + kx) * channels + p.channel]
                       * grad[at(p, y + ky, x + kx, channels, top_rows, top_columns, last)];
        to[i] = sum;
    }
}
"""
UPSAMPLE = Kernel("upsample", _UPSAMPLE)
FROM_UPSAMPLED = Kernel("from_upsampled", _UPSAMPLE)


def upsamples(x: torch.Tensor, size: Sequence[int]) -> bool:
    """Return whether `Upsample` takes a map like x, N x C x H x W, for a top of `size`.

    It takes float32 on a CUDA device, with fewer than 2^31 values in x and in the top.
    """
    if x.device.type != "cuda" or x.dtype != torch.float32 or x.dim() != 4:
        return False
    if max(x.numel(), math.prod((*x.shape[:2], *size))) >= 1 << 31:
        return False
    return UPSAMPLE.available(x.device.index)


class Upsample(torch.autograd.Function):
    """A transposed convolution of each channel with the channel's own kernel.

    `apply(x, w, bias, size, stride, pad)`: x is N x C x H x W, with channels last or first; w is
    kh x kw x C and gets no gradient; bias is C, or None; size is (height, width) of the top.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: torch.Tensor,
        w: torch.Tensor,
        bias: torch.Tensor | None,
        size: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int],
    ) -> torch.Tensor:
        last = not x.is_contiguous()
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        x = x.contiguous(memory_format=ctx.layout)
        shape = (*x.shape[:2], *size)
        top = torch.empty(shape, device=x.device, memory_format=ctx.layout)
        ctx.numbers = [*x.shape, *size, *w.shape[:2], *stride, *pad, int(last)]
        tensors = [x, w, w if bias is None else bias, top]
        launch_over(top, UPSAMPLE, [*tensors, *ctx.numbers, int(bias is not None)])
        ctx.shape = x.shape
        ctx.save_for_backward(w)
        compile_for_backward(ctx, x.device, FROM_UPSAMPLED)
        return top

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (w,) = ctx.saved_tensors
        needs_x, _, needs_bias, *_ = ctx.needs_input_grad
        to_x = None
        if needs_x:
            grad = grad.contiguous(memory_format=ctx.layout)
            to_x = torch.empty(ctx.shape, device=grad.device, memory_format=ctx.layout)
            launch_over(to_x, FROM_UPSAMPLED, [grad, w, to_x, *ctx.numbers])
        return to_x, None, grad.sum((0, 2, 3)) if needs_bias else None, None, None, None
