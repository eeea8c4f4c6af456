"""The calls of a run of layers, for bottoms of certain shapes, bound to the weights' tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from .. import mode
from ..layers import Function
from ..layers.activation import ReLU
from ..layers.convolution import Convolution
from ..layers.function import Call, Tensors
from ..memory import Memory
from ..ops import prepared
from .flow import AnyMemory, Flow, Group, groups, layer_channels
from .functional import as_tuple
from .wiring import Node, Wiring

CPU = torch.device("cpu")


class Step:
    """One call: a layer, or a convolution with the layers that it computes on the way.

    nodes: the layers. call: the function of the group's inputs, or None while it is to be bound
    again, because a weight has changed.
    """

    def __init__(self, nodes: Sequence[Node], group: Group, in_place: bool) -> None:
        self.nodes, self.group = nodes, group
        self.call: Call | None = None
        #: The parameters of each layer that blobs inside the group are computed with.
        self.weights: list[Tensors] = []
        self._in_place = in_place
        self._copied = False

    def parameters(self) -> list[AnyMemory]:
        """The memories of the layers' parameters, as they are now."""
        return [blob.values for node in self.nodes for blob in node.layer.blobs]

    def bind(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Make the call for inputs of these shapes, and watch the weights that it depends on."""
        layers = [node.layer for node in self.nodes]
        assert all(isinstance(layer, Function) for layer in layers)
        first = layers[0]
        if self._in_place and isinstance(first, ReLU):
            self.call = prepared.rectifier(first.slope)
            return
        self.call = first.bind(shapes) if len(layers) == 1 else self._bind_group(shapes)  # type: ignore[attr-defined]
        self.weights, self._copied = [layer.parameters(CPU) for layer in layers], False  # type: ignore[attr-defined]
        for memory in self.parameters():
            memory.watch(self, self.before_weights_change)

    def _bind_group(self, shapes: Sequence[tuple[int, ...]]) -> Call:
        """Fold what multiplies channels and adds to them into the convolution's weights."""
        convolution = self.nodes[0].layer
        assert isinstance(convolution, Convolution)
        affine: Tensors | None = None
        slope: float | None = None
        for node in self.nodes[1:]:
            layer = node.layer
            assert isinstance(layer, Function)
            if isinstance(layer, ReLU):
                slope = layer.slope
                continue
            pair = layer.channel_affine((1, layer_channels(self.nodes[0]), 1, 1))
            if pair is not None and affine is not None:
                pair = affine[0] * pair[0], affine[1] * pair[0] + pair[1]
            affine = affine if pair is None else pair
        adds = len(self.group.inputs) > 1
        return convolution.bind_with(shapes[:1], affine, slope, adds)

    def before_weights_change(self) -> None:
        """Have the call bound again; keep the weights of the last pass if its blobs need them."""
        self.call = None
        if self.group.hidden and not self._copied:
            self.weights = [tuple(w.clone() for w in weights) for weights in self.weights]
            self._copied = True


class Program:
    """The steps of a run of layers for sources of certain shapes.

    fused: how many layers are computed together with others.
    """

    def __init__(
        self,
        wiring: Wiring,
        nodes: Sequence[Node],
        requested: set[int],
    ) -> None:
        self._wiring, self._requested = wiring, requested
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
        self.steps = [self._step(group) for group in groups(flow, self._keeps, self._fuses)]
        self.fused = sum(len(step.nodes) - 1 for step in self.steps)
        self._blob_lists = [node.layer.blobs for step in self.steps for node in step.nodes]
        self._memories = [b.values for blobs in self._blob_lists for b in blobs]
        self._calls: list[tuple[Call, Sequence[int], Sequence[int], Sequence[int]]] = []
        self._unused = self._last_uses()
        hidden = {value for step in self.steps for value, _ in step.group.hidden}
        self._published = [(m, v) for m, v in flow.final.items() if v not in hidden]
        self._hidden = [
            (memory, torch.Size(shapes[value]), step, count)
            for step in self.steps
            for value, count in step.group.hidden
            for memory, last in flow.final.items()
            if last == value and isinstance(memory, Memory)
        ]
        #: The number of values in the blobs that a pass sets.
        self.values = sum(math.prod(shapes[v]) for v in flow.final.values())
        self._recall: Recall | None = None

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

    def _parameters(self, nodes: Sequence[Node]) -> list[AnyMemory]:
        return [blob.values for node in nodes for blob in node.layer.blobs]

    def _keeps(self, value: int) -> bool:
        """Whether a value is needed: somebody holds its blob, or has asked for the blob before."""
        blobs = self._flow.blobs.get(value, set())
        held = any(self._wiring.blobs[b].values.held() for b in blobs)
        views = any(not isinstance(self._wiring.blobs[b].values, Memory) for b in blobs)
        return held or views or not self._requested.isdisjoint(blobs)

    def _fuses(self, node: Node) -> bool:
        """Whether a layer may be computed with others: nobody holds its weights as arrays."""
        layer = node.layer
        if not isinstance(layer, Function) or any(b.values.held() for b in layer.blobs):
            return False
        shapes = [self._wiring.blobs[b].shape for b in node.bottoms]
        return not isinstance(layer, Convolution) or layer.is_preparable(shapes)

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

    def sources(self) -> list[torch.Tensor]:
        """The values of the blobs that the program reads."""
        return [self._wiring.blobs[b].values.tensor(CPU) for _, b in self._flow.sources]

    # ---- passes --------------------------------------------------------------------------------

    def fits(self) -> bool:
        """Whether the program may still be run: what it was built on has not changed."""
        if len(self._requested) != self._known_requests:
            return False
        if [b.values for blobs in self._blob_lists for b in blobs] != self._memories:
            return False
        if self._held and not all(memory.held() for memory in self._held):
            return False
        return not any(memory.held() for memory, *_ in self._hidden)

    def prepare(self) -> bool:
        """Bind the steps whose weights have changed; False if that needs another program."""
        unbound = [step for step in self.steps if step.call is None]
        if not unbound and self._calls:
            return True
        for step in unbound:
            parameters = step.parameters()
            if any(m.held() and m not in self._held for m in parameters):
                return False
            step.bind([self._shapes[value] for value in step.group.inputs])
        self._calls = [
            (step.call, step.group.inputs, step.group.outputs, unused)
            for step, unused in zip(self.steps, self._unused)
            if step.call is not None
        ]
        return True

    def run(self, sources: Sequence[torch.Tensor]) -> None:
        """Compute all values and give the blobs theirs."""
        values: list[Any] = [None] * self._flow.count
        for (value, _), tensor in zip(self._flow.sources, sources):
            values[value] = tensor
        try:
            with torch.no_grad():
                self._call_all(values)
        finally:
            for memory, value in self._published:
                if values[value] is not None:
                    memory.set(values[value])
        if self._hidden:
            self._recall = Recall(self._flow, self._requested)
            for memory, shape, step, count in self._hidden:
                inputs = {v: self._recall.input(v, values[v]) for v in step.group.inputs}
                memory.reshape(shape)
                memory.defer(partial(self._recall.value, step, count, inputs))
            self._watch_inputs(self._recall)

    def _call_all(self, values: list[Any]) -> None:
        for call, inputs, outputs, unused in self._calls:
            y = call(*[values[i] for i in inputs])
            if isinstance(y, torch.Tensor):
                values[outputs[0]] = y
            else:
                for value, top in zip(outputs, y):
                    values[value] = top
            for value in unused:
                values[value] = None

    def _watch_inputs(self, recall: Recall) -> None:
        """Keep the inputs of groups with hidden blobs before somebody writes to their blobs."""
        memories = [(m, v) for m, v in self._published]
        memories += [(self._wiring.blobs[b].values, v) for v, b in self._flow.sources]
        for memory, value in memories:
            kept = recall.inputs.get(value)
            if kept is not None and memory.held():
                kept.keep()
            elif kept is not None:
                memory.watch(kept, kept.keep)

    def close(self) -> None:
        """End the last pass: its blobs are about to be replaced."""
        if self._recall is not None:
            self._recall.close()
            self._recall = None
            for memory, *_ in self._hidden:
                memory.let_go()


class KeptInput:
    """An input of a group, which is copied before its memory changes."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor, self.closed = tensor, False

    def keep(self) -> None:
        """Copy the values, unless the pass has ended."""
        if not self.closed:
            self.tensor, self.closed = self.tensor.clone(), True


class Recall:
    """The values of blobs that a pass did not compute, layer by layer, when somebody asks.

    inputs: by value, the maps that the groups have read.
    """

    def __init__(self, flow: Flow, requested: set[int]) -> None:
        self.inputs: dict[int, KeptInput] = {}
        self._flow, self._requested = flow, requested

    def input(self, value: int, tensor: torch.Tensor) -> KeptInput:
        """The kept input of this value."""
        return self.inputs.setdefault(value, KeptInput(tensor))

    def close(self) -> None:
        """Copy no more inputs."""
        for kept in self.inputs.values():
            kept.closed = True

    def value(self, step: Step, count: int, inputs: dict[int, KeptInput]) -> torch.Tensor:
        """Compute the top of the first `count` layers of a step, and have it computed from now on.

        The weights are those of the pass.
        """
        values = {v: kept.tensor for v, kept in inputs.items()}
        with torch.no_grad(), mode.at_precision("float32"):
            for place, node, weights in zip(step.group.places[:count], step.nodes, step.weights):
                layer = node.layer
                assert isinstance(layer, Function)
                layer.weights = weights
                y = as_tuple(layer.compute(*[values[v] for v in self._flow.inputs[place]]))[0]
                (output,) = self._flow.outputs[place]
                values[output] = y
        self._requested.update(self._flow.blobs[output])
        return y
