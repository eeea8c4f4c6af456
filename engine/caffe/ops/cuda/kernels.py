"""Kernels for CUDA devices where PyTorch's own operations would pass over memory several times.

They are compiled at run time by NVRTC, which comes with PyTorch. Where that, or the device, is
missing, the caller computes in separate operations.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch

THREADS, MANY, BLOCKS = 256, 1024, 1024
#: Blocks of a kernel that end with sums which all of them add to the same places.
ADDING = 264

_SGD = """
struct Parameter { float *w, *g, *v; long long n; float rate, decay; };

extern "C" __global__ void sgd(const Parameter* parameters, int rate_, int momentum_)
{
    const Parameter p = parameters[blockIdx.y];
    const float rate = p.rate * __int_as_float(rate_), momentum = __int_as_float(momentum_);
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < p.n; i += step) {
        const float moved = momentum * p.v[i] + rate * (p.g[i] + p.decay * p.w[i]);
        p.v[i] = moved;
        p.w[i] -= moved;
    }
}
"""


@cache
def _compiled(source: str, name: str, device: int) -> Any:
    """A kernel of this source for a device; None where it cannot be compiled."""
    compile_kernel = getattr(torch.cuda, "_compile_kernel", None)
    if compile_kernel is None:
        return None
    try:
        with torch.cuda.device(device):
            return compile_kernel(source, name)
    except (RuntimeError, OSError):
        return None


def _bits(value: float) -> int:
    """A float32 as the integer of the same bits: what a launch makes of a float has changed."""
    return struct.unpack("i", struct.pack("f", value))[0]


class SGD:
    """The update of stochastic gradient descent with momentum, of all parameters in one launch.

    v = momentum v + rate (g + decay w);  w -= v: each value is read once, w and v are written.
    """

    def __init__(self) -> None:
        self._known: Any = None
        self._table: torch.Tensor | None = None

    def possible(self) -> bool:
        """Whether the kernel can be compiled for the present device."""
        return _compiled(_SGD, "sgd", torch.cuda.current_device()) is not None

    def update(
        self,
        parameters: Sequence[tuple[Sequence[torch.Tensor], float, float]],
        rate: float,
        momentum: float,
    ) -> None:
        """Update each parameter: its (weights, gradient, history), its rate and its decay.

        The three are float32 and laid out alike; a parameter's rate counts times `rate`.
        """
        known = [(*(t.data_ptr() for t in three), *factors) for three, *factors in parameters]
        if self._known != known:
            rows = [
                struct.pack("PPPqff", *row[:3], three[0].numel(), *row[3:])
                for row, (three, _, _) in zip(known, parameters)
            ]
            packed = torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8)
            self._table, self._known = packed.to(parameters[0][0][0].device), known
        assert self._table is not None
        kernel = _compiled(_SGD, "sgd", self._table.device.index)
        kernel(
            grid=(BLOCKS, len(parameters), 1),
            block=(THREADS, 1, 1),
            args=[self._table, _bits(rate), _bits(momentum)],
        )


# The 16 bytes that a thread works on at a time, as floats and back.
_PACKED = """
#define VALUES (16 / BYTES)

