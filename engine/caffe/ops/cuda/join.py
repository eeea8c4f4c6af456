"""Putting a map together out of a patch, a border and a fill value, in one launch.

A region of a net (caffe.run) computes the patch, the rectangle of a map that the image reaches, and
reads the frame around the patch from a small map, the border.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from .launch import compile_for_backward, float_bits
from .packed import (
    BYTES,
    PackedKernel,
    block_size,
    chunks,
    fills_chunks,
    launch_packed,
    sum_bytes,
)

#: The most blocks of `to_patch`: each ends by adding its sums to those of all others.
ADDING_BLOCKS = 264
#: Threads of a block of `to_border`, which sums a part of the map for one position of the border.
BORDER_THREADS = 1024

_JOIN = """
// The rows and columns of the map's positions in the patch and in the border, -1 where none.
struct Places { const int *patch_rows, *patch_columns, *border_rows, *border_columns; };
struct Sizes { int images, rows, columns, chunks, patch_rows, patch_columns, border_columns; };

// Chunk i of a map: whether it is within the map, whether the patch has it, and which chunk of
// the patch or of the border it is.
struct Place {
    int chunk, at;
    bool within, in_patch;
    __device__ Place(int i, const Places& p, const Sizes& s)
    {
        chunk = i % s.chunks;
        const int x = i / s.chunks % s.columns, y = i / s.chunks / s.columns % s.rows;
        const int image = i / s.chunks / s.columns / s.rows;
        const int px = p.patch_columns[x], py = p.patch_rows[y];
        const int bx = p.border_columns[x], by = p.border_rows[y];
        within = bx >= 0 && by >= 0;
        in_patch = within && px >= 0 && py >= 0;
        const int position = in_patch ? (image * s.patch_rows + py) * s.patch_columns + px
                                      : by * s.border_columns + bx;
        at = position * s.chunks + chunk;
    }
};

extern "C" __global__ void join(
    uint4* map, const uint4* patch, const uint4* border, const uint4* bias,
    const int* p0, const int* p1, const int* p2, const int* p3,
    int images, int rows, int columns, int chunks, int patch_rows, int patch_columns,
    int border_columns, int has_bias, int rectify, int fill)
{
    const Places p = {p0, p1, p2, p3};
    const Sizes s = {images, rows, columns, chunks, patch_rows, patch_columns, border_columns};
    const int step = gridDim.x * blockDim.x, all = images * rows * columns * chunks;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        const Place place(i, p, s);
        uint4 v = make_uint4(fill, fill, fill, fill);
        if (place.in_patch) {
            v = patch[place.at];
            if (has_bias || rectify) {
                float f[VALUES], b[VALUES] = {};
                unpack(v, f);
                if (has_bias) unpack(bias[place.chunk], b);
                for (int k = 0; k < VALUES; ++k) {
                    f[k] += b[k];
                    if (rectify && f[k] < 0) f[k] = 0;
                }
                v = pack(f);
            }
        } else if (place.within) {
            v = border[place.at];
        }
        map[i] = v;
    }
}

// A block has a multiple of as many threads as a position has chunks: a thread stays at one chunk.
__device__ void add_up(float* sums, const float* sum, int chunks)
{
    for (int k = 0; k < VALUES; ++k) sums[threadIdx.x * VALUES + k] = sum[k];
    __syncthreads();
    for (int i = threadIdx.x; i < chunks * VALUES; i += blockDim.x)
        for (int j = i + chunks * VALUES; j < blockDim.x * VALUES; j += chunks * VALUES)
            sums[i] += sums[j];
    __syncthreads();
}

extern "C" __global__ void to_patch(
    const uint4* grad, const uint4* map, uint4* patch, float* bias,
    const int* p0, const int* p1, const int* p2, const int* p3,
    int images, int rows, int columns, int chunks, int patch_rows, int patch_columns,
    int border_columns, int has_bias, int rectify)
{
    extern __shared__ float sums[];
    const Places p = {p0, p1, p2, p3};
    const Sizes s = {images, rows, columns, chunks, patch_rows, patch_columns, border_columns};
    const int step = gridDim.x * blockDim.x, all = images * rows * columns * chunks;
    float sum[VALUES] = {};
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        const Place place(i, p, s);
        if (!place.in_patch) continue;
        float g[VALUES];
        unpack(grad[i], g);
        if (rectify) {
            float m[VALUES];
            unpack(map[i], m);
            for (int k = 0; k < VALUES; ++k)
                if (!(m[k] > 0)) g[k] = 0;
        }
        patch[place.at] = pack(g);
        for (int k = 0; k < VALUES; ++k) sum[k] += g[k];
    }
    if (!has_bias) return;
    add_up(sums, sum, chunks);
    for (int i = threadIdx.x; i < chunks * VALUES; i += blockDim.x) atomicAdd(bias + i, sums[i]);
}

