"""The wiring of a net: its layers and blobs, who reads what, and where gradients go.

`wire` turns a NetParameter into an immutable `Wiring`. The stages are those of BVLC Caffe's
`Net::Init`: filter by phase, insert splits, create and set up each layer, share parameters, and
prune the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, NamedTuple

from .. import graph, net_log
from ..aligned_crops import place_crops, warn_of_crops
from ..blob import Blob
from ..errors import UnknownLayerError
from ..layers import EngineLayer, Function, Layer, check_types, create
from ..proto import caffe_pb2
from .failures import raise_for

AUTOMATIC_TOP = "(automatic)"


@dataclass(frozen=True, eq=False)
class Node:
    """A layer in its net.

    number: its place in the order of the layers, from 0.
    param: its LayerParameter, after upgrades, filter and splits.
    bottoms, tops: the numbers of the blobs that it reads and makes.
    loss_weights: one for each top; 0 where the top is not a loss.
    propagate_down: for each bottom, whether backward computes its gradient.
    backward: whether the layer runs in a backward pass.
    """

    number: int
    param: Any
    layer: Layer
    bottoms: tuple[int, ...]
    tops: tuple[int, ...]
    loss_weights: tuple[float, ...]
    propagate_down: tuple[bool, ...]
    backward: bool

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.param.name

    @property
    def type(self) -> str:
        """The layer's type, such as "Convolution"."""
        return self.param.type

    @property
    def engine_layer(self) -> EngineLayer:
        """The layer, which must be one of the engine's own, not a user's."""
        assert isinstance(self.layer, EngineLayer)
        return self.layer

    @property
    def copies(self) -> bool:
        """Whether the tops are the bottom under other names."""
        return isinstance(self.layer, EngineLayer) and self.layer.copies


class Parameter(NamedTuple):
    """A learnable parameter with the factors of its learning rate and of its weight decay."""

    blob: Blob
    lr_mult: float
    decay_mult: float


