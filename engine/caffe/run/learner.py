"""Runs a net that learns, on the CPU, a run of layers at a time.

A run of layers computes as bound calls, or under one graph of autograd (`tape.py`). The other
layers run by themselves.
"""

from __future__ import annotations

from functools import cached_property, partial

from .. import heap
from ..blob import Blob
from ..layers import Function
from . import single
from .arrays import ArrayProgram
from .loss import Parts, WeightedLosses
from .pending import Pending, can_run_backward, ignored_tops
from .tape import LearningSegment, learning_parts
from .wiring import Node, Wiring


class Learner:
    """Runs the layers of a net forward and backward.

    may_wait: whether a forward may be bound calls, if a backward follows only later or never.
    """

    def __init__(self, wiring: Wiring, losses: WeightedLosses) -> None:
        self._wiring, self._losses = wiring, losses
        self.may_wait = can_run_backward(wiring)

    @cached_property
    def parts(self) -> list[LearningSegment | Node]:
        """The runs of layers and the single layers of the net, in their order."""
        return learning_parts(self._wiring)

    @cached_property
    def _segments(self) -> list[LearningSegment]:
        return [part for part in self.parts if isinstance(part, LearningSegment)]

    @cached_property
    def _ignored(self) -> list[Blob]:
        return ignored_tops(self._wiring)

    def repeated(self) -> ArrayProgram | None:
        """Return the bound calls of all layers, if the next step can be the calls of the last."""
        only = self.parts[0] if len(self.parts) == 1 else None
        return only.repeated() if isinstance(only, LearningSegment) else None

    def has_runs(self) -> bool:
        """Return whether there are runs of layers, and not single layers alone."""
        return bool(self._segments)

    def values(self) -> list[int | None]:
        """Return the number of values in the tops of each run; None before the first pass."""
        return [segment.values for segment in self._segments]

    @property
    def reason(self) -> str:
        """What the last pass was."""
        native = sum(segment.native_calls() for segment in self._segments)
        calls = f", by {native} calls in C" if native else ""
        return f"of the layers, {len(self._segments)} runs learn together{calls}"

    def step(self, fresh: bool = False) -> tuple[Parts, bool]:
        """Run all layers forward and backward, and free what the forward kept.

        fresh: whether the gradients of the parameters are zeroed before; else they are added to.
        Return the losses, and whether all layers but those of data ran as bound calls.
        """
        heap.keep()
        bound = leased = False
        try:
            bound = self._forward()
            leased = bound and all(segment.is_leased() for segment in self._segments)
        finally:
            # Bound calls overwrite the gradients of leased memories, and add to those of others.
            if fresh and not leased:
                self._wiring.clear_gradients()
        losses = self._losses.read()
        self.backward(fresh, free=True)
        return losses, bound

    def forward(self) -> Pending | None:
        """Run all layers as bound calls; return what a backward that may follow needs.

        A net with a run of layers that has no bound calls is asked once: its layers run again, one
        by one, and the result is None.
        """
        pending = Pending(self._wiring, self._segments, self._ignored)
        for part in self.parts:
            if isinstance(part, Node):
                single.forward(self._wiring, part)
            elif not single.forward_together(self._wiring, part.forward_bound, part.nodes):
                self.may_wait = False
        pending.note_values()
        if self.may_wait:
            return pending
        pending.record(partial(single.forward, self._wiring))
        return None

    def backward(self, fresh: bool = False, free: bool = False) -> None:
        """Run all layers backward. fresh: as in `step`. free: whether single layers forget."""
        for part in reversed(self.parts):
            if isinstance(part, LearningSegment):
                single.call(partial(part.backward, fresh), part.nodes, "backward")
                continue
            if part.backward:
                single.backward(self._wiring, part)
            if free and isinstance(part.layer, Function):
                part.layer.forget()

    def _forward(self) -> bool:
        """Run all layers forward; return whether all but those of data ran as bound calls."""
        bound = True
        for part in self.parts:
            if isinstance(part, LearningSegment):
                single.call(part.forward, part.nodes, "forward")
                bound = bound and part.is_bound()
            else:
                single.forward(self._wiring, part)
                bound = bound and not isinstance(part.layer, Function)
        return bound