// One block for each position of the border sums over the positions of the map that it stands for:
// a run of rows times a run of columns, without the positions in the patch.
extern "C" __global__ void to_border(
    const uint4* grad, float* border, const int* row_runs, const int* column_runs,
    int images, int rows, int columns, int chunks, int top, int bottom, int left, int right)
{
    extern __shared__ float sums[];
    const int chunk = threadIdx.x % chunks, lanes = blockDim.x / chunks;
    const int r0 = row_runs[2 * blockIdx.y], r1 = row_runs[2 * blockIdx.y + 1];
    const int c0 = column_runs[2 * blockIdx.x], c1 = column_runs[2 * blockIdx.x + 1];
    const int first = max(r0, top), beside = max(0, min(r1, bottom) - first);
    const int before = max(0, min(c1, left) - c0), after = max(0, c1 - max(c0, right));
    const int narrow = min(before + after, c1 - c0), wide = c1 - c0;
    const int all = beside * narrow + (r1 - r0 - beside) * wide;
    float sum[VALUES] = {};
    // One position may stand for the whole ring around the patch.
    #pragma unroll 4
    for (int i = threadIdx.x / chunks; i < images * all; i += lanes) {
        int k = i % all, x, y;
        if (k < beside * narrow) {
            y = first + k / narrow;
            x = k % narrow < before ? c0 + k % narrow : c1 - narrow + k % narrow;
        } else {
            k -= beside * narrow;
            y = r0 + k / wide;
            if (beside && y >= first) y += beside;
            x = c0 + k % wide;
        }
        float g[VALUES];
        unpack(grad[((i / all * rows + y) * columns + x) * chunks + chunk], g);
        for (int j = 0; j < VALUES; ++j) sum[j] += g[j];
    }
    if (all) add_up(sums, sum, chunks);
    float* to = border + (blockIdx.y * gridDim.x + blockIdx.x) * chunks * VALUES;
    for (int i = threadIdx.x; i < chunks * VALUES; i += blockDim.x) to[i] = all ? sums[i] : 0;
}
"""
JOIN = PackedKernel("join", _JOIN)
TO_PATCH = PackedKernel("to_patch", _JOIN)
TO_BORDER = PackedKernel("to_border", _JOIN)


def takes(x: torch.Tensor) -> bool:
    """Return whether `Join` and `MaxPool` take maps like x, N x C x H x W.

    They take float32 and bfloat16 on a CUDA device, with channels last that fill 16 bytes.
    """
    last = torch.channels_last
    return _takes_channels(x, x.shape[1]) and x.is_contiguous(memory_format=last)


def late_bias(x: torch.Tensor, weights: Sequence[torch.Tensor]) -> bool:
    """Return whether a convolution of x can leave its bias to `Join`, which adds it on the way.

    weights: the convolution's weights, K x C x kh x kw, and bias, K.
    """
    if len(weights) != 2 or not _takes_channels(x, weights[0].shape[0]):
        return False
    return weights[0].is_contiguous(memory_format=torch.channels_last)


def _takes_channels(x: torch.Tensor, channels: int) -> bool:
    return fills_chunks(x, channels) and JOIN.of(x.dtype).available(x.device.index)


class Places(NamedTuple):
    """The rows and columns of the patch and of the border that a map consists of.

    tensors: int32, for the rows and the columns of the map the row and the column of the patch,
    then those of the border, -1 where there is none. A position without a row or column in the
    border lies outside the map. If there is no border, each position in the map is in the patch.
    patch_inside: whether all of the patch is in the map. edges: top, bottom, left and right of the
    patch in the map. runs: for each row and then each column of the border, the first row or column
    of the map that it stands for, and the one after the last.
    """

    tensors: Sequence[torch.Tensor]
    patch_inside: bool
    edges: Sequence[int]
    runs: Sequence[torch.Tensor]


class Join(torch.autograd.Function):
    """A map put together: `apply(patch, bias, border, places, rectify, fill)`.

    patch: N x C x h x w, to which bias (C, or None) is added, and which is rectified if `rectify`.
    border: 1 x C x h' x w', or None. fill: the value outside the map.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        patch: torch.Tensor,
        bias: torch.Tensor | None,
        border: torch.Tensor | None,
        places: Places,
        rectify: bool,
        fill: float,
    ) -> torch.Tensor:
        last = torch.channels_last
        if border is not None:
            border = border.contiguous(memory_format=last)
        shape = *patch.shape[:2], *(t.numel() for t in places.tensors[:2])
        out = torch.empty(shape, dtype=patch.dtype, device=patch.device, memory_format=last)
        tensors = [out, *(patch if t is None else t for t in (patch, border, bias))]
        numbers = _sizes(out, patch.shape, border)
        flags = [int(bias is not None), int(rectify), _fill_bits(fill, patch.dtype)]
        launch_packed(JOIN, out, [*tensors, *places.tensors, *numbers, *flags])
        ctx.places, ctx.rectify, ctx.patch_shape = places, rectify, patch.shape
        ctx.border_shape = None if border is None else border.shape
        ctx.save_for_backward(out if rectify else None)
        backward = (kernel.of(out.dtype) for kernel in (TO_PATCH, TO_BORDER))
        compile_for_backward(ctx, out.device, *backward)
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (out,) = ctx.saved_tensors
        last = torch.channels_last
        grad = grad.contiguous(memory_format=last)
        _, needs_bias, needs_border, *_ = ctx.needs_input_grad
        to_patch = torch.empty(
            ctx.patch_shape, dtype=grad.dtype, device=grad.device, memory_format=last
        )
        if not ctx.places.patch_inside:
            to_patch.zero_()
        to_border = to_bias = None
        if needs_bias:
            to_bias = grad.new_zeros(grad.shape[1], dtype=torch.float32)
        tensors = [grad, *(grad if t is None else t for t in (out, to_patch, to_bias))]
        numbers = _sizes(grad, ctx.patch_shape, None)
        flags = [int(needs_bias), int(ctx.rectify)]
        arguments = [*tensors, *ctx.places.tensors, *numbers, *flags]
        launch_packed(TO_PATCH, grad, arguments, ADDING_BLOCKS, sums=True)
        if needs_border:
            to_border = torch.empty(ctx.border_shape, device=grad.device, memory_format=last)
            _launch_to_border(grad, to_border, ctx.places, numbers)
        return (
            to_patch,
            None if to_bias is None else to_bias.to(grad.dtype),
            None if to_border is None else to_border.to(grad.dtype),
            *(None, None, None),
        )


