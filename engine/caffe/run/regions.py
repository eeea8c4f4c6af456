"""The regions of a net for the present shapes of its blobs, and the last pass through one."""

from __future__ import annotations

from collections import OrderedDict

from . import single
from .border import BorderCache
from .failures import raise_for
from .observers import Observers
from .passes import Pass
from .patches import Patches
from .region import Region, find_region, region_starts
from .wiring import Wiring

#: Regions that are kept, for inputs of different shapes.
KEPT = 128


class Regions:
    """The regions of a net.

    requested: blobs inside regions that somebody has read; later passes compute the complete maps
    of these blobs.
    starts: the layers, by number, at which a region may start.
    borders: what the regions compute from images of zeros.
    last_pass: the last pass through a region, for the backward that may follow.
    """

    def __init__(self, wiring: Wiring, requested: set[int], observers: Observers) -> None:
        self._wiring, self._requested, self._observers = wiring, requested, observers
        self.starts = sorted(region_starts(wiring))
        self.borders = BorderCache()
        self.last_pass: Pass | None = None
        self._patches: OrderedDict[object, tuple[Patches | None, str]] = OrderedDict()

    def at(self, first: int) -> tuple[Patches | None, str]:
        """Return the region that starts at layer `first`, or None, and the reason."""
        if first not in self.starts:
            return None, "no layer pads by more than its kernel"
        if against := self._observers.reason_against_fast():
            return None, against
        (source,) = self._wiring.nodes[first].bottoms
        key = (first, self._wiring.blobs[source].shape)
        if key not in self._patches:
            while len(self._patches) >= KEPT:
                self._patches.popitem(last=False)
            region, reason = find_region(self._wiring, first)
            self._patches[key] = (None if region is None else Patches(region)), reason
        return self._patches[key]

    def at_starts(self) -> list[tuple[Patches | None, str]]:
        """Return what `at` returns for each layer at which a region may start."""
        return [self.at(start) for start in self.starts]

    def present(self) -> list[Region]:
        """Return the regions of a pass with the present shapes."""
        return [patches.region for patches, _ in self.at_starts() if patches is not None]

    def within(self, first: int, last: int) -> Patches | None:
        """Return the region that starts at layer `first` and ends at `last` or before."""
        patches, _ = self.at(first) if first in self.starts else (None, "")
        return patches if patches is not None and patches.region.last <= last else None

    def run(self, patches: Patches) -> None:
        """Run a region forward, after the shapes of its blobs are known."""
        node = patches.region.nodes[0]
        try:
            for node in patches.region.nodes:
                single.reshape(self._wiring, node)
            self.last_pass = Pass(self._wiring, patches, self._requested, self.borders)
        except Exception as error:
            raise_for(node.layer, node.param, "forward", error)

    def forget_pass_from(self, number: int) -> None:
        """Drop the last pass if layer `number` lies in its region or before."""
        if self.last_pass is not None and number <= self.last_pass.region.last:
            self.last_pass = None
