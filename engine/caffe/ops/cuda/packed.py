"""Maps with channels last, of which a thread works on 16 bytes at a time, as floats.

A chunk is 16 bytes: 4 channels in float32, 8 in bfloat16. The channels of a position fill chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .launch import BLOCKS, THREADS, Kernel

#: Bytes of a value, by the types that the kernels read.
BYTES = {torch.float32: 4, torch.bfloat16: 2}
CHUNK = 16
#: The most bytes of a position's channels: a block holds their sums, float32, in shared memory.
POSITION = 1 << 13

# A chunk as floats, and floats as a chunk.
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


class PackedKernel:
    """A kernel over chunks, compiled for each type of values.

    The source may use VALUES, the number of values in a chunk, and `pack`, `unpack` and `rounded`.
    """

    def __init__(self, name: str, source: str) -> None:
        self._by_type = {
            dtype: Kernel(name, f"#define BYTES {size}\n{_PACKED}{source}")
            for dtype, size in BYTES.items()
        }

    def of(self, dtype: torch.dtype) -> Kernel:
        """Return the kernel for values of type `dtype`, float32 or bfloat16."""
        return self._by_type[dtype]


def fills_chunks(x: torch.Tensor, channels: int) -> bool:
    """Return whether `channels` values of x's type fill complete chunks, few enough for a block."""
    size = channels * BYTES.get(x.dtype, 0)
    return x.device.type == "cuda" and size > 0 and size % CHUNK == 0 and size <= POSITION


def chunks(x: torch.Tensor) -> int:
    """Return the number of chunks in the channels of a position of x, N x C x H x W."""
    return x.shape[1] * BYTES[x.dtype] // CHUNK


def launch_packed(
    kernel: PackedKernel,
    out: torch.Tensor,
    arguments: Sequence[Any],
    blocks: int = 2 * BLOCKS,
    sums: bool = False,
) -> None:
    """Launch a kernel in which a thread works on a chunk of `out` at a time.

    blocks: the most blocks. sums: the kernel adds up the values of a block in shared memory.
    """
    block = block_size(out, THREADS)
    enough = -(-out.numel() * BYTES[out.dtype] // CHUNK // block)
    shared = sum_bytes(out, block) if sums else 0
    kernel.of(out.dtype).launch(
        out.device.index, (min(enough, blocks), 1, 1), (block, 1, 1), arguments, shared
    )


def block_size(x: torch.Tensor, threads: int) -> int:
    """Return a block's threads: a multiple of a position's chunks, up to `threads` if one fits.

    A thread then stays at one chunk of the channels.
    """
    return max(chunks(x), threads // chunks(x) * chunks(x))


def sum_bytes(x: torch.Tensor, block: int) -> int:
    """Return the bytes of a float32 sum for each value that the threads of a block work on."""
    return block * CHUNK // BYTES[x.dtype] * 4