__device__ unsigned rounded(float f)
{
    const unsigned u = __float_as_uint(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (u >> 16) | 0x40;  // NaN
    return (u + 0x7fff + ((u >> 16) & 1)) >> 16;
}

__device__ void unpack(uint4 v, float* f)
{
    const unsigned words[4] = {v.x, v.y, v.z, v.w};
    for (int i = 0; i < 4; ++i) {
#if BYTES == 4
        f[i] = __uint_as_float(words[i]);
#else
        f[2 * i] = __uint_as_float(words[i] << 16);
        f[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000);
#endif
    }
}

__device__ uint4 pack(const float* f)
{
    unsigned words[4];
    for (int i = 0; i < 4; ++i)
#if BYTES == 4
        words[i] = __float_as_uint(f[i]);
#else
        words[i] = rounded(f[2 * i]) | rounded(f[2 * i + 1]) << 16;
#endif
    return make_uint4(words[0], words[1], words[2], words[3]);
}
"""

_JOIN = """
// Where a position of the map is: x and y, in the patch and in the border, -1 where it is not.
struct Places { const int *patch_rows, *patch_columns, *border_rows, *border_columns; };
struct Sizes { int images, rows, columns, chunks, patch_rows, patch_columns, border_columns; };

// The 16 bytes of a map at i: whether within it, whether in the patch, and at which 16 bytes there.
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

// A block is a whole number of times as large as a position has chunks: a thread stays at one.
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

// A block for a position of the border: the sum over the positions of the map that it stands for,
// a run of rows and one of columns less what is in the patch.
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
    // The whole ring around the patch may be of one position's.
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

_POOL = """
// `which`: by value of the top, a byte each, the number of the position in the window.
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
        // The windows that the position is in.
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

_UPSAMPLE = """
// Every channel has a kernel of its own, w: kh x kw x channels. Maps have channels last or first.
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
_SOURCES = {
    "max_pool": _POOL,
    "from_max": _POOL,
    "upsample": _UPSAMPLE,
    "from_upsampled": _UPSAMPLE,
}
_DTYPES = {torch.float32: 4, torch.bfloat16: 2}


def takes(x: torch.Tensor) -> bool:
    """Whether the kernels take maps like this one: channels last, whole 16 bytes of them."""
    last = torch.channels_last
    return _joinable(x, x.shape[1]) and x.is_contiguous(memory_format=last)


def late_bias(x: torch.Tensor, weights: Sequence[torch.Tensor]) -> bool:
    """Whether a convolution of x leaves its bias to `join`, which adds it while it copies."""
    if len(weights) != 2 or not _joinable(x, weights[0].shape[0]):
        return False
    return weights[0].is_contiguous(memory_format=torch.channels_last)


def _joinable(x: torch.Tensor, channels: int) -> bool:
    size = _DTYPES.get(x.dtype, 0)
    if x.device.type != "cuda" or not size or channels * size % 16 or channels * size > 1 << 13:
        return False
    return _kernel("join", size, x.device.index) is not None


def _kernel(name: str, size: int, device: int) -> Any:
    source = _SOURCES.get(name, _JOIN)
    return _compiled(f"#define BYTES {size}\n{_PACKED}{source}", name, device)


class Places(NamedTuple):
    """Where the rows and columns of a map are found in its patch and in its border.

    tensors: for the rows and columns of the patch, then of the border, int32, -1 where a position
    is not there. What is in no row or column of the border is beyond the map; without a border all
    that is within the map is in the patch. whole: all of the patch is in the map. edges: top,
    bottom, left and right of the patch in the map. runs: for each row and each column of the border
    the first and the last but one of the map that it stands for.
    """

    tensors: Sequence[torch.Tensor]
    whole: bool
    edges: Sequence[int]
    runs: Sequence[torch.Tensor]


class Join(torch.autograd.Function):
    """A map put together of a patch, border and fill: `apply(patch, bias, border, *more)`.

    patch: N x C x h x w; `bias` (C, or None) is added to it, and it is rectified if `rectify`.
    border: 1 x C x h' x w', or None. more: places, rectify, fill.
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
        size = _DTYPES[patch.dtype]
        if border is not None:
            border = border.contiguous(memory_format=torch.channels_last)
        shape = *patch.shape[:2], *(t.numel() for t in places.tensors[:2])
        out = torch.empty(
            shape, dtype=patch.dtype, device=patch.device, memory_format=torch.channels_last
        )
        bits = _bits(fill)
        if size == 2:
            high = bits >> 16 & 0xFFFF
            bits = struct.unpack("i", struct.pack("I", high << 16 | high))[0]
        numbers = _numbers(out, patch.shape, border)
        tensors = [out, *(patch if t is None else t for t in (patch, border, bias))]
        tensors += places.tensors
        _launch("join", out, [*tensors, *numbers, int(bias is not None), int(rectify), bits])
        ctx.places, ctx.rectify, ctx.patch_shape = places, rectify, patch.shape
        ctx.border_shape = None if border is None else border.shape
        ctx.save_for_backward(out if rectify else None)
        _will_need(ctx, size, out.device, "to_patch", "to_border")
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (out,) = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        last = torch.channels_last
        _, needs_bias, needs_border, *_ = ctx.needs_input_grad
        to_patch = torch.empty(
            ctx.patch_shape, dtype=grad.dtype, device=grad.device, memory_format=last
        )
        if not ctx.places.whole:
            to_patch.zero_()
        to_border = to_bias = None
        if needs_bias:
            to_bias = grad.new_zeros(grad.shape[1], dtype=torch.float32)
        tensors = [grad, *(grad if t is None else t for t in (out, to_patch, to_bias))]
        numbers = _numbers(grad, ctx.patch_shape, None)
        flags = [int(needs_bias), int(ctx.rectify)]
        _launch("to_patch", grad, [*tensors, *ctx.places.tensors, *numbers, *flags], ADDING)
        if needs_border:
            to_border = torch.empty(ctx.border_shape, device=grad.device, memory_format=last)
            args = [grad, to_border, *ctx.places.runs, *numbers[:4], *ctx.places.edges]
            _launch("to_border", grad, args, grid=ctx.border_shape[:1:-1])
        return (
            to_patch,
            None if to_bias is None else to_bias.to(grad.dtype),
            None if to_border is None else to_border.to(grad.dtype),
            *(None, None, None),
        )


class MaxPool(torch.autograd.Function):
    """The largest value of each window: `apply(x, kernel, stride, size)`.

    x: N x C x H x W that `takes` is true of; size: of the outcome, whose last windows may reach
    past x. Windows have at most 255 positions. Of equal values the first counts; NaN is largest.
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
        numbers = [x.shape[0], *x.shape[2:], _chunks(x), *size, *kernel, *stride]
        _launch("max_pool", top, [x, top, which, *numbers, int(record)], 1 << 16)
        ctx.numbers, ctx.shape = numbers, x.shape
        ctx.save_for_backward(which if record else None)
        _will_need(ctx, _DTYPES[x.dtype], x.device, "from_max")
        return top

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (which,) = ctx.saved_tensors
        last = torch.channels_last
        grad = grad.contiguous(memory_format=last)
        to = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=last)
        _launch("from_max", to, [grad, which, to, *ctx.numbers], 1 << 16)
        return to, None, None, None


