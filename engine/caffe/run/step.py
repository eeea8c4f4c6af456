"""One call of a program: a layer, or several layers that are computed together."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch

from ..layers import Function
from ..layers.activation import ReLU
from ..layers.convolution import Convolution
from ..layers.function import Call, Tensors, in_dtype
from ..layers.join import Eltwise
from ..layers.views import View
from ..ops import chains, graphs, prepared
from .flow import AnyMemory, Group, layer_channels
from .wiring import Node

CPU = torch.device("cpu")
#: The most weights of a graph for which a copy is kept that includes the channels' factors. As
#: operations of their own, the factors take a tenth of the time of MobileNet v2's pass, and a
#: fiftieth of ResNet-50's.
FOLDED = 1 << 23


class Step:
    """One call: a layer, a convolution together with the layers behind it, or a graph.

    nodes: the layers. call: the function of the group's inputs; None after a weight has changed,
    until the function is bound again.
    """

    def __init__(self, nodes: Sequence[Node], group: Group, in_place: bool) -> None:
        self.nodes, self.group = nodes, group
        self.call: Call | None = None
        self._part_calls: list[Call] = []
        #: The parameters of each layer that blobs inside the group are computed with.
        self.weights: list[Tensors] = []
        self._in_place = in_place
        self._observers: list[WeightObserver] = []

    def parameters(self) -> list[AnyMemory]:
        """Return the memories of the layers' parameters, as they are now."""
        return [blob.values for node in self.nodes for blob in node.layer.blobs]

    def bind(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Make the call, and watch the weights that it depends on.

        shapes: those of all values of the flow.
        """
        layers = [node.layer for node in self.nodes]
        assert all(isinstance(layer, (Function, View)) for layer in layers)
        if self._in_place and isinstance(layers[0], ReLU):
            self.call = prepared.rectifier(layers[0].slope)
            return
        if self.group.is_graph:
            self.call = self._graph(shapes)
        else:
            parts = self.group.parts or (self.group,)
            self._part_calls = [self._bind(part, shapes) for part in parts]
            self.call = self._part_calls[0]
        # Other parameters are not read: large ones may still lie in their file.
        if self.group.hidden:
            self.weights = [layer.parameters(CPU) for layer in layers]  # type: ignore[attr-defined]
        self._observers = [WeightObserver(self, i) for i in range(len(layers))]
        for layer, observer in zip(layers, self._observers):
            for blob in layer.blobs:
                blob.values.watch(observer, observer.before_change)

    def links(self, unused: Sequence[int]) -> list[chains.Link]:
        """Return the calls with the numbers of their values; none if the call is not bound.

        unused: the values that nothing reads after this step.
        """
        if self.call is None:
            return []
        if self.group.is_graph or len(self._part_calls) < 2:
            return [chains.Link(self.call, self.group.inputs, self.group.outputs, unused)]
        parts = self.group.parts
        last = {value: i for i, part in enumerate(parts) for value in part.inputs}
        inner = {v for part in parts for v in part.outputs}.difference(self.group.outputs)
        dropped = inner.union(unused)
        return [
            chains.Link(call, part.inputs, part.outputs, [v for v in dropped if last[v] == i])
            for i, (call, part) in enumerate(zip(self._part_calls, parts))
        ]

    def _nodes_of(self, part: Group) -> list[Node]:
        nodes = dict(zip(self.group.places, self.nodes))
        return [nodes[place] for place in part.places]

    def _bind(self, part: Group, shapes: Sequence[tuple[int, ...]]) -> Call:
        nodes, inputs = self._nodes_of(part), [shapes[value] for value in part.inputs]
        first = nodes[0].layer
        if len(nodes) == 1:
            assert isinstance(first, (Function, View))
            return _taking_any(first, first.bind(inputs))
        assert isinstance(first, Convolution)
        return first.bind_with(inputs[:1], *epilogue(nodes), len(inputs) > 1)

    def _graph(self, shapes: Sequence[tuple[int, ...]]) -> Call:
        """Return a graph of the parts, each of which is a convolution or a single layer."""
        operations = []
        weights = sum(blob.count for node in self.nodes for blob in node.layer.blobs)
        folds = weights <= FOLDED
        for part in self.group.parts:
            part_nodes = self._nodes_of(part)
            layer = part_nodes[0].layer
            if isinstance(layer, Convolution):
                adds = len(part.inputs) > 1
                call = layer.operation(*epilogue(part_nodes), adds, folds)
                operations.append(graphs.Operation(call, part.inputs, part.outputs, is_sum=adds))
                continue
            assert isinstance(layer, (Function, View))
            inputs = [shapes[value] for value in part.inputs]
            call, traced = _taking_any(layer, layer.bind(inputs)), layer.traced(inputs)
            assert traced is not None
            traced = traced._replace(call=_taking_any(layer, traced.call))
            is_sum = isinstance(layer, Eltwise)
            operations.append(
                graphs.Operation(call, part.inputs, part.outputs, *traced, is_sum=is_sum)
            )
        return graphs.Graph(operations, self.group.inputs, self.group.outputs)

    def before_weights_change(self, layer: int) -> None:
        """Have the call bound again; keep a layer's weights of the last pass for its blobs."""
        self.call = None
        if self.group.hidden:
            self.weights[layer] = tuple(w.clone() for w in self.weights[layer])


def _taking_any(layer: Function | View, call: Call) -> Call:
    """Return a layer's call for bottoms of any precision."""
    if not layer.takes_float32():
        return call
    return lambda *x: call(*[in_dtype(t, torch.float32) for t in x])


class WeightObserver:
    """Notifies a step, to which it refers weakly, before a layer's weights change."""

    def __init__(self, step: Step, layer: int) -> None:
        self._step, self._layer, self._told = weakref.ref(step), layer, False

    def before_change(self) -> None:
        """Notify the step of the first change."""
        step = self._step()
        if step is not None and not self._told:
            self._told = True
            step.before_weights_change(self._layer)


def epilogue(nodes: Sequence[Node]) -> tuple[Tensors | None, float | None]:
    """Return what the layers after a convolution do: the factor and term of channels, the slope.

    Each is None where no layer does it; the slope is that of negative values in a ReLU.
    """
    affine: Tensors | None = None
    slope: float | None = None
    for node in nodes[1:]:
        layer = node.layer
        assert isinstance(layer, Function)
        if isinstance(layer, ReLU):
            slope = layer.slope
            continue
        pair = layer.channel_affine((1, layer_channels(nodes[0]), 1, 1))
        if pair is not None and affine is not None:
            pair = affine[0] * pair[0], affine[1] * pair[0] + pair[1]
        affine = affine if pair is None else pair
    return affine, slope
