"""Winograd's algorithm with the kernels' coordinates kept between calls, for inference on the CPU.

The 36 products of coordinates are one convolution of oneDNN with 36 groups, whose weights are the
kernels' coordinates in oneDNN's order. They take four times the memory of the weights, so that only
so many are kept as fit into `budget()`.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .. import heap
from . import winograd

_POINTWISE = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
_REORDER = getattr(torch.ops.mkldnn, "_reorder_convolution_weight", None)
#: The environment variable for the most megabytes of coordinates that a process keeps.
LIMIT = "CAFFE_KERNEL_MB"
#: The file with the limit of the container's memory in bytes, or "max".
CONTAINER = Path("/sys/fs/cgroup/memory.max")
#: Without the variable: this share of the machine's or container's memory, and at most MOST bytes.
SHARE, MOST = 1 / 64, 256 << 20
#: Calls before the coordinates are kept: to put them in order takes as long as 2 to 6 calls save.
BEFORE = 2
#: A float32 for each of the 36 coordinates of a kernel.
KERNEL_BYTES = 36 * 4

_used = 0


def budget() -> int:
    """Return the most bytes of coordinates that the process keeps."""
    if LIMIT in os.environ:
        return int(float(os.environ[LIMIT]) * 2**20)
    return min(int(min(heap.machine_memory(), _container_memory()) * SHARE), MOST)


@cache
def _container_memory() -> int:
    """Return the most memory that the process's container may use, 2^63 - 1 without a limit."""
    try:
        return int(CONTAINER.read_text())
    except (OSError, ValueError):
        return 2**63 - 1


def used() -> int:
    """Return the bytes of coordinates that the process keeps now."""
    return _used


def fits(shape: Sequence[int], weights: Sequence[int], pad: Sequence[int]) -> bool:
    """Return whether the coordinates of kernels of this shape can be kept, K x C x 3 x 3.

    shape: that of the map. oneDNN would read memory that is not its own for maps of one row or
    column of tiles.
    """
    if _POINTWISE is None or _REORDER is None:
        return False
    if min(min(block) for block in winograd.block_shapes(shape, pad)) == 1:
        return False
    return _used + _size(weights) <= budget()


def _size(weights: Sequence[int]) -> int:
    return weights[0] * weights[1] * KERNEL_BYTES


def _release(size: int) -> None:
    global _used
    _used -= size


def convolution(
    shape: Sequence[int], w: torch.Tensor, b: torch.Tensor | None, pad: Sequence[int]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the convolution with stride 1 of maps of this shape, N x C x H x W, as a function.

    w: K x C x 3 x 3. b: K values, or None. pad: (height, width), each 2 at most. Where the
    coordinates exceed what is left of the budget, each call computes them again.
    """
    global _used
    pads = (pad[0], pad[1])
    if not fits(shape, w.shape, pad):
        return lambda x: winograd.convolve(x, w, b, pads)
    kept = _Kept(shape, w, b, pads)
    _used += _size(w.shape)
    weakref.finalize(kept, _release, _size(w.shape))
    return kept


class _Kept:
    """A convolution that keeps the coordinates of its kernels from the call after `BEFORE` on."""

    def __init__(
        self, shape: Sequence[int], w: torch.Tensor, b: torch.Tensor | None, pad: tuple[int, int]
    ) -> None:
        self._block = winograd.block_shapes(shape, pad)[0]
        self._w, self._b, self._pad, self._calls = w, b, pad, 0
        self._products: Products | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._products is None:
            self._calls += 1
            if self._calls <= BEFORE:
                return winograd.convolve(x, self._w, self._b, self._pad)
            self._products = Products(self._w, self._block)
        return winograd.convolve_with(x, self._products, self._w, self._b, self._pad)


class Products:
    """The products of tiles and kernels in coordinates.

    w: K x C x 3 x 3. block: the strips and the tiles of a strip that a call usually multiplies.
    """

    def __init__(self, w: torch.Tensor, block: tuple[int, int]) -> None:
        outputs, channels = w.shape[:2]
        assert _POINTWISE is not None and _REORDER is not None
        kernels = torch.mm(winograd.KERNEL, w.reshape(-1, 9).t())
        kernels = kernels.view(36 * outputs, channels, 1, 1)
        one, shape = [1, 1], [1, 36 * channels, *block]
        self._settings: tuple[Any, ...] = [0, 0], one, one, 36, "none", [], ""
        self._kernels = _REORDER(kernels, [0, 0], one, one, 36, shape)
        self._convolve = _POINTWISE.default

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return 36 x strips x tiles x K for tiles of strips x tiles x 36 x C."""
        maps = tiles.flatten(2).permute(2, 0, 1)[None]
        y = self._convolve(maps, self._kernels, None, *self._settings)
        return y[0].permute(1, 2, 0).unflatten(2, (36, -1)).permute(2, 0, 1, 3)
