"""Runs a net's layers, forward and backward, by the fastest way that shows the same results.

There are four ways. A pass runs layer by layer, or through a region (`region.py`), whose layers
compute only where the image reaches, or, on a CUDA device, as a replay of a captured graph
(`replay.py`), or, on the CPU, as a plan: in inference as a list of calls (`plan.py`), in learning a
run of layers at a time (`learner.py`). `Executor.choice` says which way the last pass took and why;
with CAFFE_FAST=0 in the environment every pass runs layer by layer.
"""

from __future__ import annotations

from enum import Enum
from functools import partial

import numpy as np

from .. import heap, mode, waiting
from . import debug_info, single
from .arrays import ArrayProgram
from .choice import Choice, Choices, in_one_line
from .functional import forget
from .inference import Inference
from .layerwise import Layerwise
from .learner import Learner
from .loss import Loss, Losses, Parts, WeightedLosses
from .observers import Observers
from .passes import Pass
from .pending import Pending
from .plan import Plan, is_small
from .regions import Regions
from .replay import Replays
from .results import Results
from .wiring import Wiring


class Way(Enum):
    """How a whole pass runs that is no replay."""

    LEARNING = "runs of layers that learn together"
    PLAN = "the plan of an inference"
    BOUND_FORWARD = "a forward of bound calls, which leaves its work for a backward until later"
    LAYERS = "the layers one by one, and regions"


class Repeatable(Enum):
    """What a pass was that the next one may repeat without deciding anything again."""

    NOTHING = "nothing"
    ARRAYS = "bound calls"
    LEARNING = "bound calls, forward and backward"
    PLAN = "a plan"


