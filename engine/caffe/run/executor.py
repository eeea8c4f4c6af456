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
from typing import NamedTuple, TypeVar

import torch

from .. import glog, heap, mode, waiting
from ..blob import Blob
from ..layers import EngineLayer, Function
from ..memory import Memory
from . import debug_info
from .border import BorderCache
from .failures import raise_for
from .functional import forget
from .loss import Loss, Parts
from .passes import Pass
from .patches import Patches
from .pending import Pending, can_run_backward
from .plan import Plan, is_small
from .region import find_region, region_starts
from .replay import Losses, Replays
from .tape import LearningSegment, learning_parts
from .wiring import Node, Wiring

#: Regions that are kept, for inputs of different shapes.
REGIONS = 128
CALLBACKS = ("before_forward", "after_forward", "before_backward", "after_backward")
T = TypeVar("T")


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
        #: Blobs inside regions that somebody has asked for: they are computed whole from then on.
        self.requested: set[int] = set()
        self.borders = BorderCache()
        self._starts = region_starts(wiring)
        self._patches: OrderedDict[object, tuple[Patches | None, str]] = OrderedDict()
        #: The last pass through a region, for the backward that may follow.
        self._pass: Pass | None = None
        self._plan: Plan | None = None
        self._learning: list[LearningSegment | Node] | None = None
        #: The last forward, if a backward of bound calls may follow it.
        self._pending: Pending | None = None
        self._may_wait = can_run_backward(wiring)
        #: What the last pass was, if it was complete and the next one may repeat it.
        self._repeatable = Repeatable.NOTHING
        self._weighted_losses = [
            (weight, t)
            for node in wiring.nodes
            for weight, t in zip(node.loss_weights, node.tops)
            if weight
        ]
        self._logged_way = ""
        # Blobs that layers which are no functions make or share: their old values may matter.
        self._lasting = [
            wiring.blobs[t]
            for node in wiring.nodes
            if not (isinstance(node.layer, Function) or _copies(node))
            for t in node.tops
        ]

    # ---- what a net calls ----------------------------------------------------------------------

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
                    self._backward_in_segments(self._pending.parts)
                    return
                self._pending.record(self._run_node)
                self._pending = None
            self._backward(first, last, free)

    def is_bound(self) -> bool:
        """Whether the layers of the last whole pass ran as bound calls, but for those of data."""
        return self._repeatable in (Repeatable.ARRAYS, Repeatable.LEARNING)

    def reshape(self) -> None:
        """Give every blob the shape that follows from the inputs' shapes."""
        for node in self.wiring.nodes:
            self._reshape(node)

    # ---- passes --------------------------------------------------------------------------------

    def _run_all(self, learn: bool, fresh: bool = False) -> Loss:
        waiting.before_pass()
        self._pending = None
        if self._repeats(learn):
            return Loss(self._learn_in_segments(fresh) if learn else self._repeat_plan())
        if fresh:
            self.wiring.clear_gradients()
        with mode.pass_flags():
            against = self._reason_against_regions() or self.replays.reason_against()
            if against:
                planned = self._may_plan() and (learn or bool(self._plan_for_pass().segments))
                if not (planned and self._is_small(learn)):
                    self.free_last_pass()
                if not learn:
                    heap.tidy()
                self._repeatable = Repeatable.NOTHING
                if not (planned or learn) and self._may_plan() and self._forward_to_learn(against):
                    return Loss(self._losses())
                if planned and learn:
                    forget(self.wiring.nodes)
                if planned:
                    parts = self._learn_in_segments() if learn else self._run_plan()
                    if learn:
                        self._note_segments()
                    else:
                        self._note_plan()
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
        """Whether this pass may run as the last one did: as bound calls, or as a plan."""
        if self._repeatable is Repeatable.NOTHING or self.debug_info or not mode.is_plain():
            return False
        learned = self._repeatable is Repeatable.LEARNING
        return learn is learned and not self._has_callbacks()

    def _may_plan(self) -> bool:
        """Whether this pass may run as a plan: in float32 on the CPU, and not through a region."""
        if self._reason_against_regions() or mode.precision() != "float32":
            return False
        if mode.device().type != "cpu":
            return False
        return all(self.region_at(start)[0] is None for start in self._starts)

    def _is_small(self, learn: bool) -> bool:
        """Whether the blobs of the last pass may stay until they are replaced."""
        self._pass = None
        if self._plan is not None:
            self._plan.close()
        if not learn:
            return self._plan_for_pass().is_small()
        parts = self._learning or []
        return is_small([part.values for part in parts if isinstance(part, LearningSegment)])

    def _plan_for_pass(self) -> Plan:
        if self._plan is None:
            self._plan = Plan(self.wiring, self.requested)
        return self._plan

    def _repeat_plan(self) -> Parts:
        """Run all layers as the plan of the last pass."""
        plan = self._plan_for_pass()
        if self._repeatable is Repeatable.PLAN:
            plan.release()
            heap.tidy()
        parts = self._run_plan()
        if plan.has_changed():
            self._note_plan()
        return parts

    def _run_plan(self) -> Parts:
        """Run all layers as a plan."""
        heap.keep()
        plan = self._plan_for_pass()
        for part in plan.parts:
            if isinstance(part, Node):
                self._run_node(part)
            elif not self._call_part(part.run, part.nodes, "forward"):
                for node in part.nodes:
                    self._run_node(node)
        if plan.is_bound():
            self._repeatable = Repeatable.ARRAYS
        elif plan.is_repeatable() and not self._starts:
            self._repeatable = Repeatable.PLAN
        else:
            self._repeatable = Repeatable.NOTHING
        return self._losses()

    def _note_plan(self) -> None:
        """Note that the last pass ran as a plan."""
        reasons = [self.region_at(start)[1] for start in sorted(self._starts)]
        reason = "; ".join(dict.fromkeys([*reasons, self._plan_for_pass().reason]))
        if self.choice is None or self.choice.reason != reason:
            self._note(Choice("plan", reason))

    def _note_segments(self) -> None:
        """Note that the last pass learned a run of layers at a time."""
        runs = [part for part in self._learning or [] if isinstance(part, LearningSegment)]
        native = sum(run.native_calls() for run in runs)
        calls = f", by {native} calls in C" if native else ""
        self._note_layers(f"of the layers, {len(runs)} runs learn together{calls}")

    def _call_part(self, call: Callable[[], T], nodes: Sequence[Node], method: str) -> T:
        """Return `call()`, which runs several layers; an error names the first of them."""
        try:
            return call()
        except Exception as error:
            raise_for(nodes[0].layer, nodes[0].param, method, error)

    def _losses(self) -> Parts:
        """The losses of the layers, each with its weight."""
        blobs = self.wiring.blobs
        losses: list[tuple[float, torch.Tensor | float]] = []
        for weight, t in self._weighted_losses:
            values = blobs[t].values.tensor()
            losses.append((weight, values.item() if values.numel() == 1 else values.sum()))
        return losses

    def _learn_in_segments(self, fresh: bool = False) -> Parts:
        """Run all layers forward and backward, a run of layers under one graph at a time.

        fresh: as in `step`.
        """
        heap.keep()
        if self._learning is None:
            self._learning = learning_parts(self.wiring)
        leased = False
        try:
            bound = self._forward_in_segments(self._learning)
            leased = bound and self._are_leased(self._learning)
        finally:
            # Bound calls overwrite the gradients of leased memories, and add to those of others.
            if fresh and not leased:
                self.wiring.clear_gradients()
        losses = self._losses()
        self._backward_in_segments(self._learning, fresh, free=True)
        self._repeatable = Repeatable.LEARNING if bound else Repeatable.NOTHING
        return losses

    def _backward_in_segments(
        self, parts: Sequence[LearningSegment | Node], fresh: bool = False, free: bool = False
    ) -> None:
        """Run all layers backward. fresh, free: as in `step` and `backward`."""
        for part in reversed(parts):
            if isinstance(part, LearningSegment):
                self._call_part(partial(part.backward, fresh), part.nodes, "backward")
            elif part.backward or isinstance(part.layer, Function):
                self._backward(part.number, part.number, free)

    def _forward_to_learn(self, against: str) -> bool:
        """Run all layers as bound calls that a backward may follow; False if they have none.

        A net with a run of layers that has no such calls is asked once: its layers then run again.
        against: why the layers cannot be replayed.
        """
        if not self._may_wait:
            return False
        self._learning = self._learning or learning_parts(self.wiring)
        if not any(isinstance(part, LearningSegment) for part in self._learning):
            return False
        pending = Pending(self.wiring, self._learning)
        for part in self._learning:
            if isinstance(part, Node):
                self._run_node(part)
            elif not self._call_part(part.forward_bound, part.nodes, "forward"):
                for node in part.nodes:
                    self._run_node(node)
                self._may_wait = False
        pending.note_values()
        if self._may_wait:
            self._pending = pending
            self._note_segments()
        else:
            pending.record(self._run_node)
            self._note_layers(against)
        return True

    @staticmethod
    def _are_leased(parts: Sequence[LearningSegment | Node]) -> bool:
        return all(part.is_leased() for part in parts if isinstance(part, LearningSegment))

    def _forward_in_segments(self, parts: Sequence[LearningSegment | Node]) -> bool:
        """Run all layers forward; return whether all but those of data ran as bound calls."""
        bound = True
        for part in parts:
            if isinstance(part, LearningSegment):
                self._call_part(part.forward, part.nodes, "forward")
                bound = bound and part.is_bound()
            else:
                self._run_node(part)
                bound = bound and not isinstance(part.layer, Function)
        return bound

    def _run_captured(self, learn: bool) -> tuple[Losses, Pass | None]:
        """Run the layers inside graphs while their launches are recorded."""
        losses = self._run(self.replays.inside)
        if learn:
            self._backward(len(self.wiring.nodes) - 1, 0, free=True)
        return losses, self._pass

    def free_last_pass(self) -> None:
        """Free what the last pass left, so that the next one can use the same memory."""
        self._pass = None
        if self._plan is not None:
            self._plan.close()
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
            tops = self._run_node(node)
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
                self._reshape(node)
            return Pass(self.wiring, patches, self.requested, self.borders)
        except Exception as error:
            raise_for(node.layer, node.param, "forward", error)

    def _run_node(self, node: Node) -> list[Blob]:
        """Run one layer forward; return its tops."""
        bottoms, tops = self.wiring.bottoms(node), self.wiring.tops(node)
        try:
            node.layer.reshape(bottoms, tops)
            node.layer.forward(bottoms, tops)
        except Exception as error:
            raise_for(node.layer, node.param, "forward", error, tops)
        return tops

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
                self._run_backward(node)
                if self.debug_info:
                    debug_info.log_backward(self.wiring, node)
            if free and isinstance(node.layer, Function):
                node.layer.forget()
            self._call("after_backward", i)

    def _run_backward(self, node: Node) -> None:
        bottoms, tops = self.wiring.bottoms(node), self.wiring.tops(node)
        try:
            node.layer.backward(tops, list(node.propagate_down), bottoms)
        except Exception as error:
            raise_for(node.layer, node.param, "backward", error, bottoms)

    def _ends_pass(self, region_pass: Pass, number: int, last: int) -> bool:
        """Whether layer `number` is the end of the last pass's region and backward goes through."""
        region = region_pass.region
        through = number == region.last and last <= region.first
        observed = self._has_callbacks() or self.debug_info
        return through and region_pass.recorded and not observed

    def _reshape(self, node: Node) -> None:
        node.layer.reshape(self.wiring.bottoms(node), self.wiring.tops(node))

    # ---- the choice ----------------------------------------------------------------------------

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
        """The region that starts at layer `first` for the present shapes, and the reason."""
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
        """The region that starts at layer `first` and ends at `last` or before."""
        if first not in self._starts:
            return None
        patches, _ = self.region_at(first)
        return patches if patches is not None and patches.region.last <= last else None

    def _note_layers(self, against_replay: str) -> None:
        """Note how a pass ran that was no replay."""
        if not self._starts:
            if self.choice is None or self.choice.reason != against_replay:
                self._note(Choice("layers", against_replay))
            return
        regions = [self.region_at(start) for start in sorted(self._starts)]
        reasons = [reason for patches, reason in regions if patches is not None]
        if reasons:
            self._note(Choice("regions", "; ".join(reasons)))
        else:
            reasons = [reason for _, reason in regions]
            self._note(Choice("layers", "; ".join(dict.fromkeys(reasons))))

    def _note(self, choice: Choice) -> None:
        """Keep the choice, and log it where the way of a net that has a fast one changes."""
        self.choice = choice
        logs = self._starts or choice.way in ("regions", "replay")
        if choice.way != self._logged_way and logs:
            self._logged_way = choice.way
            name = self.wiring.name or "the net"
            glog.write("executor.py:1", f"{name} runs by {choice.way}: {choice.reason}")


def _copies(node: Node) -> bool:
    """Whether the tops of a layer are its bottom."""
    return isinstance(node.layer, EngineLayer) and node.layer.copies
