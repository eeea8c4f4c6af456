"""Runs a net's layers, forward and backward, by the fastest way that shows the same results.

There are four ways. A pass runs layer by layer, or through a region (`region.py`), whose layers
compute only where the image reaches, or, on a CUDA device, as a replay of a captured graph
(`replay.py`), or, in inference on the CPU, as a plan (`plan.py`), which is a list of calls.
`Executor.choice` says which way the last pass took and why; with CAFFE_FAST=0 in the environment
every pass runs layer by layer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import NamedTuple

import numpy as np

from .. import glog, heap, mode, waiting
from ..layers import EngineLayer, Function
from ..memory import Memory
from ..ops import prepared
from . import debug_info, single
from .arrays import ArrayProgram
from .border import BorderCache
from .failures import raise_for
from .functional import forget
from .learner import Learner
from .loss import Loss, Parts, WeightedLosses
from .outside import Outside
from .passes import Pass
from .patches import Patches
from .pending import Pending
from .plan import Plan, is_small
from .region import Region, find_region, region_starts
from .replay import Losses, Replays
from .wiring import Node, Wiring

#: Regions that are kept, for inputs of different shapes.
REGIONS = 128
CALLBACKS = ("before_forward", "after_forward", "before_backward", "after_backward")


class Repeatable(Enum):
    """What a pass was that the next one may repeat without deciding anything again."""

    NOTHING = "nothing"
    ARRAYS = "bound calls"
    LEARNING = "bound calls, forward and backward"
    PLAN = "a plan"


class Choice(NamedTuple):
    """How a pass ran and why. way: "layers", "regions", "replay" or "plan"."""

    way: str
    reason: str


class Executor:
    """Runs the layers of a wiring.

    fast: False has every pass run layer by layer.
    callbacks: by the names in CALLBACKS, functions that are called with each layer's number.
    choice: how the last whole pass ran; None before the first.
    debug_info: whether each layer's forward and backward log what they computed.
    """

    def __init__(self, wiring: Wiring, fast: bool = True) -> None:
        self.wiring = wiring
        self._fast = fast
        self.debug_info = False
        self.choice: Choice | None = None
        self.callbacks: dict[str, list[Callable[[int], None]]] = {name: [] for name in CALLBACKS}
        self.replays = Replays(wiring)
        #: Blobs inside regions that somebody has read. Later passes compute the complete maps of
        #: these blobs.
        self.requested: set[int] = set()
        self.borders = BorderCache()
        self._starts = region_starts(wiring)
        self._patches: OrderedDict[object, tuple[Patches | None, str]] = OrderedDict()
        #: The last pass through a region, for the backward that may follow.
        self._pass: Pass | None = None
        self._plan: Plan | None = None
        self._outside = Outside(wiring, self.requested)
        self._losses = WeightedLosses(wiring)
        self._learner = Learner(wiring, self._losses)
        #: The last forward, if a backward of bound calls may follow it.
        self._pending: Pending | None = None
        #: What the last pass was, if it was complete and the next one may repeat it.
        self._repeatable = Repeatable.NOTHING
        self._repeatable_precision = "float32"
        self._logged_way = ""
        # Blobs made or shared by layers that are not functions: their old values may matter.
        self._lasting = [
            wiring.blobs[t]
            for node in wiring.nodes
            if not (isinstance(node.layer, Function) or _copies(node))
            for t in node.tops
        ]

    def forward(self, first: int, last: int) -> Loss:
        """Run the layers `first` .. `last`, given by number."""
        if last - first + 1 == len(self.wiring.nodes):
            return self.forward_all()
        with mode.pass_flags():
            return Loss(self._run(range(first, last + 1)))

    def forward_all(self) -> Loss:
        """Run all layers."""
        return self._run_all(learn=False)

    def step(self, fresh: bool = False) -> Loss:
        """Run all layers forward and backward, and free what the forward kept for the backward.

        fresh: whether the gradients of the parameters are zeroed before; else they are added to.
        """
        return self._run_all(learn=True, fresh=fresh)

    def repeated_step(self) -> ArrayProgram | None:
        """Return the bound calls of all layers, if the next step can be the calls of the last."""
        return self._learner.repeated() if self._repeats(learn=True) else None

    def loss_arrays(self) -> list[tuple[float, np.ndarray]] | None:
        """As `WeightedLosses.arrays`, of all losses of the net."""
        return self._losses.arrays()

    def backward(self, first: int, last: int, free: bool = False) -> None:
        """Run the layers `first` down to `last` backward.

        free: whether to free what the forward kept for the backward.
        """
        self._repeatable = Repeatable.NOTHING
        with mode.pass_flags():
            if self._pending is not None:
                entire = (first, last) == (len(self.wiring.nodes) - 1, 0)
                observed = self.debug_info or self._has_callbacks()
                if entire and mode.is_plain() and not observed and self._pending.has_values():
                    self._learner.backward()
                    return
                self._pending.record(partial(single.forward, self.wiring))
                self._pending = None
            self._backward(first, last, free)

    def is_bound(self) -> bool:
        """Return whether the last complete pass ran as bound calls, except for data layers."""
        return self._repeatable in (Repeatable.ARRAYS, Repeatable.LEARNING)

    def reshape(self) -> None:
        """Give every blob the shape that follows from the inputs' shapes."""
        for node in self.wiring.nodes:
            single.reshape(self.wiring, node)

    def _run_all(self, learn: bool, fresh: bool = False) -> Loss:
        waiting.before_pass()
        self._pending = None
        if self._repeats(learn):
            if learn:
                return Loss(self._learn(fresh))
            if self._repeatable is Repeatable.ARRAYS and self._plan_for_pass().repeat():
                return Loss(self._losses.read())
            return Loss(self._repeat_plan())
        if fresh:
            self.wiring.clear_gradients()
        with mode.pass_flags():
            against = self._reason_against_regions() or self.replays.reason_against()
            if against:
                may_plan = self._may_plan(learn)
                planned = may_plan and (learn or bool(self._plan_for_pass().segments))
                waits = not (planned or learn) and may_plan and self._may_wait()
                if not ((planned or waits) and self._is_small(learn or waits)):
                    self.free_last_pass()
                if not learn:
                    heap.tidy()
                self._repeatable = Repeatable.NOTHING
                if waits and self._learner.has_runs():
                    self._pending = self._learner.forward()
                    self._note_layers(self._learner.reason if self._pending else against)
                    return Loss(self._losses.read())
                if planned and learn:
                    forget(self.wiring.nodes)
                    parts = self._learn()
                    self._note_layers(self._learner.reason)
                    return Loss(parts)
                if planned:
                    parts = self._run_plan(self._plan_for_pass())
                    self._note_plan()
                    return Loss(parts)
                outside = None if learn else self._plan_outside_regions()
                if outside is not None:
                    parts = self._run_plan(outside)
                    self._note_layers(against, outside.reason)
                    return Loss(parts)
                losses = self._run(range(len(self.wiring.nodes)))
            else:
                losses = self._run(self.replays.outside)
                captured = self.replays.find(
                    self.requested, learn, lambda: self._run_captured(learn)
                )
                if captured is not None:
                    self._pass = captured.region_pass
                    losses += captured.replay()
                    self._note(Choice("replay", "a captured graph fits the input's size"))
                    return Loss(losses)
                losses += self._run(self.replays.inside)
                against = "the input's size comes for the first times"
            self._note_layers(against)
            if learn:
                self._backward(len(self.wiring.nodes) - 1, 0, free=True)
                if self.debug_info:
                    debug_info.log_parameters(self.wiring)
            return Loss(losses)

    def _repeats(self, learn: bool) -> bool:
        """Return whether this pass may run as the last one did: as bound calls, or as a plan."""
        if self._repeatable is Repeatable.NOTHING or self.debug_info:
            return False
        if learn is not (self._repeatable is Repeatable.LEARNING) or self._has_callbacks():
            return False
        return mode.is_on_cpu() and mode.precision() == self._repeatable_precision

    def _may_plan(self, learn: bool) -> bool:
        """Return whether this pass may run as a plan: on the CPU, and not through a region.

        learn: whether a backward follows, which plans compute in float32 alone.
        """
        return self._has_plans(learn) and not self._regions()

    def _has_plans(self, learn: bool) -> bool:
        """Return whether plans can compute layers of this pass. learn: as in `_may_plan`."""
        if self._reason_against_regions() or mode.device().type != "cpu":
            return False
        return mode.is_plain() or (not learn and prepared.available(mode.low_dtype()))

    def _regions(self) -> list[Region]:
        """Return the regions of a pass with the present shapes."""
        patches = [self.region_at(start)[0] for start in sorted(self._starts)]
        return [p.region for p in patches if p is not None]

    def _plan_outside_regions(self) -> Plan | None:
        """Return the plan of the layers outside regions; None if they run one by one."""
        regions = self._regions() if self._has_plans(learn=False) else []
        return self._outside.plan(regions) if regions else None

    def _may_wait(self) -> bool:
        """Return whether a forward of learning layers may leave work to a later backward."""
        return mode.is_plain() and self._learner.may_wait

    def _is_small(self, learn: bool) -> bool:
        """Return whether the blobs of the last pass may stay until they are replaced."""
        self._pass = None
        self._close_plans()
        if not learn:
            return self._plan_for_pass().is_small()
        return is_small(self._learner.values())

    def _close_plans(self) -> None:
        """End the last pass of all plans."""
        if self._plan is not None:
            self._plan.close()
        self._outside.close()

    def _plan_for_pass(self) -> Plan:
        if self._plan is None:
            self._plan = Plan(self.wiring, self.requested)
        return self._plan

    def _learn(self, fresh: bool = False) -> Parts:
        """Run all layers forward and backward, a run of layers at a time. fresh: as in `step`."""
        self._repeatable_precision = mode.precision()
        losses, bound = self._learner.step(fresh)
        self._repeatable = Repeatable.LEARNING if bound else Repeatable.NOTHING
        return losses

    def _repeat_plan(self) -> Parts:
        """Run all layers as the plan of the last pass."""
        plan = self._plan_for_pass()
        if self._repeatable is Repeatable.PLAN:
            plan.release()
            heap.tidy()
        parts = self._run_plan(plan)
        if plan.has_changed():
            self._note_plan()
        return parts

    def _run_plan(self, plan: Plan) -> Parts:
        """Run all layers, as a plan and through regions."""
        heap.keep()
        self._repeatable_precision = mode.precision()
        for part in plan.parts:
            if not isinstance(part, Node):
                single.forward_together(self.wiring, part.run, part.nodes)
                continue
            patches, _ = self.region_at(part.number)
            if patches is None:
                single.forward(self.wiring, part)
            else:
                self._pass = self._run_region(patches)
        if plan.is_bound() and self._pass is None:
            self._repeatable = Repeatable.ARRAYS
        elif plan.is_repeatable() and not self._starts:
            self._repeatable = Repeatable.PLAN
        else:
            self._repeatable = Repeatable.NOTHING
        return self._losses.read()

    def _note_plan(self) -> None:
        """Note that the last pass ran as a plan."""
        reasons = [self.region_at(start)[1] for start in sorted(self._starts)]
        reason = "; ".join(dict.fromkeys([*reasons, self._plan_for_pass().reason]))
        if self.choice is None or self.choice.reason != reason:
            self._note(Choice("plan", reason))

    def _run_captured(self, learn: bool) -> tuple[Losses, Pass | None]:
        """Run the layers inside graphs while their launches are recorded."""
        losses = self._run(self.replays.inside)
        if learn:
            self._backward(len(self.wiring.nodes) - 1, 0, free=True)
        return losses, self._pass

    def free_last_pass(self) -> None:
        """Free what the last pass left, so that the next one can use the same memory."""
        self._pass = None
        self._close_plans()
        lasting = {id(blob.values) for blob in self._lasting}
        for node in self.wiring.nodes:
            if isinstance(node.layer, Function):
                for blob in self.wiring.tops(node):
                    memory = blob.values
                    if isinstance(memory, Memory) and id(memory) not in lasting:
                        memory.let_go()

    def _run(self, numbers: Sequence[int]) -> Losses:
        """Run layers, given by number in rising order; their losses, each with its weight."""
        heap.keep()
        self._repeatable, self._pending = Repeatable.NOTHING, None
        nodes, losses = self.wiring.nodes, []
        if self._pass is not None and numbers and numbers[0] <= self._pass.region.last:
            self._pass = None
        done = -1
        for i in numbers:
            if i <= done:
                continue
            node, patches = nodes[i], self._patches_at(i, numbers[-1])
            if patches is not None:
                self._pass = self._run_region(patches)
                done = patches.region.last
                continue
            self._call("before_forward", i)
            tops = single.forward(self.wiring, node)
            for weight, blob in zip(node.loss_weights, tops):
                if weight:
                    losses.append((weight, blob))
            if self.debug_info:
                debug_info.log_forward(self.wiring, node)
            self._call("after_forward", i)
        device = mode.device()
        return [(weight, blob.values.tensor(device).sum()) for weight, blob in losses]

    def _run_region(self, patches: Patches) -> Pass:
        """Run a region forward, after the shapes of its blobs are known."""
        node = patches.region.nodes[0]
        try:
            for node in patches.region.nodes:
                single.reshape(self.wiring, node)
            return Pass(self.wiring, patches, self.requested, self.borders)
        except Exception as error:
            raise_for(node.layer, node.param, "forward", error)

    def _backward(self, first: int, last: int, free: bool) -> None:
        i = first + 1
        while i > last:
            i -= 1
            node = self.wiring.nodes[i]
            if self._pass is not None and self._ends_pass(self._pass, i, last):
                try:
                    self._pass.backward(free)
                except Exception as error:
                    raise_for(node.layer, node.param, "backward", error)
                i = self._pass.region.first
                continue
            self._call("before_backward", i)
            if node.backward:
                single.backward(self.wiring, node)
                if self.debug_info:
                    debug_info.log_backward(self.wiring, node)
            if free and isinstance(node.layer, Function):
                node.layer.forget()
            self._call("after_backward", i)

    def _ends_pass(self, region_pass: Pass, number: int, last: int) -> bool:
        """Return whether layer `number` ends the last region and gradients pass through it."""
        region = region_pass.region
        through = number == region.last and last <= region.first
        observed = self._has_callbacks() or self.debug_info
        return through and region_pass.recorded and not observed

    def _has_callbacks(self) -> bool:
        return any(self.callbacks.values())

    def _call(self, event: str, number: int) -> None:
        for call in self.callbacks[event]:
            call(number)

    def _reason_against_regions(self) -> str:
        if not (self._fast and mode.fast()):
            return mode.NOT_FAST if self._fast else "fast paths are off for this net"
        if self.debug_info:
            return debug_info.REASON
        return "callbacks are set" if self._has_callbacks() else ""

    def region_at(self, first: int) -> tuple[Patches | None, str]:
        """Return the region that starts at layer `first` for the present shapes, and the reason."""
        if first not in self._starts:
            return None, "no layer pads by more than its kernel"
        if against := self._reason_against_regions():
            return None, against
        (source,) = self.wiring.nodes[first].bottoms
        key = (first, self.wiring.blobs[source].shape)
        if key not in self._patches:
            while len(self._patches) >= REGIONS:
                self._patches.popitem(last=False)
            region, reason = find_region(self.wiring, first)
            self._patches[key] = (None if region is None else Patches(region)), reason
        return self._patches[key]

    def _patches_at(self, first: int, last: int) -> Patches | None:
        """Return the region that starts at layer `first` and ends at `last` or before."""
        if first not in self._starts:
            return None
        patches, _ = self.region_at(first)
        return patches if patches is not None and patches.region.last <= last else None

    def _note_layers(self, against_replay: str, outside: str = "") -> None:
        """Note how a pass ran, unless it was a replay.

        outside: how the layers outside regions ran, if they ran as a plan.
        """
        if not self._starts:
            if self.choice is None or self.choice.reason != against_replay:
                self._note(Choice("layers", against_replay))
            return
        regions = [self.region_at(start) for start in sorted(self._starts)]
        reasons = [reason for patches, reason in regions if patches is not None]
        if reasons:
            self._note(Choice("regions", "; ".join([*reasons, outside] if outside else reasons)))
        else:
            reasons = [reason for _, reason in regions]
            self._note(Choice("layers", "; ".join(dict.fromkeys(reasons))))

    def _note(self, choice: Choice) -> None:
        """Keep the choice, and log it if a net with a fast way changes its way."""
        self.choice = choice
        logs = self._starts or choice.way in ("regions", "replay")
        if choice.way != self._logged_way and logs:
            self._logged_way = choice.way
            name = self.wiring.name or "the net"
            glog.write("executor.py:1", f"{name} runs by {choice.way}: {choice.reason}")


def _copies(node: Node) -> bool:
    """Return whether the tops of a layer are its bottom."""
    return isinstance(node.layer, EngineLayer) and node.layer.copies