@dataclass(frozen=True, eq=False)
class Wiring:
    """The layers of a net in the order in which they run, and the blobs between them.

    blobs, blob_names, loss_weights: by blob number; the loss weight of other blobs is 0.
    inputs: the blobs that Input layers make. outputs: the blobs that no layer reads.
    parameters: the learnable parameters; a shared parameter stands where its owner is.
    shared: (layer number, parameter index) of each parameter that an earlier layer owns.
    """

    name: str
    phase: int
    nodes: tuple[Node, ...]
    blobs: tuple[Blob, ...]
    blob_names: tuple[str, ...]
    loss_weights: tuple[float, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    shared: frozenset[tuple[int, int]]

    def bottoms(self, node: Node) -> list[Blob]:
        """Return the blobs that a layer reads."""
        return [self.blobs[b] for b in node.bottoms]

    def tops(self, node: Node) -> list[Blob]:
        """Return the blobs that a layer makes."""
        return [self.blobs[t] for t in node.tops]

    def node_named(self, name: str) -> Node:
        """Return the layer of this name. Raises UnknownLayerError where there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise UnknownLayerError(f"the net has no layer {name!r}; it has {names}")

    def clear_gradients(self) -> None:
        """Set the gradient of every learnable parameter to zero."""
        for parameter in self.parameters:
            parameter.blob.gradient.zero()

    @property
    def loss_blobs(self) -> list[Blob]:
        """The blobs that count as losses, once for each layer that makes them one."""
        return [
            self.blobs[t]
            for node in self.nodes
            for weight, t in zip(node.loss_weights, node.tops)
            if weight
        ]


def wire(param: Any) -> Wiring:
    """Build the wiring of a NetParameter of the present form, with its `state` set.

    Layers are created, set up and reshaped on the way, and BVLC Caffe's log of it is written.
    Raises NetError, LayerError or ShapeError for a net that cannot be built.
    """
    param = graph.filter_net(param)
    check_types(param.layer)
    place_crops(param)
    warn_of_crops(param)
    net_log.begin(param)
    param = graph.insert_splits(param)
    builder = _Builder(param.name, param.state.phase)
    for layer_param in param.layer:
        if not layer_param.HasField("phase"):
            layer_param.phase = builder.phase
        builder.add(layer_param)
    nodes = _prune(builder.nodes)
    # BVLC Caffe logs which layers run backward before force_backward makes all of them do so.
    needs_backward = [node.backward for node in nodes]
    if param.force_backward:
        nodes = _force_backward(nodes)
    wiring = builder.wiring(nodes)
    net_log.end(
        [node.name for node in nodes],
        needs_backward,
        [wiring.blob_names[b] for b in wiring.outputs],
    )
    keeps_graph = wiring.phase == caffe_pb2.TRAIN or param.force_backward
    for node in nodes:
        _set_recording(node, keeps_graph)
    return wiring


@dataclass
class _Builder:
    """The parts of a wiring while layers are added to it."""

    name: str
    phase: int
    nodes: list[Node] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    blob_names: list[str] = field(default_factory=list)
    loss_weights: list[float] = field(default_factory=list)
    #: For each blob, whether a layer before it has something to learn.
    needs_gradient: list[bool] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    shared: set[tuple[int, int]] = field(default_factory=set)
    #: The newest blob of each name, and the blobs that no layer has read so far.
    numbers: dict[str, int] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)
    #: The parameter that owns each `param { name }`.
    owners: dict[str, int] = field(default_factory=dict)
    #: The layer that has this parameter, and the parameter's place there.
    places: dict[str, tuple[str, int]] = field(default_factory=dict)
    #: The number of values in all tops so far, for the log.
    value_count: int = 0

    def wiring(self, nodes: Sequence[Node]) -> Wiring:
        return Wiring(
            self.name,
            self.phase,
            tuple(nodes),
            tuple(self.blobs),
            tuple(self.blob_names),
            tuple(self.loss_weights),
            tuple(self.inputs),
            tuple(self.unread[name] for name in sorted(self.unread)),
            tuple(self.parameters),
            frozenset(self.shared),
        )

    def add(self, p: Any) -> None:
        """Create the layer of a LayerParameter, connect it and set it up."""
        layer = create(p)
        # A user's layer says nothing about its type: Caffe's defaults hold for it.
        traits = layer if isinstance(layer, EngineLayer) else EngineLayer(p)
        _check_counts(traits, len(p.bottom), len(p.top))
        bottoms = self._connect_bottoms(p, traits)
        tops = self._connect_tops(p, traits)
        net_log.creating(p, len(tops) - len(p.top))
        # As in BVLC Caffe, learning rates that `setup` adds to the LayerParameter do not count.
        rates = [spec.lr_mult for spec in p.param]
        bottom_blobs = [self.blobs[b] for b in bottoms]
        top_blobs = [self.blobs[t] for t in tops]
        try:
            layer.setup(bottom_blobs, top_blobs)
            layer.reshape(bottom_blobs, top_blobs)
            weights = self._set_losses(p, traits, tops)
        except Exception as error:
            raise_for(layer, p, "setup", error, top_blobs)
        self.value_count += sum(blob.count for blob in top_blobs)
        net_log.set_up(p.name, top_blobs, weights, self.value_count)
        needs_gradient = any(self.needs_gradient[b] for b in bottoms)
        propagate_down = self._propagate_down(p, traits, bottoms)
        learns = self._add_parameters(layer, p, traits, rates)
        backward = needs_gradient or learns
        if backward:
            for t in tops:
                self.needs_gradient[t] = True
        self.nodes.append(
            Node(
                len(self.nodes),
                p,
                layer,
                tuple(bottoms),
                tuple(tops),
                tuple(weights),
                tuple(propagate_down),
                backward,
            )
        )

    def _connect_bottoms(self, p: Any, traits: EngineLayer) -> list[int]:
        bottoms = []
        for name in p.bottom:
            if name not in self.numbers:
                raise traits.error(f"no layer before it makes its bottom {name!r}")
            bottoms.append(self.numbers[name])
            self.unread.pop(name, None)
        return bottoms

    def _connect_tops(self, p: Any, traits: EngineLayer) -> list[int]:
        tops: list[int] = []
        for i, name in enumerate(p.top):
            if i < len(p.bottom) and name == p.bottom[i]:
                if not traits.in_place:
                    raise traits.error(f"cannot run in place; its top {name!r} needs a new name")
                tops.append(self.numbers[name])
            elif name in self.numbers:
                raise traits.error(f"its top {name!r} is already made by another layer")
            else:
                tops.append(self._add_blob(name))
                self.numbers[name] = tops[-1]
                if p.type == "Input":
                    self.inputs.append(tops[-1])
            self.unread[name] = tops[-1]
        while len(tops) < traits.auto_tops:
            tops.append(self._add_blob(AUTOMATIC_TOP))
        return tops

    def _add_blob(self, name: str) -> int:
        self.blobs.append(Blob())
        self.blob_names.append(name)
        self.loss_weights.append(0.0)
        self.needs_gradient.append(False)
        return len(self.blobs) - 1

    def _set_losses(self, p: Any, traits: EngineLayer, tops: Sequence[int]) -> list[float]:
        """Set the loss weight of each top, and set the gradients of losses to their weights."""
        if traits.loss and not p.loss_weight:
            p.loss_weight.append(1)
        if len(p.loss_weight) not in (0, len(tops)):
            raise traits.error(
                f"{len(p.loss_weight)} loss_weight for {len(tops)} tops; one for each is needed"
            )
        weights = [w for w, _ in zip_longest(p.loss_weight[: len(tops)], tops, fillvalue=0.0)]
        for t, weight in zip(tops, weights):
            if weight:
                self.loss_weights[t] = weight
                self.blobs[t].diff[...] = weight
        return weights

    def _propagate_down(self, p: Any, traits: EngineLayer, bottoms: Sequence[int]) -> list[bool]:
        if not p.propagate_down:
            return [self.needs_gradient[b] for b in bottoms]
        if len(p.propagate_down) != len(bottoms):
            raise traits.error(
                f"{len(p.propagate_down)} propagate_down for {len(bottoms)} bottoms; none, or one "
                "for each, is needed"
            )
        return list(p.propagate_down)

    def _add_parameters(
        self, layer: Layer, p: Any, traits: EngineLayer, rates: Sequence[float]
    ) -> bool:
        """Take in or share the layer's parameters; return whether any of them learns."""
        if len(p.param) > len(layer.blobs):
            raise traits.error(
                f"{len(p.param)} param for {len(layer.blobs)} parameters; remove the last ones"
            )
        learning = [i >= len(rates) or rates[i] != 0 for i in range(len(layer.blobs))]
        traits.param_propagate_down = learning
        for i, blob in enumerate(layer.blobs):
            spec = p.param[i] if i < len(p.param) else caffe_pb2.ParamSpec()
            if math.isnan(spec.lr_mult):
                raise traits.error(f"param {i} has lr_mult nan; it needs to be a number")
            owner = self.owners.get(spec.name) if spec.name else None
            if owner is None:
                if spec.name:
                    self.owners[spec.name] = len(self.parameters)
                    self.places[spec.name] = (p.name, i)
                self.parameters.append(Parameter(blob, spec.lr_mult, spec.decay_mult))
                continue
            shared = self.parameters[owner]
            _check_shared(traits, blob, spec, shared)
            net_log.sharing(spec.name, *self.places[spec.name])
            self.shared.add((len(self.nodes), i))
            same_shape = shared.blob.shape == blob.shape
            layer.blobs[i] = shared.blob if same_shape else shared.blob.view(blob.shape)
        return any(learning)


def _check_counts(traits: EngineLayer, bottoms: int, tops: int) -> None:
    for noun, count, (low, high) in (
        ("bottom", bottoms, traits.bottoms),
        ("top", max(tops, traits.auto_tops), traits.tops),
    ):
        if not low <= count <= high:
            need = f"{low}" if low == high else f"{low} to {high}"
            need = f"at least {low}" if high == float("inf") else need
            raise traits.error(f"has {count} {noun}s; it needs {need}")
    if traits.equal_bottoms_and_tops and bottoms != tops:
        raise traits.error(f"has {bottoms} bottoms and {tops} tops; it needs equally many of both")


def _check_shared(traits: EngineLayer, blob: Blob, spec: Any, shared: Parameter) -> None:
    """Raise LayerError where a parameter cannot be the one that an earlier layer owns."""
    if spec.share_mode == spec.PERMISSIVE:
        fits = shared.blob.count == blob.count
    else:
        fits = shared.blob.shape == blob.shape
    if not fits:
        raise traits.error(
            f"shares parameter {spec.name!r} of shape {shared.blob.shape}, but needs the shape "
            f"{blob.shape}; the shapes need to be equal"
        )
    for name, value in (("lr_mult", shared.lr_mult), ("decay_mult", shared.decay_mult)):
        if spec.HasField(name) and getattr(spec, name) != value:
            raise traits.error(
                f"shares parameter {spec.name!r} with {name} {getattr(spec, name):g} where its "
                f"owner has {value:g}"
            )


def _prune(nodes: Sequence[Node]) -> list[Node]:
    """Let only the layers between a loss and a blob that needs a gradient run backward."""
    under_loss: set[int] = set()
    skipped: set[int] = set()
    pruned = []
    for node in reversed(nodes):
        contributes = any(
            weight or t in under_loss for weight, t in zip(node.loss_weights, node.tops)
        )
        idle = node.backward and all(t in skipped for t in node.tops)
        if idle or not contributes:
            no_bottom = (False,) * len(node.bottoms)
            node = replace(node, backward=False, propagate_down=no_bottom)
        if contributes:
            under_loss.update(node.bottoms)
        skipped.update(b for b, go in zip(node.bottoms, node.propagate_down) if not go)
        pruned.append(node)
    return pruned[::-1]


def _force_backward(nodes: Sequence[Node]) -> list[Node]:
    """Have every layer run backward, as `force_backward: true` asks for."""
    forced = []
    for node in nodes:
        layer = node.layer
        propagate_down = [True] * len(node.bottoms)
        if isinstance(layer, EngineLayer):
            layer.param_propagate_down = [True] * len(layer.blobs)
            propagate_down = [
                go or layer.allow_force_backward(i) for i, go in enumerate(node.propagate_down)
            ]
        forced.append(replace(node, backward=True, propagate_down=tuple(propagate_down)))
    return forced


def _set_recording(node: Node, keeps_graph: bool) -> None:
    """Decide whether a layer's forward keeps its autograd graph for the backward pass."""
    layer = node.layer
    if isinstance(layer, Function) and node.backward:
        in_place = bool(set(node.bottoms) & set(node.tops))
        runs_once = layer.stateful or (in_place and not layer.idempotent)
        layer.record = layer.differentiable and (keeps_graph or runs_once)