def _launch_to_border(
    grad: torch.Tensor, to_border: torch.Tensor, places: Places, numbers: Sequence[int]
) -> None:
    """Sum the gradient of the map into that of the border, with a block for each position."""
    block = block_size(grad, BORDER_THREADS)
    rows, columns = to_border.shape[2:]
    TO_BORDER.of(grad.dtype).launch(
        grad.device.index,
        (columns, rows, 1),
        (block, 1, 1),
        [grad, to_border, *places.runs, *numbers[:4], *places.edges],
        sum_bytes(grad, block),
    )


def _fill_bits(fill: float, dtype: torch.dtype) -> int:
    """Return the integer whose 4 bytes are one float32 value, or the same bfloat16 value twice."""
    bits = float_bits(fill)
    if BYTES[dtype] == 2:
        high = bits >> 16 & 0xFFFF
        bits = struct.unpack("i", struct.pack("I", high << 16 | high))[0]
    return bits


def _sizes(out: torch.Tensor, patch: Sequence[int], border: torch.Tensor | None) -> tuple[int, ...]:
    """Return images, rows, columns, chunks of the map; rows, columns of the patch (a shape);
    columns of the border, 0 without one."""
    columns = border.shape[3] if border is not None else 0
    return out.shape[0], *out.shape[2:], chunks(out), *patch[2:], columns
