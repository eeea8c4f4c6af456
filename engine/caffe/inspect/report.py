"""The report on a net: a row for each layer, the crops, the totals. It can be written as JSON."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

from .. import graph
from ..aligned_crops import place_crops
from ..errors import UsageError
from ..layers.registry import layer_type_list
from ..proto import caffe_pb2
from .build import BuiltNet, NetBlob, Part, build, net_state
from .costs import Costs, Memory, ParameterInfo, activation_bytes, multiply_adds
from .inputs import Inputs
from .places import Place, Places, crop_offsets, layer_window, needed_offset, places

#: Fractions are written as "1/8" in JSON and in tables.
Pair = tuple[str, ...]


@dataclass(frozen=True)
class LayerRow:
    """A layer as a row of the table.

    Entries for each spatial axis are tuples. `None` and empty entries stand for values that the
    layer does not have or that are unknown; `note` says why the layer could not be set up.

    stride, field, first: of the first top, in pixels of the blob `frame`. scale, shift: pixel x
    lies at scale * x + shift in the top. activation_bytes: the tops' own memory.
    """

    number: int
    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    shapes: tuple[tuple[int, ...] | None, ...]
    kernel: tuple[int, ...] = ()
    window_stride: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    group: int = 1
    frame: str = ""
    stride: Pair = ()
    field: tuple[int, ...] = ()
    first: Pair = ()
    scale: Pair = ()
    shift: Pair = ()
    parameters: tuple[ParameterInfo, ...] = ()
    multiply_adds: int | None = None
    activation_bytes: int = 0
    in_place: bool = False
    note: str = ""

    @property
    def parameter_count(self) -> int:
        """The number of values in the parameters that the layer owns."""
        return sum(info.count for info in self.parameters if info.owner == self.name)


@dataclass(frozen=True)
class CropRow:
    """A Crop layer along its spatial axes.

    offset: that of the prototxt. needed: that of the coordinate maps, None where there is none.
    before, after: the positions that are cut away; None where a size is unknown. reason: how the
    needed offset comes about.
    """

    name: str
    bottom: str
    like: str
    offset: tuple[int, ...]
    needed: tuple[str | None, ...]
    before: tuple[int, ...]
    after: tuple[int | None, ...]
    reason: str


@dataclass(frozen=True)
class Totals:
    """The sums over a net. Memory is in bytes; `solver` is the type that training is counted for.

    incomplete: whether a layer with an unknown shape is missing from the sums.
    """

    parameters: int
    learned_parameters: int
    multiply_adds: int
    activation_bytes: int
    solver: str
    bvlc_inference: Memory
    bvlc_training: Memory
    engine_inference: Memory
    engine_training: Memory
    incomplete: bool


@dataclass(frozen=True, eq=False)
class Report:
    """What a prototxt means. `net`, `places` and `costs` are what the rows were read from."""

    name: str
    phase: str
    rows: tuple[LayerRow, ...]
    crops: tuple[CropRow, ...]
    totals: Totals
    net: BuiltNet = field(repr=False)
    places: Places = field(repr=False)
    costs: Costs = field(repr=False)
    param: Any = field(repr=False)

    def row(self, name: str) -> LayerRow:
        """Return the row of a layer. Raises KeyError for an unknown name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as dicts, lists, numbers and texts, for JSON."""
        return {
            "name": self.name,
            "phase": self.phase,
            "layers": [asdict(row) for row in self.rows],
            "crops": [asdict(row) for row in self.crops],
            "totals": asdict(self.totals),
        }


def read_model(path: str | os.PathLike) -> Any:
    """Return the NetParameter of a file, or of `deploy.prototxt` in a folder. Raises FileError."""
    path = os.fspath(path)
    if os.path.isdir(path):
        path = os.path.join(path, "deploy.prototxt")
    net = graph.read_net(path, layer_type_list())
    place_crops(net)
    return net


def inspect_net(
    net: Any,
    inputs: Inputs | None = None,
    phase: str | None = None,
    stages: tuple[str, ...] = (),
    level: int = 0,
    solver: str = "SGD",
) -> Report:
    """Return the report on a net, without weights and without a pass.

    net: a NetParameter, or the path of a prototxt of any age or of a folder with a
    deploy.prototxt. inputs: shapes in place of the net's own. phase: "TRAIN" or "TEST"; by default
    the net's, which is TEST if unset. stages, level: as in a NetState. solver: the type that the
    memory of training is counted for.

    Raises FileError and PrototxtError for a file that cannot be read, UsageError for an unknown
    solver. Layers that cannot be set up are rows with a note.
    """
    param = caffe_pb2.NetParameter()
    param.CopyFrom(net if isinstance(net, caffe_pb2.NetParameter) else read_model(net))
    param.state.CopyFrom(net_state(param, phase, stages, level))
    _check_names(param, inputs)
    built = build(param, inputs)
    located, costs = places(built), Costs(built)
    return Report(
        built.name,
        caffe_pb2.Phase.Name(built.phase),
        tuple(_row(part, located, costs) for part in built.parts),
        tuple(_crop_row(part, located) for part in built.parts if part.type == "Crop"),
        _totals(costs, solver),
        built,
        located,
        costs,
        param,
    )


def _check_names(param: Any, inputs: Inputs | None) -> None:
    """Raise UsageError for the shape of a blob that the net lacks."""
    blobs = {*param.input, *(top for layer in param.layer for top in layer.top)}
    for name in inputs.shapes if inputs else ():
        if name not in blobs:
            tops = [top for layer in param.layer if not layer.bottom for top in layer.top]
            names = ", ".join(dict.fromkeys([*param.input, *tops])) or "none"
            raise UsageError(f"input {name}: the net has no such blob; its inputs: {names}")


def _texts(values: list[Fraction]) -> Pair:
    return tuple(map(str, values))


def _row(part: Part, located: Places, costs: Costs) -> LayerRow:
    window = None
    if part.type in ("Convolution", "Deconvolution", "Pooling", "Im2col"):
        shape = part.bottoms[0].shape if part.bottoms else None
        window = layer_window(part, len(shape) - 2 if shape else 2)
    place = located.get(part.tops[0]) if part.tops else None
    return LayerRow(
        number=part.number,
        name=part.name,
        type=part.type,
        bottoms=tuple(part.param.bottom),
        tops=tuple(part.param.top),
        shapes=tuple(top.shape for top in part.tops),
        **({} if window is None else _window_fields(window, part)),
        **({} if place is None else _place_fields(place)),
        parameters=tuple(costs.parameters[part]),
        multiply_adds=multiply_adds(part),
        activation_bytes=activation_bytes(part),
        in_place=part.in_place,
        note=part.reason,
    )


def _window_fields(window: Any, part: Part) -> dict[str, Any]:
    group = 1 if part.type == "Pooling" else part.param.convolution_param.group
    return {
        "kernel": window.kernel,
        "window_stride": window.stride,
        "pad": window.pad,
        "dilation": window.dilation,
        "group": group,
    }


def _place_fields(place: Place) -> dict[str, Any]:
    return {
        "frame": place.frame,
        "stride": _texts([axis.stride for axis in place.axes]),
        "field": tuple(axis.field for axis in place.axes),
        "first": _texts([axis.first for axis in place.axes]),
        "scale": _texts([axis.scale for axis in place.axes]),
        "shift": _texts([axis.shift for axis in place.axes]),
    }


def crop_needs(part: Part, located: Places) -> list[Fraction | None]:
    """Return the offset that the coordinate maps need on each spatial axis; empty without maps."""
    if len(part.bottoms) < 2:
        return []
    source, like = (located.get(blob) for blob in part.bottoms[:2])
    if source is None or like is None or source.frame != like.frame:
        return []
    return [needed_offset(a, b) for a, b in zip(source.axes, like.axes)]


def _crop_row(part: Part, located: Places) -> CropRow:
    needed = crop_needs(part, located)
    place = located.get(part.bottoms[0]) if part.bottoms else None
    axes = len(place.axes) if place else 2
    offset = crop_offsets(part.param.crop_param, axes)
    sizes = [_spatial(blob, axes) for blob in part.bottoms[:2]]
    first = max(0, part.param.crop_param.axis - 2) if part.param.crop_param.axis >= 0 else 0
    after = []
    for axis, cut in enumerate(offset):
        sides = [size[axis] if size else None for size in sizes]
        computable = len(sides) == 2 and None not in sides and axis >= first
        after.append(sides[0] - cut - sides[1] if computable else None)  # type: ignore[operator]
    return CropRow(
        part.name,
        part.bottoms[0].name if part.bottoms else "",
        part.bottoms[1].name if len(part.bottoms) > 1 else "",
        tuple(offset),
        tuple(None if n is None else str(n) for n in needed),
        tuple(offset),
        tuple(after),
        _crop_reason(part, located, needed),
    )


def _spatial(blob: NetBlob, axes: int) -> tuple[int, ...] | None:
    return blob.shape[-axes:] if blob.shape is not None and len(blob.shape) > axes else None


def _crop_reason(part: Part, located: Places, needed: list[Fraction | None]) -> str:
    if not needed:
        return "no coordinate maps connect the two bottoms"
    source, like = (located[blob].axes[0] for blob in part.bottoms[:2])
    names = part.bottoms[0].name, part.bottoms[1].name
    if needed[0] is None:
        return f"{names[0]} has stride {source.stride} and {names[1]} stride {like.stride}"
    return (
        f"value 0 of {names[0]} lies at pixel {source.first}, that of {names[1]} at {like.first}; "
        f"({like.first} - {source.first}) / {source.stride} = {needed[0]}".replace("- -", "+ ")
    )


def _totals(costs: Costs, solver: str) -> Totals:
    return Totals(
        costs.parameter_count(),
        costs.parameter_count(learned=True),
        costs.multiply_adds(),
        costs.value_bytes(),
        solver,
        costs.bvlc(),
        costs.bvlc(solver),
        costs.engine(),
        costs.engine(solver),
        any(part.reason for part in costs.net.parts),
    )
