"""The layers of a net with the shapes of their blobs, without weights and without a pass.

`build` sets up each layer by itself, so that a layer that cannot be built leaves the others as they
are: its tops have no shape, and its `reason` says why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from .. import graph
from ..blob import Blob
from ..errors import CaffeError
from ..layers import EngineLayer, Layer, create, layer_type_list
from ..layers.registry import layer_class
from ..proto import caffe_pb2
from .inputs import IMAGE_SETTINGS, Inputs, Shape, image_shapes, resized

#: Layers without bottoms whose setup reads nothing but the prototxt.
PLAIN_SOURCES = ("Input", "DummyData", "MemoryData", "Parameter")
#: Layers with labels as their second bottom, one label for each position of the scores.
LABELLED = (
    *("Accuracy", "HingeLoss", "InfogainLoss", "MultinomialLogisticLoss", "SoftmaxWithLoss"),
)


@dataclass(eq=False)
class NetBlob:
    """A blob of the net: the layer that makes it, the layers that read it, and its shape.

    shape: None where it is unknown. writers: the layers that change the blob in place.
    """

    name: str
    producer: int
    shape: Shape | None = None
    readers: list[int] = field(default_factory=list)
    writers: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        """The number of values; 0 where the shape is unknown."""
        return 0 if self.shape is None else math.prod(self.shape)


@dataclass(eq=False)
class Part:
    """A layer in its net.

    layer: the layer after its setup, or None. reason: why the layer could not be set up, or "".
    """

    number: int
    param: Any
    bottoms: list[NetBlob]
    tops: list[NetBlob]
    layer: Layer | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.param.name

    @property
    def type(self) -> str:
        """The layer's type."""
        return self.param.type

    @property
    def traits(self) -> EngineLayer | None:
        """The layer, if it is one of the engine's types."""
        return self.layer if isinstance(self.layer, EngineLayer) else None

    @property
    def in_place(self) -> bool:
        """Whether the layer writes its first bottom."""
        return bool(self.tops and self.bottoms and self.tops[0] is self.bottoms[0])

    @property
    def shares(self) -> bool:
        """Whether the tops are the memory of the bottom, as those of Reshape are."""
        return self.in_place or self.type in ("Split", "Flatten", "Reshape", "Parameter")


@dataclass(eq=False)
class BuiltNet:
    """The layers of a net for one phase, in order, and the blobs between them."""

    name: str
    phase: int
    parts: list[Part]
    blobs: list[NetBlob]

    def sources(self) -> list[Part]:
        """Return the layers without bottoms."""
        return [part for part in self.parts if not part.param.bottom]


def net_state(
    net: Any, phase: str | None = None, stages: tuple[str, ...] = (), level: int = 0
) -> Any:
    """Return the NetState to filter by; without a phase that of the net, which is TEST if unset."""
    state = caffe_pb2.NetState()
    state.CopyFrom(net.state)
    if phase is not None:
        state.phase = {"TRAIN": caffe_pb2.TRAIN, "TEST": caffe_pb2.TEST}[phase]
    state.stage.extend(stages)
    if level:
        state.level = level
    return state


def build(net: Any, inputs: Inputs | None = None) -> BuiltNet:
    """Build the layers that the NetParameter's state includes.

    Raises LayerError for a layer that has both `include` and `exclude`.
    """
    filtered = graph.filter_net(net)
    builder = _Builder(filtered.state.phase, inputs or Inputs())
    for param in filtered.layer:
        builder.add(param)
    return BuiltNet(filtered.name, filtered.state.phase, builder.parts, builder.blobs)


