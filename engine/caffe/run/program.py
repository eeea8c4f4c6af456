"""The calls of a run of layers, for bottoms of certain shapes, bound to the weights' tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch

from .. import heap, mode
from ..blob import Blob, memories_of_values
from ..layers import Function
from ..layers.convolution import Convolution
from ..layers.views import View
from ..memory import Memory
from ..ops import chains, graphs, prepared
from .flow import AnyMemory, Flow, Group, groups, join
from .in_place import InPlace
from .recall import Hidden, KeptInput, Recall
from .step import Step
from .wiring import Node, Wiring

CPU = torch.device("cpu")


class Program:
    """The steps of a run of layers for sources of certain shapes.

    fused: how many layers are computed together with others. joined: whether steps in a row are
    graphs of oneDNN or calls of the C library, which keep no values on the way. passes: how many
    passes ran since a weight changed.

    native: the layers of each step that the C library computes, by place, if steps in a row are to
    be joined; else None. refused: the places of layers that no graph is to contain.
    """

    def __init__(
        self,
        wiring: Wiring,
        nodes: Sequence[Node],
        requested: set[int],
        native: frozenset[tuple[int, ...]] | None = None,
        refused: frozenset[int] = frozenset(),
    ) -> None:
        self._wiring, self._requested = wiring, requested
        self._refused, self.passes = refused, 0
        self._known_requests = len(requested)
        for node in nodes:
            node.layer.reshape(wiring.bottoms(node), wiring.tops(node))
        flow = Flow(wiring, nodes)
        self._flow = flow
        shapes: list[tuple[int, ...]] = [()] * flow.count
        for value, blob in flow.sources:
            shapes[value] = wiring.blobs[blob].shape
        for node, outputs in zip(flow.nodes, flow.outputs):
            for value, blob in zip(outputs, node.tops):
                shapes[value] = wiring.blobs[blob].shape
        self._shapes = shapes
        self._held = [m for m in self._parameters(flow.nodes) if m.held()]
        self._groups = groups(flow, self._keeps, self._fuses)
        if native is not None:
            self._groups = self._joined_groups(native)
        self.joined = any(group.parts for group in self._groups)
        self._native = native if self.joined else None
        self.steps = [self._step(group) for group in self._groups]
        self.fused = sum(len(step.nodes) - 1 for step in self.steps)
        self._blob_lists = [node.layer.blobs for step in self.steps for node in step.nodes]
        self._memories, self._rebindings = self._present_memories(), Blob.rebindings
        self._calls: list[chains.Link | chains.Chain] = []
        self._chain: chains.Chain | None = None
        self._others: Sequence[chains.Link | chains.Chain] = []
        #: The sources that are put into channels last before the calls.
        self._turned: list[int] = []
        self._unused = self._last_uses()
        hidden = {value for step in self.steps for value, _ in step.group.hidden}
        self._published = [(m, v) for m, v in flow.final.items() if v not in hidden]
        hiding = [
            Hidden(memory, torch.Size(shapes[value]), step, count, value)
            for step in self.steps
            for value, count in step.group.hidden
            for memory, last in flow.final.items()
            if last == value and isinstance(memory, Memory)
        ]
        #: The number of values in the blobs that a pass sets.
        self.values = sum(math.prod(shapes[v]) for v in flow.final.values())
        self._recall = Recall(flow, requested, hiding) if hiding else None
        #: Memories of the last pass with the inputs of groups that are kept when they change.
        self._watched: list[tuple[AnyMemory, KeptInput]] = []
        #: The inputs of the last pass and the results of its first chain, if the next pass can
        #: replace the results.
        self._in_place: InPlace | None = None

    def _last_uses(self) -> list[list[int]]:
        """For each step, the computed values that nothing reads later and no blob has."""
        kept = {v for step in self.steps if step.group.hidden for v in step.group.inputs}
        last = {v: i for i, step in enumerate(self.steps) for v in step.group.inputs}
        unused: list[list[int]] = [[] for _ in self.steps]
        for value, i in last.items():
            computed = value in self._flow.maker and not self._flow.is_final(value)
            if computed and value not in kept:
                unused[i].append(value)
        return unused

    def _present_memories(self) -> list[AnyMemory]:
        """Return the memories of the layers' parameters, as they are now."""
        return memories_of_values(chain.from_iterable(self._blob_lists))

    def _parameters(self, nodes: Sequence[Node]) -> list[AnyMemory]:
        return [blob.values for node in nodes for blob in node.layer.blobs]

    def _keeps(self, value: int) -> bool:
        """Return whether a value is needed because somebody holds or has read its blob."""
        blobs = self._flow.blobs.get(value, set())
        held = any(self._wiring.blobs[b].values.held() for b in blobs)
        views = any(not isinstance(self._wiring.blobs[b].values, Memory) for b in blobs)
        return held or views or not self._requested.isdisjoint(blobs)

    def _fuses(self, node: Node) -> bool:
        """Return whether a layer may be computed with others: no array over its weights exists."""
        layer = node.layer
        if not isinstance(layer, Function) or any(b.values.held() for b in layer.blobs):
            return False
        shapes = [self._wiring.blobs[b].shape for b in node.bottoms]
        return not isinstance(layer, Convolution) or layer.is_preparable(shapes)

    def _joins(self, group: Group) -> bool:
        """Return whether a graph can compute a group, with others before or after it."""
        nodes = [self._flow.nodes[place] for place in group.places]
        layer, shapes = nodes[0].layer, [self._shapes[value] for value in group.inputs]
        if not self._refused.isdisjoint(group.places):
            return False
        if isinstance(layer, View):
            return True
        if not all(self._fuses(node) for node in nodes):
            return False
        if isinstance(layer, Convolution):
            return len(nodes[0].tops) == 1 and layer.fits_graphs(shapes[:1])
        return isinstance(layer, Function) and layer.traced(shapes) is not None

    def _pays(self, group: Group) -> bool:
        """Return whether a graph computes a group faster, even without others."""
        layer = self._flow.nodes[group.places[0]].layer
        shape = self._shapes[group.inputs[0]] if group.inputs else ()
        return isinstance(layer, Convolution) and layer.is_for_graphs([shape])

    def _joined_groups(self, native: frozenset[tuple[int, ...]]) -> list[Group]:
        """Return the groups, those in a row that a graph, or the C library, can compute as one."""
        groups = self._groups
        if graphs.available():
            groups = join(self._flow, groups, self._keeps, self._joins, self._pays)
        return join(self._flow, groups, self._keeps, lambda group: group.places in native)

    def _step(self, group: Group) -> Step:
        flow, nodes = self._flow, [self._flow.nodes[place] for place in group.places]
        value = group.inputs[0] if group.inputs else -1
        # A ReLU may overwrite a value that nobody else reads and no blob has.
        computed = value in flow.maker and flow.only_reader(value) is not None
        return Step(nodes, group, computed and not flow.is_final(value))

    @property
    def calls(self) -> int:
        """The number of calls in a pass."""
        return len(self.steps)

    def refused(self) -> frozenset[int]:
        """Return the places of the layers in graphs that cannot be used."""
        steps = self.steps if self.joined else []
        graphs_ = [(step, step.call) for step in steps if isinstance(step.call, graphs.Graph)]
        return frozenset(p for step, graph in graphs_ if graph.refused for p in step.group.places)

    def native(self) -> frozenset[tuple[int, ...]]:
        """Return the layers of each step, before steps are joined, that the C library computes."""
        if self._native is not None:
            return self._native
        return frozenset(s.group.places for s in self.steps if s.call and prepared.fused(s.call))

    def is_joinable(self) -> bool:
        """Return whether steps in a row can be computed as one."""
        return any(group.parts for group in self._joined_groups(self.native()))

    def sources(self) -> list[torch.Tensor]:
        """Return the values of the blobs that the program reads."""
        return [self._wiring.blobs[b].values.tensor(CPU) for _, b in self._flow.sources]

    def fits(self) -> bool:
        """Return whether the program may still be run: what it was built on has not changed."""
        if len(self._requested) != self._known_requests:
            return False
        # This check looks at each blob, and takes longer than all others.
        if self._rebindings != Blob.rebindings:
            if self._present_memories() != self._memories:
                return False
            self._rebindings = Blob.rebindings
        if self._held and not all(memory.held() for memory in self._held):
            return False
        # A graph takes long to compile: after a change, the weights may soon change again.
        if self.joined and self.passes and self._unbound():
            return False
        return self._recall is None or not self._recall.is_held()

    def _unbound(self) -> list[Step]:
        """Return the steps whose weights have changed since they were bound."""
        return [step for step in self.steps if step.call is None]

    def prepare(self) -> bool:
        """Bind the steps whose weights have changed; False if that needs another program."""
        unbound = self._unbound()
        if not unbound and self._calls:
            return True
        for step in unbound:
            parameters = step.parameters()
            if any(m.held() and m not in self._held for m in parameters):
                return False
            step.bind(self._shapes)
        self.passes = 0
        self._calls = chains.joined(
            [link for step, unused in zip(self.steps, self._unused) for link in step.links(unused)]
        )
        first = self._calls[0] if self._calls else None
        #: The chain that the calls begin with, which autograd does not see, and the other calls.
        self._chain = first if isinstance(first, chains.Chain) else None
        self._others = self._calls[0 if self._chain is None else 1 :]
        self._in_place = None
        self._turned = self._turned_sources()
        return True

    def _turned_sources(self) -> list[int]:
        """Return the values of the sources that all calls read as maps with channels last."""
        turned = []
        for value, _ in self._flow.sources:
            layouts = {layout for call in self._calls for layout in call.layouts(value)}
            shape = self._shapes[value]
            is_map = len(shape) == 4 and mode.map_layout(shape, CPU) == torch.channels_last
            if is_map and layouts == {torch.channels_last}:
                turned.append(value)
        return turned

    def run(self, sources: Sequence[torch.Tensor]) -> None:
        """Compute all values and give the blobs theirs."""
        values: list[Any] = [None] * self._flow.count
        for (value, _), tensor in zip(self._flow.sources, sources):
            values[value] = tensor
        blobs = [(self._wiring.blobs[b], value) for value, b in self._flow.sources]
        memories = [*self._published, *((blob.values, value) for blob, value in blobs)]
        kept = {} if self._recall is None else self._recall.inputs
        self._watched = [(memory, kept[value]) for memory, value in memories if value in kept]
        self._in_place = None
        if self._compute(values) and self._chain is not None:
            results = [(m, v) for m, v in self._published if v in self._chain.results]
            for (value, _), tensor in zip(self._flow.sources, sources):
                values[value] = tensor
            self._in_place = InPlace(blobs, results, values)

    def repeat(self) -> bool:
        """Compute all values as in the last pass, those of the first chain in their memory.

        Return False, without effect, if these have moved or another pass is to run.
        """
        if self._in_place is None or self._chain is None or not self.fits() or self._unbound():
            return False
        values = self._in_place.values()
        if values is None:
            return False
        if self._recall is not None:
            self._recall.pause()
        self._in_place.before_change()
        if self._others:
            self._free(self._chain.results)
            heap.tidy()
        self._compute(values)
        return True

    def _compute(self, values: list[Any]) -> bool:
        """Compute the values of a pass and give the blobs theirs.

        values: None, or the last pass's values, which the first chain replaces in their memory.
        Return whether this chain has computed its values.
        """
        self.passes += 1
        copies = self._turn(values)
        before = [values[value] for _, value in self._published]
        try:
            is_computed = self._call_all(values)
        except Exception:
            self.close()
            raise
        finally:
            for (memory, value), tensor in zip(self._published, before):
                if values[value] is not tensor:
                    memory.set(values[value])
        if self._recall is not None:
            self._recall.begin(values, copies)
            # The inputs are kept before somebody writes to their blobs.
            for memory, kept in self._watched:
                kept.watch(memory)
        return is_computed

    def _turn(self, values: list[Any]) -> set[int]:
        """Put the maps of sources into channels last, once for all calls; return which moved.

        The copies of the maps are the inputs from which hidden blobs are computed, too.
        """
        copies = set()
        for value in self._turned:
            planes = values[value]
            values[value] = planes.contiguous(memory_format=torch.channels_last)
            if values[value] is not planes:
                copies.add(value)
        return copies

    def _call_all(self, values: list[Any]) -> bool:
        """Make all calls; return whether the first one is a chain that has computed its values."""
        is_computed = self._chain is not None and self._chain.run(values)
        if self._others:
            with torch.no_grad():
                for call in self._others:
                    call.run(values)
        return is_computed

    def close(self) -> None:
        """End the last pass: its blobs are about to be replaced."""
        if self._recall is not None:
            self._recall.let_go()

    def release(self, frees: bool) -> None:
        """End the last pass, as `close`, before one like it.

        frees: whether to free the values that the pass computed.
        """
        if self._recall is not None:
            self._recall.close()
        if frees:
            self._free()

    def _free(self, but: frozenset[int] = frozenset()) -> None:
        """Free the values that the pass computed, but for those of these numbers."""
        for memory, value in self._published:
            if value not in but and isinstance(memory, Memory):
                memory.let_go()
