"""Overlapping tiles of a picture, whose inner pixels have the values of the whole picture.

A value of a net's map depends on a window of the image, its receptive field. If a tile includes the
receptive fields of its core, and starts at a multiple of the net's strides, its core gets the
values that the whole picture gives, up to rounding.
"""

from __future__ import annotations

import math
import os
import re
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from net_gen.geometry import SIDES, Geometry
from net_gen.pointwise import MAP_STATISTICS

#: Bytes by the unit of a size.
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
#: Bytes of a value of a blob.
FLOAT = 4
#: The most values that Caffe holds in a blob: its counts are 32-bit integers.
LARGEST_BLOB = 2**31 - 1


class Context(NamedTuple):
    """What a tile needs along one side.

    period: tiles and their cores start at multiples of it. before, after: pixels of the tile around
    its core; `before` is a multiple of `period`.
    """

    period: int
    before: int
    after: int

    @property
    def smallest(self) -> int:
        """The smallest tile with a core inside."""
        return self.before + self.period + self.after


class Tile(NamedTuple):
    """A part of a picture: the rows and columns that the net reads, and those of its core."""

    rows: slice
    columns: slice
    core_rows: slice
    core_columns: slice

    @classmethod
    def single(cls, height: int, width: int) -> Tile:
        """Return the tile that is a picture itself."""
        rows, columns = slice(0, height), slice(0, width)
        return cls(rows, columns, rows, columns)


class Extent:
    """How the blobs of a net extend over a picture, and so what tiles and passes need.

    message: the NetParameter. net: its pycaffe net. blobs: the maps that are wanted.

    around: the context along the height and the width.

    Raises ValueError if a blob depends on more of the picture than a window around its place.
    """

    def __init__(self, message: Any, net: Any, blobs: Sequence[str]) -> None:
        for layer in message.layer:
            _check_local(layer)
        self._sides = [Geometry(message, side=side) for side in SIDES]
        rows, columns = (_context(geometry, blobs) for geometry in self._sides)
        self.around = rows, columns
        named = [name for name in net.blobs if name in self._sides[0].maps]
        self._channels = {name: _channels(net.blobs[name]) for name in named}

    @property
    def smallest_tile(self) -> int:
        """The side in pixels of the smallest square tile with a core inside."""
        period = math.lcm(*(context.period for context in self.around))
        return -(-max(context.smallest for context in self.around) // period) * period

    def least_memory(self, height: int, width: int) -> int:
        """Return the bytes that a pass over a picture, or over its smallest tile, needs."""
        side = self.smallest_tile
        return self.pass_memory(min(side, height), min(side, width))

    def pass_memory(self, height: int, width: int) -> int:
        """Return the bytes of all blobs with an input of this size."""
        return FLOAT * sum(self._counts(height, width))

    def fits(self, height: int, width: int, budget: Optional[int]) -> bool:
        """Return whether a pass over a picture needs at most `budget` bytes and Caffe can hold it.

        budget: None for any number of bytes.
        """
        counts = self._counts(height, width)
        return max(counts) <= LARGEST_BLOB and (budget is None or FLOAT * sum(counts) <= budget)

    def side_for(self, budget: Optional[int], limit: int) -> int:
        """Return the largest side of square tiles that `fits`, up to about `limit` pixels.

        The smallest tile is returned even if it does not fit.
        """
        period = math.lcm(*(context.period for context in self.around))
        low = self.smallest_tile // period
        high = max(low, -(-limit // period)) + 1
        while high - low > 1:
            middle = (low + high) // 2
            fits = self.fits(middle * period, middle * period, budget)
            low, high = (middle, high) if fits else (low, middle)
        return low * period

    def _counts(self, height: int, width: int) -> List[int]:
        rows, columns = (
            geometry.sizes(size, checked=False)
            for geometry, size in zip(self._sides, (height, width))
        )
        return [count * rows[name] * columns[name] for name, count in self._channels.items()]


def _check_local(layer: Any) -> None:
    """Raise ValueError for a layer whose values depend on statistics of the whole map."""
    statistics = layer.type in MAP_STATISTICS
    if layer.type == "BatchNorm" and layer.batch_norm_param.HasField("use_global_stats"):
        statistics = not layer.batch_norm_param.use_global_stats
    if statistics:
        raise ValueError(f"layer {layer.name} ({layer.type}): uses statistics of the whole map")
    if layer.type == "LRN" and layer.lrn_param.norm_region:
        raise ValueError(
            f"layer {layer.name} (LRN): has a window, WITHIN_CHANNEL, of no known size"
        )


def _channels(blob: Any) -> int:
    """Return the number of channels of a blob; 1 for a blob without."""
    shape = tuple(blob.shape)
    return int(shape[1]) if len(shape) > 1 else 1


def _context(geometry: Geometry, blobs: Sequence[str]) -> Context:
    before, after = [], []
    for blob in blobs:
        if blob not in geometry.maps:
            raise ValueError(f"blob {blob}: a layer before it has no receptive field")
        first, last = geometry.context(blob)
        before.append(-(-first // geometry.period) * geometry.period)
        after.append(last)
    return Context(geometry.period, max(before), max(after))


def plan(height: int, width: int, side: int, around: Tuple[Context, Context]) -> List[Tile]:
    """Return tiles of at most `side` x `side` pixels whose cores make up a picture.

    around: as `Extent.around`. Raises ValueError for a side without room for a core.
    """
    rows, columns = (_cuts(n, side, context) for n, context in zip((height, width), around))
    return [
        Tile(row, column, core_row, core_column)
        for row, core_row in rows
        for column, core_column in columns
    ]


def _cuts(pixels: int, side: int, context: Context) -> List[Tuple[slice, slice]]:
    """Return what tiles read and their cores along one side of a picture."""
    if pixels <= side:
        return [(slice(0, pixels), slice(0, pixels))]
    if side < context.smallest:
        raise ValueError(
            f"tiles of {side} pixels are too small for this net, which needs {context.smallest}: "
            f"{context.before} and {context.after} around a core"
        )
    cuts = []
    start = 0
    while start < pixels:
        first = max(0, start - context.before)
        last = min(first + side, pixels)
        end = pixels
        if last < pixels:
            end = (last - context.after) // context.period * context.period
        cuts.append((slice(first, last), slice(start, end)))
        start = end
    return cuts


def parse_memory(text: str) -> int:
    """Return the bytes of a size such as 2GB, 500M or 1.5 G. Raises ValueError for other text."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if not match or float(match.group(1)) == 0:
        raise ValueError(f"memory {text}: needs a size such as 2GB or 500MB")
    return int(float(match.group(1)) * UNITS[match.group(2).upper()])


def resident_memory() -> int:
    """Return the resident memory of this process in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def free_memory() -> Optional[int]:
    """Return the bytes that this process can still have; None where the system does not say.

    The limit of a container counts, as version 2 of Linux's control groups tells it.
    """
    free: Optional[int] = None
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    free = int(line.split()[1]) * 1024
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = file.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:
            used = int(file.read())
        if limit.isdigit() and free is not None:
            free = min(free, int(limit) - used)
    except (OSError, ValueError, IndexError):
        pass
    return free
