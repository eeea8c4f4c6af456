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
    """Return whether the library computes the gradient of weights K x C x kh x kw.

    x: the map that is convolved, N x C x H x W, float32 or bfloat16 on the CPU.
    """
    return weights[1] == x.shape[1] and fused_winograd.is_usable(weights)


def gradient(
    x: torch.Tensor,
    y: torch.Tensor,
    weights: Sequence[int],
    pad: Sequence[int],
    out: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """Return the gradient of the weights, K x C x kh x kw, float32; None if it is not finite.

    x: the map that was convolved. y: the gradient of the convolution, N x K x H x W, of x's type.
    weights: a shape of which `is_usable` is true. pad: (height, width). out: contiguous memory for
    the gradient.
    """
    native = library.required()
    x, y = (t.contiguous(memory_format=torch.channels_last) for t in (x, y))
    w = torch.empty(tuple(weights)) if out is None else out
    assert w.is_contiguous() and w.numel() == math.prod(weights)
    parts = _parts(weights[1], weights[0], torch.get_num_threads())
    table = np.zeros(len(parts), GRADIENT)
    table["x"], table["w"], table["y"] = x.data_ptr(), w.data_ptr(), y.data_ptr()
    table["images"], table["channels"], table["height"], table["width"] = x.shape
    table["outputs"], table["y_height"], table["y_width"] = y.shape[1:]
    table["kernel"] = kernel = weights[2]
    table["top"], table["left"] = pad
    table["low"] = x.dtype == torch.bfloat16
    for name, values in zip(
        ("first_channel", "end_channel", "first_output", "end_output"), parts.T
    ):
        table[name] = values
    channels = int((table["end_channel"] - table["first_channel"]).max())
    outputs = int((table["end_output"] - table["first_output"]).max())
    tiles = x.shape[0] * math.prod(fused_winograd.tiles(x.shape, pad, kernel))
    block, group, sum_channels = _sizes(tiles, channels, outputs, kernel)
    table["block"], table["group"] = block, group
    scratch = native.gradient_scratch(channels, kernel, block, group, sum_channels)
    team = jobs.team(torch.get_num_threads(), scratch)
    return w if native.gradient(table.ctypes.data, len(table), team) else None


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
