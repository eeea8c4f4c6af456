"""The gradient of the weights of convolutions, by Winograd's algorithm in the C library.

native/gradient.c has the algorithm. Each thread computes the gradients of some channels and some
outputs, so that the number of threads does not change the order of a sum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch

from ..native import library
from ..native.records import PANEL
from ..native.structures import GRADIENT
from . import fused_winograd, jobs

#: Tiles of a block: few, whose coordinates stay in a core's own cache; or many where a job has more
#: than CACHED sums, so that the sums, in main memory, are read and written less often.
FEW, MANY, CACHED = 48, 144, 1 << 21
#: Outputs of a group where all tiles fit one block.
GROUP = 48
#: The most coordinates of the inputs of large kernels' tiles in a job's memory, and the most sums.
COORDINATES, SUMS = 1 << 24, 1 << 23


def is_usable(x: torch.Tensor, weights: Sequence[int]) -> bool:
    """Return whether the library computes the gradient of weights K x C / groups x kh x kw.

    x: the map that is convolved, N x C x H x W, float32 or bfloat16 on the CPU.
    """
    return fused_winograd.is_usable(weights, x.shape[1] // weights[1])


def gradient(
    x: torch.Tensor,
    y: torch.Tensor,
    weights: Sequence[int],
    pad: Sequence[int],
    out: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """Return the gradient of the weights, float32; None if it is not finite.

    x: the map that was convolved. y: the gradient of the convolution, N x K x H x W, of x's type.
    weights: K x C / groups x kh x kw, of which `is_usable` is true. pad: (height, width).
    out: contiguous memory for the gradient.
    """
    native = library.required()
    x, y = (t.contiguous(memory_format=torch.channels_last) for t in (x, y))
    w = torch.empty(tuple(weights)) if out is None else out
    assert w.is_contiguous() and w.numel() == math.prod(weights)
    table = _table(x, y, w, pad)
    channels = int((table["end_channel"] - table["first_channel"]).max())
    outputs = int((table["end_output"] - table["first_output"]).max())
    tiles = x.shape[0] * math.prod(fused_winograd.tiles(x.shape, pad, weights[2]))
    block, group, sum_channels = _sizes(tiles, channels, outputs, weights[2])
    table["block"], table["group"] = block, group
    scratch = native.gradient_scratch(channels, weights[2], block, group, sum_channels)
    team = jobs.team(torch.get_num_threads(), scratch)
    return w if native.gradient(table.ctypes.data, len(table), team) else None


def _table(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor, pad: Sequence[int]) -> np.ndarray:
    """Return the jobs of the threads, without the sizes of their blocks."""
    channels, threads = w.shape[1], torch.get_num_threads()
    groups = x.shape[1] // channels
    outputs = w.shape[0] // groups
    # Groups are divided only if the threads would not get the same number of them.
    parts = _parts(channels, outputs, 1 if groups % threads == 0 else threads)
    table = np.zeros(groups * len(parts), GRADIENT)
    group = np.arange(groups, dtype=np.uint64).repeat(len(parts))
    for name, values, size in (
        ("x", x, channels),
        ("y", y, outputs),
        ("w", w, w.numel() // groups),
    ):
        table[name] = values.data_ptr() + group * np.uint64(size * values.itemsize)
    table["images"], table["x_step"], table["height"], table["width"] = x.shape
    table["y_step"], table["y_height"], table["y_width"] = y.shape[1:]
    table["channels"], table["kernel"] = channels, w.shape[2]
    table["top"], table["left"] = pad
    table["low"] = x.dtype == torch.bfloat16
    columns = np.tile(parts, (groups, 1)).T
    for name, values in zip(
        ("first_channel", "end_channel", "first_output", "end_output"), columns
    ):
        table[name] = values
    return table


def _sizes(tiles: int, channels: int, outputs: int, kernel: int) -> tuple[int, int, int]:
    """Return the tiles of a block, and the outputs and channels whose sums are in memory.

    channels, outputs: those of a job.
    """
    pieces = fused_winograd.PIECES[kernel].number
    values = fused_winograd.POINTS * pieces * channels
    if tiles <= MANY or (pieces > 1 and values * tiles <= COORDINATES):
        return tiles, min(outputs, GROUP), PANEL
    block = FEW if values * outputs <= CACHED else MANY
    return block, min(outputs, max(1, SUMS // (values * PANEL)) * PANEL), channels


def _parts(channels: int, outputs: int, threads: int) -> np.ndarray:
    """Return the first and the end of the channels and of the outputs of each thread.

    The coordinates of inputs take longer than those of gradients, so channels are divided first.
    """
    across = min(threads, channels // PANEL)
    down = min(-(-threads // across), outputs // PANEL)
    ranges = []
    for count, pieces in ((channels, across), (outputs, down)):
        places = [PANEL * panel for panel in jobs.cuts(count // PANEL, pieces)]
        ranges.append(list(zip(places, places[1:])))
    return np.array([(*c, *k) for c, k in itertools.product(*ranges)])
