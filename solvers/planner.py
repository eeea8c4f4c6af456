"""Decides whether a picture is segmented whole or in tiles, so that a pass fits the memory."""

from __future__ import annotations

from typing import Any, Callable, List, NamedTuple, Optional, Sequence

from fcn_common.memory import peak_memory, reset_peak_memory, return_free_memory
from solvers import tiles
from solvers.tiles import Extent, Tile

#: The fraction of the free memory that passes may take if the user names no memory.
SHARE = 0.9
#: Bytes that the process may grow by beside passes and pictures.
RESERVE = 50_000_000
#: A pass fits if its blobs take this fraction of the memory; the rest is for Caffe's other data.
SURE = 1 / 8
#: The least sides of the two passes that measure, in pixels, and the factor on what they measure.
PROBES, MARGIN = (320, 480), 1.15
#: The fraction of the growth by which a second pass may seem to need less than the first.
REUSED = 0.1
#: The least fraction of the bytes of its blobs that a pass is assumed to need.
LEAST = 0.1


class Memory(NamedTuple):
    """The limits of a pass.

    tile: the side in pixels of the largest square that the net reads at once; None: no limit.
    bytes: the most memory of the process; None: the free memory.
    guarded: whether pictures that need more than the free memory are tiled; false on a GPU, because
        Caffe does not report the memory of a GPU.
    """

    tile: Optional[int] = None
    bytes: Optional[int] = None
    guarded: bool = False


class Cost(NamedTuple):
    """The bytes that a pass needs: `fixed`, and `share` of the bytes of all its blobs."""

    fixed: float = 0.0
    share: float = 1.0

    def total(self, blobs: float) -> float:
        """Return the bytes of a pass whose blobs take a number of bytes."""
        return self.fixed + self.share * blobs

    def blobs(self, budget: float) -> int:
        """Return the bytes of blobs of a pass that needs `budget` bytes."""
        return int((budget - self.fixed) / self.share)


class Planner:
    """Plans the passes of a net over pictures.

    message: the NetParameter. net: its pycaffe net. blobs: the maps that are wanted. memory: the
    limits. channels: of the pictures. probe: runs a pass of the net with a height and a width.
    """

    def __init__(
        self,
        message: Any,
        net: Any,
        blobs: Sequence[str],
        memory: Memory,
        channels: int,
        probe: Callable[[int, int], None],
    ) -> None:
        self._message, self._net, self._blobs = message, net, list(blobs)
        self._memory, self._channels, self._probe = memory, channels, probe
        # Free memory that the process keeps would hide what passes need.
        return_free_memory()
        self._base = tiles.resident_memory()
        self._extent: Optional[Extent] = None
        self._cost: Optional[Cost] = None

    def plan(self, height: int, width: int, notes: List[str]) -> List[Tile]:
        """Return the tiles of a picture; a single one where the memory suffices.

        Raises ValueError if the limits that the user names need tiles and the net or the memory
        allows none.
        """
        single = [Tile.single(height, width)]
        side = self._memory.tile
        if side is not None and max(height, width) <= side:
            return single
        named = side is not None or self._memory.bytes is not None
        try:
            if self._extent is None:
                self._extent = Extent(self._message, self._net, self._blobs)
            side = side or self._side(self._extent, height, width)
            if side is None:
                return single
            plan = tiles.plan(height, width, side, self._extent.around)
        except ValueError as error:
            if named:
                raise ValueError(f"cannot be segmented in tiles: {error}") from None
            return single  # The pass may succeed nevertheless.
        if len(plan) > 1:
            notes.append(f"{width} x {height} pixels in {len(plan)} tiles of up to {side} pixels")
        return plan

    def _side(self, extent: Extent, height: int, width: int) -> Optional[int]:
        """Return the side of the tiles of a picture; None if the memory suffices without tiles."""
        budget = self._budget(height, width)
        sure = SURE if self._memory.bytes is not None else 1.0
        if budget is None or extent.fits(height, width, int(sure * budget)):
            return None
        if max(height, width) <= extent.smallest_tile:
            self._check(extent, Cost(share=LEAST), height, width, budget)
            return None
        if self._cost is None:
            self._cost = self._measure(extent)
        if extent.fits(height, width, self._cost.blobs(budget)):
            return None
        self._check(extent, self._cost, height, width, budget)
        return extent.side_for(self._cost.blobs(budget), max(height, width))

    def _measure(self, extent: Extent) -> Cost:
        """Return what passes need, from the growth of the process in two passes.

        The result is at least the bytes of all blobs if the system does not report the growth, or
        if the process reuses memory that it had before and so grows too little.
        """
        more = max(extent.smallest_tile - PROBES[0], 0)
        sides = [side + more for side in PROBES]
        grown = []
        for side in sides:
            if not reset_peak_memory():
                return Cost()
            self._probe(side, side)
            grown.append(MARGIN * max(peak_memory() - self._base, 0))
        blobs = [extent.pass_memory(side, side) for side in sides]
        share = max((grown[1] - grown[0]) / (blobs[1] - blobs[0]), LEAST)
        fixed = grown[0] - share * blobs[0]
        if fixed < -REUSED * grown[1]:
            return Cost(share=max(share, 1.0))
        return Cost(max(fixed, 0.0), share)

    def _check(self, extent: Extent, cost: Cost, height: int, width: int, budget: int) -> None:
        """Raise ValueError if the smallest pass needs more than the named memory leaves."""
        limit = self._memory.bytes
        least = cost.total(extent.least_memory(height, width))
        if limit is None or least <= budget:
            return
        occupied = limit - budget
        raise ValueError(
            f"--memory is {limit / 1e9:.2f} GB, and {occupied / 1e9:.2f} GB are taken by the "
            f"process and the pictures; the smallest pass needs {least / 1e9:.2f} GB more, so "
            f"name at least {(occupied + least) / 1e9 + 0.1:.1f}GB"
        )

    def _budget(self, height: int, width: int) -> Optional[int]:
        """Return the bytes that a pass may need; None for any number."""
        if self._memory.bytes is not None:
            # Beside a pass: this picture, the next one that is read, the last one that is written.
            pictures = height * width * (8 * self._channels + 16)
            return self._memory.bytes - self._base - pictures - RESERVE
        free = tiles.free_memory() if self._memory.guarded else None
        return None if free is None else int(SHARE * free)
