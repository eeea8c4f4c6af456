"""The layers outside regions, as a plan, for images whose size comes several times in a row."""

from __future__ import annotations

from collections.abc import Sequence

from .. import mode
from .plan import Plan
from .region import Region
from .wiring import Wiring

#: Passes in a row with the same shapes and weights up to which these layers run one by one. A plan
#: puts weights into another order, which takes as long as a few passes save.
BEFORE_PLAN = 2


class Outside:
    """The plan of the layers outside regions, for one size of images at a time.

    A plan of another size takes its place, so that the memory does not grow with the sizes.
    """

    def __init__(self, wiring: Wiring, requested: set[int]) -> None:
        self._wiring, self._requested = wiring, requested
        self._plan: Plan | None = None
        self._planned: object = None
        self._last: object = None
        self._repetitions = 0

    def plan(self, regions: Sequence[Region]) -> Plan | None:
        """Return the plan of a pass through these regions; None if the layers run one by one."""
        state = self._state(regions)
        self._repetitions = self._repetitions + 1 if state == self._last else 0
        self._last = state
        if self._plan is None or state != self._planned:
            if self._repetitions < BEFORE_PLAN:
                return None
            ranges = [range(region.first, region.last + 1) for region in regions]
            self._plan, self._planned = Plan(self._wiring, self._requested, ranges), state
        return self._plan if self._plan.segments else None

    def close(self) -> None:
        """End the last pass: its blobs are about to be replaced."""
        if self._plan is not None:
            self._plan.close()

    def _state(self, regions: Sequence[Region]) -> object:
        """Return what a plan depends on: precision, regions, shapes of images, state of weights."""
        blobs = self._wiring.blobs
        sizes = [(r.first, r.last, blobs[r.source].shape) for r in regions]
        memories = [blob.values for node in self._wiring.nodes for blob in node.layer.blobs]
        return mode.precision(), sizes, [(id(m), m.version) for m in memories]