class Executor:
    """Runs the layers of a wiring.

    fast: False has every pass run layer by layer.
    observers: callbacks and debug_info.
    requested: blobs that somebody has read, though the pass left them out. Later passes compute
    these blobs whole.
    regions, replays: the regions and the captured graphs of the net.
    """

    def __init__(self, wiring: Wiring, fast: bool = True) -> None:
        self.wiring = wiring
        self.observers = Observers(fast)
        self.requested: set[int] = set()
        self.regions = Regions(wiring, self.requested, self.observers)
        self.replays = Replays(wiring)
        self._layerwise = Layerwise(wiring, self.regions, self.observers)
        self._inference = Inference(wiring, self.requested, self.regions, self.observers)
        self._losses = WeightedLosses(wiring)
        self._learner = Learner(wiring, self._losses)
        self._results = Results(wiring)
        self._choices = Choices(wiring.name, has_regions=bool(self.regions.starts))
        #: The last forward, if a backward of bound calls may follow it.
        self._pending: Pending | None = None
        #: What the last pass was, if it was complete and the next one may repeat it.
        self._repeatable = Repeatable.NOTHING
        self._repeatable_precision = "float32"

    @property
    def choice(self) -> Choice | None:
        """How the last whole pass ran; None before the first."""
        return self._choices.last

    def forward(self, first: int, last: int) -> Loss:
        """Run the layers `first` .. `last`, given by number."""
        if last - first + 1 == len(self.wiring.nodes):
            return self.forward_all()
        self._repeatable, self._pending = Repeatable.NOTHING, None
        with mode.pass_flags():
            return Loss(self._layerwise.forward(range(first, last + 1)))

    def forward_all(self) -> Loss:
        """Run all layers."""
        return self._run_all(learn=False)

    def step(self, fresh: bool = False) -> Loss:
        """Run all layers forward and backward, and free what the forward kept for the backward.

        fresh: whether the gradients of the parameters are zeroed before; else they are added to.
        """
        return self._run_all(learn=True, fresh=fresh)

    def backward(self, first: int, last: int, free: bool = False) -> None:
        """Run the layers `first` down to `last` backward.

        free: whether to free what the forward kept for the backward.
        """
        self._repeatable = Repeatable.NOTHING
        with mode.pass_flags():
            if self._pending is not None:
                if self._is_whole_backward(first, last) and self._pending.has_values():
                    self._learner.backward()
                    return
                self._pending.record(partial(single.forward, self.wiring))
                self._pending = None
            self._layerwise.backward(first, last, free)

    def reshape(self) -> None:
        """Give every blob the shape that follows from the inputs' shapes."""
        for node in self.wiring.nodes:
            single.reshape(self.wiring, node)

    def free_last_pass(self) -> None:
        """Free what the last pass left, so that the next one can use the same memory."""
        self._end_last_pass()
        self._results.free()

    def is_bound(self) -> bool:
        """Return whether the last complete pass ran as bound calls, except for data layers."""
        return self._repeatable in (Repeatable.ARRAYS, Repeatable.LEARNING)

    def repeated_step(self) -> ArrayProgram | None:
        """Return the bound calls of all layers, if the next step can be the calls of the last."""
        return self._learner.repeated() if self._repeats(learn=True) else None

    def loss_arrays(self) -> list[tuple[float, np.ndarray]] | None:
        """As `WeightedLosses.arrays`, of all losses of the net."""
        return self._losses.arrays()

    def _run_all(self, learn: bool, fresh: bool = False) -> Loss:
        """Run all layers forward, and backward if `learn`. fresh: as in `step`."""
        waiting.before_pass()
        self._pending = None
        if self._repeats(learn):
            return Loss(self._repeat(learn, fresh))
        self._repeatable = Repeatable.NOTHING
        if fresh:
            self.wiring.clear_gradients()
        with mode.pass_flags():
            against = self.observers.reason_against_fast() or self.replays.reason_against()
            return Loss(self._compute(learn, against) if against else self._replay(learn))

    def _repeats(self, learn: bool) -> bool:
        """Return whether this pass may run as the last one did: as bound calls, or as a plan."""
        if self._repeatable is Repeatable.NOTHING or self.observers.are_present():
            return False
        if learn is not (self._repeatable is Repeatable.LEARNING):
            return False
        return mode.is_on_cpu() and mode.precision() == self._repeatable_precision

    def _repeat(self, learn: bool, fresh: bool) -> Parts:
        """Run all layers by the calls, or the plan, of the last pass. fresh: as in `step`."""
        if learn:
            return self._learn(fresh)
        plan = self._inference.plan
        if plan.repeat():
            return self._losses.read()
        if self._repeatable is Repeatable.PLAN:
            plan.release()
            heap.tidy()
        parts = self._run_plan(plan)
        if plan.has_changed():
            self._note_plan(plan)
        return parts

    def _replay(self, learn: bool) -> Losses:
        """Run all layers, those inside a captured graph by a replay if the graph exists."""
        losses = self._layerwise.forward(self.replays.outside)
        captured = self.replays.find(self.requested, learn, partial(self._run_inside, learn))
        if captured is not None:
            self.regions.last_pass = captured.region_pass
            losses += captured.replay()
            self._choices.note("replay", "a captured graph fits the input's size")
            return losses
        losses += self._layerwise.forward(self.replays.inside)
        self._note_layers("the input's size comes for the first times")
        if learn:
            self._backward_all()
        return losses

    def _run_inside(self, learn: bool) -> tuple[Losses, Pass | None]:
        """Run the layers inside graphs while their launches are recorded."""
        losses = self._layerwise.forward(self.replays.inside)
        if learn:
            self._backward_all()
        return losses, self.regions.last_pass

    def _compute(self, learn: bool, against: str) -> Parts:
        """Run all layers by the fastest way that is no replay. against: why it is none."""
        way = self._choose(learn)
        self._end_last_pass()
        if not self._keeps_results(way):
            self._results.free()
        if not learn:
            heap.tidy()
        if way is Way.LEARNING:
            return self._learn_together()
        if way is Way.PLAN:
            return self._run_whole_plan()
        if way is Way.BOUND_FORWARD:
            return self._run_bound_forward(against)
        return self._run_layers(learn, against)

    def _choose(self, learn: bool) -> Way:
        if not self._inference.can_plan(learn):
            return Way.LAYERS
        if learn:
            return Way.LEARNING
        if self._inference.plan.segments:
            return Way.PLAN
        waits = mode.is_plain() and self._learner.may_wait and self._learner.has_runs()
        return Way.BOUND_FORWARD if waits else Way.LAYERS

    def _end_last_pass(self) -> None:
        """End the last pass: its blobs are about to be replaced."""
        self.regions.last_pass = None
        self._inference.close()

    def _keeps_results(self, way: Way) -> bool:
        """Return whether the blobs of the last pass are small and may stay until replaced."""
        if way is Way.PLAN:
            return self._inference.plan.is_small()
        return way is not Way.LAYERS and is_small(self._learner.values())

    def _learn_together(self) -> Parts:
        forget(self.wiring.nodes)
        parts = self._learn()
        self._note_layers(self._learner.reason)
        return parts

    def _learn(self, fresh: bool = False) -> Parts:
        """Run all layers forward and backward, a run of layers at a time. fresh: as in `step`."""
        self._repeatable_precision = mode.precision()
        losses, bound = self._learner.step(fresh)
        self._repeatable = Repeatable.LEARNING if bound else Repeatable.NOTHING
        return losses

    def _run_whole_plan(self) -> Parts:
        plan = self._inference.plan
        parts = self._run_plan(plan)
        self._note_plan(plan)
        return parts

    def _run_plan(self, plan: Plan) -> Parts:
        """Run all layers, as a plan and through regions."""
        self._repeatable_precision = mode.precision()
        self._inference.run(plan)
        if plan.is_bound() and self.regions.last_pass is None:
            self._repeatable = Repeatable.ARRAYS
        elif plan.is_repeatable() and not self.regions.starts:
            self._repeatable = Repeatable.PLAN
        else:
            self._repeatable = Repeatable.NOTHING
        return self._losses.read()

    def _run_bound_forward(self, against: str) -> Parts:
        self._pending = self._learner.forward()
        self._note_layers(self._learner.reason if self._pending else against)
        return self._losses.read()

    def _run_layers(self, learn: bool, against: str) -> Parts:
        """Run the layers one by one, but those of regions together, and those outside as a plan."""
        outside = None if learn else self._inference.plan_outside_regions()
        if outside is not None:
            parts = self._run_plan(outside)
            self._note_layers(against, outside.reason)
            return parts
        losses = self._layerwise.forward(range(len(self.wiring.nodes)))
        self._note_layers(against)
        if learn:
            self._backward_all()
        return losses

    def _backward_all(self) -> None:
        """Run all layers backward, after a forward that recorded what a backward needs."""
        self._layerwise.backward(len(self.wiring.nodes) - 1, 0, free=True)
        if self.observers.debug_info:
            debug_info.log_parameters(self.wiring)

    def _is_whole_backward(self, first: int, last: int) -> bool:
        """Return whether a backward is one of all layers, which bound calls can run."""
        entire = (first, last) == (len(self.wiring.nodes) - 1, 0)
        return entire and mode.is_plain() and not self.observers.are_present()

    def _note_plan(self, plan: Plan) -> None:
        """Note that the last pass ran as a plan of all layers."""
        reasons = [reason for _, reason in self.regions.at_starts()]
        self._choices.note("plan", in_one_line([*reasons, plan.reason]))

    def _note_layers(self, against_replay: str, outside: str = "") -> None:
        """Note how a pass ran that was neither a replay nor a plan of all layers.

        outside: how the layers outside regions ran, if they ran as a plan.
        """
        if not self.regions.starts:
            self._choices.note("layers", against_replay)
            return
        regions = self.regions.at_starts()
        reasons = [reason for patches, reason in regions if patches is not None]
        if reasons:
            self._choices.note("regions", "; ".join([*reasons, outside] if outside else reasons))
        else:
            self._choices.note("layers", in_one_line(reason for _, reason in regions))