def upsamples(x: torch.Tensor, size: Sequence[int]) -> bool:
    """Whether `Upsample` takes a map like this one, to give one of `size`."""
    if x.device.type != "cuda" or x.dtype != torch.float32 or x.dim() != 4:
        return False
    if max(x.numel(), math.prod((*x.shape[:2], *size))) >= 1 << 31:
        return False
    return _kernel("upsample", 4, x.device.index) is not None


class Upsample(torch.autograd.Function):
    """A transposed convolution of each channel with a kernel of its own.

    `apply(x, w, bias, size, stride, pad)`: x is N x C x H x W, with channels last or first; w is
    kh x kw x C and has no gradient; bias is C, or None; size is that of the outcome.
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
        args = [x, w, w if bias is None else bias, top, *ctx.numbers, int(bias is not None)]
        _launch_over(top, "upsample", args)
        ctx.shape = x.shape
        ctx.save_for_backward(w)
        _will_need(ctx, 4, x.device, "from_upsampled")
        return top

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (w,) = ctx.saved_tensors
        to_x, _, to_bias, *_ = ctx.needs_input_grad
        found = None
        if to_x:
            grad = grad.contiguous(memory_format=ctx.layout)
            found = torch.empty(ctx.shape, device=grad.device, memory_format=ctx.layout)
            _launch_over(found, "from_upsampled", [grad, w, found, *ctx.numbers])
        return found, None, grad.sum((0, 2, 3)) if to_bias else None, None, None, None


def _will_need(ctx: Any, size: int, on: torch.device, *names: str) -> None:
    """Compile kernels for the pass backward, in whose thread there may be no CUDA context."""
    if any(ctx.needs_input_grad):
        for name in names:
            _kernel(name, size, on.index)


def _launch_over(out: torch.Tensor, name: str, args: list[Any]) -> None:
    """Launch a kernel over a value of `out` a thread."""
    blocks = min(-(-out.numel() // THREADS), 1 << 16)
    kernel = _kernel(name, 4, out.device.index)
    kernel(grid=(blocks, 1, 1), block=(THREADS, 1, 1), args=args)


def _numbers(
    out: torch.Tensor, patch: Sequence[int], border: torch.Tensor | None
) -> tuple[int, ...]:
    """Images, rows, columns, chunks of the map; rows, columns of patch; columns of border."""
    columns = border.shape[3] if border is not None else 0
    return out.shape[0], *out.shape[2:], _chunks(out), *patch[2:], columns


def _chunks(out: torch.Tensor) -> int:
    """How many 16 bytes the channels of a position are."""
    return out.shape[1] * _DTYPES[out.dtype] // 16


def _launch(
    name: str,
    out: torch.Tensor,
    args: list[Any],
    most: int = 2 * BLOCKS,
    grid: Sequence[int] | None = None,
) -> None:
    """Launch a kernel over 16 bytes of `out` a thread, in `most` blocks at most, or over `grid`."""
    size, chunks = _DTYPES[out.dtype], _chunks(out)
    block = max(chunks, (MANY if grid else THREADS) // chunks * chunks)
    blocks = min(-(-out.numel() * size // 16 // block), most)
    shared = block * 16 // size * 4 if name in ("to_patch", "to_border") else 0
    _kernel(name, size, out.device.index)(
        grid=(*(grid or (blocks, 1)), 1), block=(block, 1, 1), args=args, shared_mem=shared
    )
