"""The gradient of the bottom of convolutions, by Winograd's algorithm in the C library.

native/bottom_gradient.c has the algorithm. Each thread computes the gradients of some channels, so
that the number of threads does not change the order of a sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..native import library
from ..native.structures import BOTTOM_GRADIENT, TILE
from . import fused_winograd, jobs

#: The most values of a thread's sums, which are read and written for every few outputs: 16 MB. The
#: kernels change their basis again for every block of tiles whose sums are these.
SUMS = 1 << 22
#: Gradients of a tile that are smaller than this share of its largest are computed by themselves.
SMALL = 2.0**-10
#: The least number of weights for each tile of the map, by the pieces of a kernel. Fewer are
#: turned around faster, for a convolution with the turned weights.
WEIGHTS = {1: 1 << 13, 4: 3 << 10}


def pays(shape: Sequence[int], weights: Sequence[int], pad: Sequence[int]) -> bool:
    """Return whether `gradient` can be used and is faster than a convolution with turned weights.

    shape: of the bottom, N x C x H x W. weights: K x C / groups x kh x kw. pad: (height, width).
    """
    if not fused_winograd.is_usable(weights, shape[1] // weights[1]):
        return False
    tiles = shape[0] * math.prod(fused_winograd.tiles(shape, pad, weights[2]))
    return math.prod(weights) >= WEIGHTS[fused_winograd.PIECES[weights[2]].number] * tiles


def gradient(
    shape: Sequence[int], y: torch.Tensor, w: torch.Tensor, pad: Sequence[int]
) -> torch.Tensor | None:
    """Return the gradient of the bottom, N x C x H x W, of y's type; None if it is not finite.

    shape: of the bottom. y: the gradient of the top of a convolution with stride 1, N x K x H x W,
    float32 or bfloat16. w: its weights, K x C / groups x kh x kw, for which the library convolves,
    float32 or bfloat16. pad: (height, width).
    """
    native = library.required()
    y, w = y.contiguous(memory_format=torch.channels_last), w.contiguous()
    # The library adds to the gradient tile by tile, in float32.
    x = torch.zeros(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
    tiles = _tiles(y, w.shape[2])
    if not len(tiles):
        # A weight that is not finite times a gradient of 0 is NaN.
        return x.to(y.dtype) if math.isfinite(w.sum()) else None
    table = _table(x, y, w, pad)
    table["tiles"], table["count"] = tiles.ctypes.data, len(tiles)
    channels = int((table["end_channel"] - table["first_channel"]).max())
    pieces = fused_winograd.PIECES[w.shape[2]].number
    most = max(1, SUMS // (fused_winograd.POINTS * pieces * channels))
    block = -(-len(tiles) // -(-len(tiles) // most))
    table["block"] = block
    scratch = native.bottom_scratch(channels, w.shape[2], block)
    team = jobs.team(torch.get_num_threads(), scratch)
    is_finite = native.bottom_gradient(table.ctypes.data, len(table), team)
    return x.to(y.dtype) if is_finite else None


def _table(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor, pad: Sequence[int]) -> np.ndarray:
    """Return the jobs of the threads, without the tiles and their number."""
    channels = w.shape[1]
    groups = x.shape[1] // channels
    parts = jobs.split(jobs.divide(1, x.shape[1], torch.get_num_threads()), channels)
    table = np.zeros(len(parts), BOTTOM_GRADIENT)
    first = np.array([part.first_output for part in parts], np.uint64)
    end = np.array([part.end_output for part in parts], np.uint64)
    group = first // channels
    table["first_channel"], table["end_channel"] = first % channels, (end - 1) % channels + 1
    for name, values, size in (
        ("x", x, channels),
        ("y", y, y.shape[1] // groups),
        ("w", w, w.numel() // groups),
    ):
        table[name] = values.data_ptr() + group * np.uint64(size * values.itemsize)
    table["height"], table["width"] = x.shape[2:]
    table["channels"], table["x_step"] = channels, x.shape[1]
    table["outputs"], table["y_step"] = y.shape[1] // groups, y.shape[1]
    table["y_height"], table["y_width"] = y.shape[2:]
    table["kernel"], (table["top"], table["left"]) = w.shape[2], pad
    table["low_maps"] = y.dtype == torch.bfloat16
    table["low_weights"] = w.dtype == torch.bfloat16
    return table


def _tiles(y: torch.Tensor, kernel: int) -> np.ndarray:
    """Return the tiles of the top's gradient that are not zero, of the type TILE.

    Values beside much larger ones would be lost in the roundings of these. So a tile with both is
    two tiles, one of the large and one of the small values.
    """
    side = fused_winograd.PIECES[kernel].side
    sizes = y.abs().amax(1).float().numpy()
    images, *size = sizes.shape
    down, across = (-(-n // side) for n in size)
    full = np.zeros((images, down * side, across * side), np.float32)
    full[:, : size[0], : size[1]] = sizes
    values = full.reshape(images, down, side, across, side).swapaxes(2, 3).reshape(-1, side**2)
    bits = 1 << np.add.outer(8 * np.arange(side), np.arange(side)).ravel()
    rest, numbers, outputs = values != 0, [], []
    while rest.any():
        least = np.where(rest, values, 0).max(1, keepdims=True) * np.float32(SMALL)
        # No comparison with NaN is true: values that are not finite belong to the first tile.
        chosen = rest & ~(values < least)
        numbers.append(np.flatnonzero(chosen.any(1)))
        outputs.append((chosen @ bits)[numbers[-1]])
        rest &= ~chosen
    number = np.concatenate([*numbers, np.zeros(0, int)])
    order = np.argsort(number, kind="stable")
    number = number[order]
    tiles = np.zeros(len(number), TILE)
    tiles["image"], row = np.divmod(number // across, down)
    tiles["row"], tiles["column"] = side * row, side * (number % across)
    tiles["outputs"] = np.concatenate([*outputs, np.zeros(0, int)])[order]
    return tiles
