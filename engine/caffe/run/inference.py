"""A net's inference on the CPU: the plan of all layers, or of those outside regions."""

from __future__ import annotations

from .. import heap, mode
from ..ops import prepared
from . import single
from .observers import Observers
from .outside import Outside
from .plan import Plan
from .regions import Regions
from .wiring import Node, Wiring


class Inference:
    """The plans of a net.

    requested: blobs that somebody has read; plans compute them from then on.
    """

    def __init__(
        self, wiring: Wiring, requested: set[int], regions: Regions, observers: Observers
    ) -> None:
        self._wiring, self._requested = wiring, requested
        self._regions, self._observers = regions, observers
        self._plan: Plan | None = None
        self._outside = Outside(wiring, requested)

    @property
    def plan(self) -> Plan:
        """The plan of all layers."""
        if self._plan is None:
            self._plan = Plan(self._wiring, self._requested)
        return self._plan

    def can_plan(self, learn: bool) -> bool:
        """Return whether a pass may run as calls: on the CPU, and not through a region.

        learn: whether a backward follows, which such calls compute in float32 alone.
        """
        return self._has_plans(learn) and not self._regions.present()

    def plan_outside_regions(self) -> Plan | None:
        """Return the plan of the layers outside regions; None if they run one by one."""
        regions = self._regions.present() if self._has_plans(learn=False) else []
        return self._outside.plan(regions) if regions else None

    def _has_plans(self, learn: bool) -> bool:
        """Return whether calls can compute layers of a pass. learn: as in `can_plan`."""
        if self._observers.reason_against_fast() or mode.device().type != "cpu":
            return False
        return mode.is_plain() or (not learn and prepared.available(mode.low_dtype()))

    def run(self, plan: Plan) -> None:
        """Run all layers, as a plan and through regions."""
        heap.keep()
        for part in plan.parts:
            if not isinstance(part, Node):
                single.forward_together(self._wiring, part.run, part.nodes)
                continue
            patches, _ = self._regions.at(part.number)
            if patches is None:
                single.forward(self._wiring, part)
            else:
                self._regions.run(patches)

    def close(self) -> None:
        """End the last pass of all plans: its blobs are about to be replaced."""
        if self._plan is not None:
            self._plan.close()
        self._outside.close()
