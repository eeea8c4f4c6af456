"""The maximum of each window of a map, and its gradient, in one launch each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .launch import MANY_BLOCKS, compile_for_backward
from .packed import PackedKernel, chunks, launch_packed

_POOL = """
// `which`: one byte for each value of the top, the number of its position in the window.
extern "C" __global__ void max_pool(
    const uint4* map, uint4* top, unsigned* which,
    int images, int rows, int columns, int chunks, int top_rows, int top_columns,
    int kh, int kw, int sh, int sw, int record)
{
    const int step = gridDim.x * blockDim.x, all = images * top_rows * top_columns * chunks;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        const int chunk = i % chunks, x = i / chunks % top_columns * sw;
        const int y = i / chunks / top_columns % top_rows * sh;
        const int image = i / chunks / top_columns / top_rows;
        float best[VALUES];
        unsigned at[VALUES / 4] = {};
        for (int v = 0; v < VALUES; ++v) best[v] = __uint_as_float(0xff800000);  // -infinity
        for (int ky = 0; ky < min(kh, rows - y); ++ky)
            for (int kx = 0; kx < min(kw, columns - x); ++kx) {
                float f[VALUES];
                unpack(map[((image * rows + y + ky) * columns + x + kx) * chunks + chunk], f);
                const unsigned k = ky * kw + kx;
                for (int v = 0; v < VALUES; ++v)
                    if (f[v] > best[v] || f[v] != f[v]) {
                        best[v] = f[v];
                        at[v / 4] = at[v / 4] & ~(255u << 8 * (v % 4)) | k << 8 * (v % 4);
                    }
            }
        top[i] = pack(best);
        if (record)
            for (int w = 0; w < VALUES / 4; ++w) which[i * (VALUES / 4) + w] = at[w];
    }
}

extern "C" __global__ void from_max(
    const uint4* grad, const unsigned* which, uint4* to,
    int images, int rows, int columns, int chunks, int top_rows, int top_columns,
    int kh, int kw, int sh, int sw)
{
    const int step = gridDim.x * blockDim.x, all = images * rows * columns * chunks;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        const int chunk = i % chunks, x = i / chunks % columns;
        const int y = i / chunks / columns % rows, image = i / chunks / columns / rows;
        float sum[VALUES] = {};
        // The windows that contain the position.
        const int y0 = y < kh ? 0 : (y - kh) / sh + 1, y1 = min(y / sh, top_rows - 1);
        const int x0 = x < kw ? 0 : (x - kw) / sw + 1, x1 = min(x / sw, top_columns - 1);
        for (int oy = y0; oy <= y1; ++oy)
            for (int ox = x0; ox <= x1; ++ox) {
                const int j = ((image * top_rows + oy) * top_columns + ox) * chunks + chunk;
                const unsigned k = (y - oy * sh) * kw + x - ox * sw;
                float g[VALUES];
                unpack(grad[j], g);
                for (int v = 0; v < VALUES; ++v)
                    if ((which[j * (VALUES / 4) + v / 4] >> 8 * (v % 4) & 255) == k) sum[v] += g[v];
            }
        to[i] = pack(sum);
    }
}
"""
MAX_POOL = PackedKernel("max_pool", _POOL)
FROM_MAX = PackedKernel("from_max", _POOL)


class MaxPool(torch.autograd.Function):
    """The largest value of each window: `apply(x, kernel, stride, size)`.

    x: N x C x H x W, a map that `takes` accepts. kernel, stride: (height, width), a kernel of at
    most 255 positions. size: (height, width) of the top, whose last windows may reach past x.
    The first of equal values wins; NaN is the largest value.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: torch.Tensor,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        size: Sequence[int],
    ) -> torch.Tensor:
        record = ctx.needs_input_grad[0]
        last = torch.channels_last
        top = torch.empty((*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=last)
        which = torch.empty(top.numel() if record else 4, dtype=torch.uint8, device=x.device)
        numbers = [x.shape[0], *x.shape[2:], chunks(x), *size, *kernel, *stride]
        launch_packed(MAX_POOL, top, [x, top, which, *numbers, int(record)], MANY_BLOCKS)
        ctx.numbers, ctx.shape = numbers, x.shape
        ctx.save_for_backward(which if record else None)
        compile_for_backward(ctx, x.device, FROM_MAX.of(x.dtype))
        return top

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (which,) = ctx.saved_tensors
        last = torch.channels_last
        grad = grad.contiguous(memory_format=last)
        to_x = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=last)
        launch_packed(FROM_MAX, to_x, [grad, which, to_x, *ctx.numbers], MANY_BLOCKS)
        return to_x, None, None, None
