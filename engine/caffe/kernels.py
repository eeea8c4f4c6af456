"""Kernels for CUDA devices where PyTorch's own operations would pass over memory several times.

They are compiled at run time by NVRTC, which comes with PyTorch. Where that, or the device, is
missing, the caller computes in separate operations.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

THREADS, BLOCKS = 256, 1024

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
        p.g[i] = moved;
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

    v = momentum v + rate (g + decay w);  w -= v;  g = v: each value is read and written once.
    """

    def __init__(self) -> None:
        self._known: Any = None
        self._table: torch.Tensor | None = None

    def possible(self) -> bool:
        """Whether the kernel can be compiled for the present device."""
        return _compiled(_SGD, "sgd", torch.cuda.current_device()) is not None

    def update(
        self,
        parameters: Sequence[Sequence[torch.Tensor]],
        rates: Sequence[float],
        decays: Sequence[float],
        rate: float,
        momentum: float,
    ) -> None:
        """Update (weights, gradient, history) of each parameter, float32 and laid out alike.

        A parameter's learning rate is its own of `rates` times `rate`.
        """
        places = [tuple(t.data_ptr() for t in tensors) for tensors in parameters]
        known = places, list(rates), list(decays)
        if self._known != known:
            rows = [
                struct.pack("PPPqff", *place, tensors[0].numel(), r, d)
                for place, tensors, r, d in zip(places, parameters, rates, decays)
            ]
            packed = torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8)
            self._table, self._known = packed.to(parameters[0][0].device), known
        assert self._table is not None
        kernel = _compiled(_SGD, "sgd", self._table.device.index)
        kernel(
            grid=(BLOCKS, len(parameters), 1),
            block=(THREADS, 1, 1),
            args=[self._table, _bits(rate), _bits(momentum)],
        )


_JOIN = """
__device__ unsigned rounded(float f)
{
    const unsigned u = __float_as_uint(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (u >> 16) | 0x40;  // NaN
    return (u + 0x7fff + ((u >> 16) & 1)) >> 16;
}

__device__ float biased(float f, float b, int rectify)
{
    f += b;
    return rectify && f < 0 ? 0 : f;
}

// One float32, or two bfloat16.
__device__ unsigned word(unsigned x, unsigned b, int rectify)
{
#if BYTES == 4
    return __float_as_uint(biased(__uint_as_float(x), __uint_as_float(b), rectify));
#else
    const float low = __uint_as_float(x << 16), high = __uint_as_float(x & 0xffff0000);
    const float b_low = __uint_as_float(b << 16), b_high = __uint_as_float(b & 0xffff0000);
    return rounded(biased(low, b_low, rectify)) | rounded(biased(high, b_high, rectify)) << 16;
#endif
}

// 16 bytes of a position's channels a thread.
extern "C" __global__ void join(
    const uint4* patch, const uint4* border, const uint4* bias, uint4* out,
    const int* in_patch_rows, const int* in_patch_columns,
    const int* in_border_rows, const int* in_border_columns,
    int rows, int columns, int chunks, int patch_rows, int patch_columns, int border_columns,
    int images, int has_bias, int rectify, int fill)
{
    const int step = gridDim.x * blockDim.x, all = images * rows * columns * chunks;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        const int chunk = i % chunks, x = i / chunks % columns, y = i / chunks / columns % rows;
        const int image = i / chunks / columns / rows;
        const int py = in_patch_rows[y], px = in_patch_columns[x];
        const int by = in_border_rows[y], bx = in_border_columns[x];
        uint4 v = make_uint4(fill, fill, fill, fill);
        if (by < 0 || bx < 0) {  // beyond the map
        } else if (py >= 0 && px >= 0) {
            v = patch[((image * patch_rows + py) * patch_columns + px) * chunks + chunk];
            const uint4 b = has_bias ? bias[chunk] : make_uint4(0, 0, 0, 0);
            if (has_bias || rectify)
                v = make_uint4(word(v.x, b.x, rectify), word(v.y, b.y, rectify),
                               word(v.z, b.z, rectify), word(v.w, b.w, rectify));
        } else {
            v = border[(by * border_columns + bx) * chunks + chunk];
        }
        out[i] = v;
    }
}
"""
_DTYPES = {torch.float32: 4, torch.bfloat16: 2}


def joins(patch: torch.Tensor) -> bool:
    """Whether `join` takes patches like this one: channels last, whole 16 bytes of them."""
    return _joinable(patch, patch.shape[1]) and patch.is_contiguous(
        memory_format=torch.channels_last
    )


def late_bias(x: torch.Tensor, weights: Sequence[torch.Tensor]) -> bool:
    """Whether a convolution of x leaves its bias to `join`, which adds it while it copies."""
    if torch.is_grad_enabled() or len(weights) != 2:
        return False
    return _joinable(x, weights[0].shape[0]) and weights[0].is_contiguous(
        memory_format=torch.channels_last
    )


def _joinable(x: torch.Tensor, channels: int) -> bool:
    size = _DTYPES.get(x.dtype, 0)
    if x.device.type != "cuda" or not size or channels * size % 16:
        return False
    return _join(size, x.device.index) is not None


def _join(size: int, device: int) -> Any:
    return _compiled(f"#define BYTES {size}\n{_JOIN}", "join", device)


def join(
    patch: torch.Tensor,
    border: torch.Tensor | None,
    places: Sequence[torch.Tensor],
    bias: torch.Tensor | None,
    rectify: bool,
    fill: float,
) -> torch.Tensor:
    """A map put together of a patch (N x C x h x w, `bias` added, rectified), border and fill.

    places: for the rows and the columns of the patch, then of the border, where each of the map's
    is found, -1 where it is not; a position that is in no row or column of the border is `fill`.
    Without a border all positions within the map are in the patch.
    """
    size = _DTYPES[patch.dtype]
    rows, columns = places[0].numel(), places[1].numel()
    if border is not None:
        border = border.contiguous(memory_format=torch.channels_last)
    out = torch.empty(
        (*patch.shape[:2], rows, columns),
        dtype=patch.dtype,
        device=patch.device,
        memory_format=torch.channels_last,
    )
    bits = _bits(fill)
    if size == 2:
        high = bits >> 16 & 0xFFFF
        bits = struct.unpack("i", struct.pack("I", high << 16 | high))[0]
    chunks = patch.shape[1] * size // 16
    count = out.numel() * size // 16
    border_columns = border.shape[3] if border is not None else 0
    numbers = (rows, columns, chunks, *patch.shape[2:], border_columns, patch.shape[0])
    _join(size, patch.device.index)(
        grid=(min(-(-count // THREADS), 1 << 15), 1, 1),
        block=(THREADS, 1, 1),
        args=[
            patch,
            border if border is not None else patch,
            bias if bias is not None else patch,
            out,
            *places,
            *numbers,
            int(bias is not None),
            int(rectify),
            bits,
        ],
    )
    return out