@dataclass
class _Builder:
    phase: int
    inputs: Inputs
    parts: list[Part] = field(default_factory=list)
    blobs: list[NetBlob] = field(default_factory=list)
    newest: dict[str, NetBlob] = field(default_factory=dict)

    def add(self, param: Any) -> None:
        number = len(self.parts)
        bottoms = [self._bottom(name, number) for name in param.bottom]
        missing = [blob.name for blob in bottoms if blob.producer < 0]
        tops = [self._top(param, i, bottoms, number) for i in range(len(param.top))]
        part = Part(number, param, bottoms, tops)
        self.parts.append(part)
        if param.type not in layer_type_list():
            part.reason = f"unknown type {param.type!r}"
        elif missing:
            part.reason = f"no layer before it makes its bottom {missing[0]!r}"
        else:
            self._set_shapes(part)
        for top in tops:
            top.shape = self.inputs.shapes.get(top.name, top.shape)

    def _bottom(self, name: str, number: int) -> NetBlob:
        blob = self.newest.get(name) or NetBlob(name, -1)
        blob.readers.append(number)
        return blob

    def _top(self, param: Any, i: int, bottoms: list[NetBlob], number: int) -> NetBlob:
        name = param.top[i]
        if i < len(bottoms) and bottoms[i].name == name:
            bottoms[i].writers.append(number)
            return bottoms[i]
        blob = self.newest[name] = NetBlob(name, number)
        self.blobs.append(blob)
        return blob

    def _set_shapes(self, part: Part) -> None:
        """Set the layer up and give its tops their shapes."""
        if not part.bottoms and part.type not in PLAIN_SOURCES:
            for top, shape in zip(part.tops, image_shapes(part.param, self.inputs)):
                top.shape = self.inputs.shapes.get(top.name, shape)
            if part.tops and part.tops[0].shape is None:
                self._read_source(part)
            return
        _infer_labels(part)
        unknown = [blob.name for blob in part.bottoms if blob.shape is None]
        if unknown:
            part.reason = f"the shape of bottom {unknown[0]!r} is unknown"
            return
        try:
            set_up(part, self.phase)
        except CaffeError as error:
            part.reason = str(error)
        if part.type == "Input":
            for top in part.tops:
                top.shape = resized(top.shape or (), self.inputs)

    def _read_source(self, part: Part) -> None:
        """Ask a user's data layer for its shapes; a layer that reads a database is not opened."""
        cls = layer_class(part.type)
        if cls is not None and cls.bottoms[0]:
            part.reason = f"has no bottom; it needs {cls.bottoms[0]}"
            return
        if part.type in IMAGE_SETTINGS or part.type != "Python":
            part.reason = "the size of its images is unknown; name it with --input"
            return
        try:
            set_up(part, self.phase)
        except CaffeError as error:
            part.reason = f"{error}; name the shapes with --input"


def set_up(part: Part, phase: int) -> None:
    """Create the layer of a part, set it up, and give the tops their shapes.

    Fillers are left out, because drawing weights takes time and memory. Raises CaffeError.
    """
    param = without_fillers(part.param)
    if not param.HasField("phase"):
        param.phase = phase
    bottoms = [Blob(blob.shape or ()) for blob in part.bottoms]
    tops = [Blob() for _ in part.tops]
    traits = layer_class(param.type)
    while traits is not None and len(tops) < traits.auto_tops:
        tops.append(Blob())
    if part.in_place:
        tops[0] = bottoms[0]
    layer = create(param)
    if isinstance(layer, EngineLayer):
        _check_counts(layer, len(bottoms), len(tops))
    try:
        layer.setup(bottoms, tops)
        layer.reshape(bottoms, tops)
    except CaffeError:
        raise
    except Exception as error:
        # A user's Python layer may raise anything, and a report needs the other layers anyway.
        kind = type(error).__name__
        raise CaffeError(f"layer {part.name!r} ({part.type}): {kind}: {error}") from None
    part.layer = layer
    for top, blob in zip(part.tops, tops):
        top.shape = blob.shape


def _check_counts(layer: EngineLayer, bottoms: int, tops: int) -> None:
    """Raise LayerError for a number of bottoms or tops that the layer type cannot have."""
    for noun, count, (least, most) in (
        ("bottoms", bottoms, layer.bottoms),
        ("tops", tops, layer.tops),
    ):
        if not least <= count <= most:
            need = f"{least}" if least == most else f"{least} to {most}"
            raise layer.error(
                f"has {count} {noun if count != 1 else noun[:-1]}; it needs "
                + need.replace("to inf", "or more")
            )


def without_fillers(message: Any) -> Any:
    """Return a copy of a message in which every filler is the default, a constant 0."""
    copy = type(message)()
    copy.CopyFrom(message)
    _clear_fillers(copy)
    return copy


def _clear_fillers(message: Message) -> None:
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        entries = value if hasattr(value, "append") else [value]
        for entry in entries:
            if descriptor.message_type.name == "FillerParameter":
                entry.Clear()
            else:
                _clear_fillers(entry)


def _infer_labels(part: Part) -> None:
    """Give labels of unknown shape the shape that the layer which reads them needs."""
    if len(part.bottoms) < 2:
        return
    scores, labels = part.bottoms[0].shape, part.bottoms[1]
    if scores is None or labels.shape is not None:
        return
    if part.type in LABELLED:
        labels.shape = (scores[0], 1, *scores[2:]) if len(scores) > 2 else scores[:1]
    elif part.type in ("EuclideanLoss", "SigmoidCrossEntropyLoss"):
        labels.shape = scores
