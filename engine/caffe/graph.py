"""NetParameters before a net is built: reading, the phase filter, Split layers."""

from __future__ import annotations

import codecs
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from . import binary_nets, files, glog
from .errors import LayerError, NetError, PrototxtError
from .proto import caffe_pb2
from .text import (
    check_strings,
    read_known,
    read_text,
    refuse_unknown,
    warn_left_out,
    warn_of_tuning,
)
from .unknown import Unknown, refusal, same_word
from .upgrade import upgrade_net, upgrade_solver


@dataclass
class NetFile:
    """A net's prototxt file.

    net: the NetParameter, upgraded to the present form, of what the schema knows. text: the text of
    the file. unknown: what the schema lacks. v1_layers: the layers in the V1 form whose type the
    schema lacks.
    """

    path: str
    net: Any
    text: str
    unknown: list[Unknown]
    v1_layers: frozenset[str] = frozenset()

    def name_v1_types(self, layer_types: Collection[str]) -> None:
        """Give V1 layers of forks, such as CHANNEL_NORM, the present name of their type."""
        for layer in self.net.layer:
            if layer.name in self.v1_layers:
                layer.type = same_word(layer.type, layer_types) or layer.type

    def check(self, state: Any, layer_types: Collection[str], own_types: Collection[str]) -> None:
        """Raise one error that lists all that the engine lacks for a NetState's layers.

        layer_types: all registered types. own_types: the types that users registered; the unknown
            fields of their layers become the layers' `param_str`.

        What belongs to layers that the state leaves out, or only tunes how a fork computes, is
        logged and left out. Raises PrototxtError for unknown fields, NetError for unknown types.
        """
        self.name_v1_types(layer_types)
        if not self.unknown and all(layer.type in layer_types for layer in self.net.layer):
            return
        included = {layer.name: layer for layer in self.net.layer if _is_included(state, layer)}
        types = [
            (layer.name, layer.type)
            for layer in self.net.layer
            if _is_included(state, layer) and layer.type not in layer_types
        ]
        fields = []
        for item in self.unknown:
            layer = included.get(item.layer)
            if item.layer and layer is None:
                warn_left_out(self.path, item, "the layer is not in this net")
            elif layer is not None and layer.type in own_types:
                self._keep_as_param_str(layer, item)
            elif not warn_of_tuning(self.path, item):
                fields.append(item)
        if types or fields:
            error = PrototxtError if fields else NetError
            raise error(f"{self.path}: {refusal(types, fields, layer_types)}")

    def _keep_as_param_str(self, layer: Any, item: Unknown) -> None:
        text = self.text[item.start : item.end]
        before = layer.python_param.param_str
        layer.python_param.param_str = f"{before}\n{text}" if before else text


def read_net_file(path: str | os.PathLike) -> NetFile:
    """Return a net's prototxt file of any age; `check` refuses what the engine lacks.

    A .caffemodel is read too: the net that it was written from, as binary_nets.py reads forks'.
    Raises FileError if the file cannot be read, PrototxtError for its syntax, and NetError if the
    net cannot be upgraded.
    """
    net = caffe_pb2.NetParameter()
    text = ""
    unknown: list[Unknown] = []
    data = files.read_bytes(path)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise PrototxtError(f"{os.fspath(path)}: is text in UTF-16; save the file in UTF-8")
    if binary_nets.is_binary(data):
        net = binary_nets.parse_net(data, os.fspath(path))
        for layer in net.layer:
            for blob in layer.blobs:
                blob.ClearField("data")
        check_strings(os.fspath(path), net)
    else:
        text, unknown = read_known(path, net)
    try:
        upgrade_net(net, os.fspath(path))
    except NetError as error:
        raise NetError(f"{os.fspath(path)}: {error}") from None
    others = [item for item in unknown if not _is_v1_type(item)]
    return NetFile(os.fspath(path), net, text, others, _set_v1_types(net, unknown))


def _set_v1_types(net: Any, unknown: list[Unknown]) -> frozenset[str]:
    """Give upgraded V1 layers the unknown types of their text; return the names of the layers."""
    types = {item.layer: item.value.strip("\"'") for item in unknown if _is_v1_type(item)}
    for layer in net.layer:
        if not layer.type and layer.name in types:
            layer.type = types[layer.name]
    return frozenset(types)


def _is_v1_type(item: Unknown) -> bool:
    return (item.message, item.name) == ("V1LayerParameter", "type")


def read_net(path: str | os.PathLike, layer_types: Collection[str] | None = None) -> Any:
    """Return the NetParameter of a prototxt file of any age, upgraded to the present form.

    layer_types: the registered types; the fields inside layers of other types are left out. None:
        no field is left out.

    Raises as `read_net_file` does, and PrototxtError for fields that the schema lacks.
    """
    file = read_net_file(path)
    file.name_v1_types(layer_types or ())
    types = {layer.name: layer.type for layer in file.net.layer}
    left_out = [
        item
        for item in file.unknown
        if layer_types is not None and types.get(item.layer, "") not in {"", *layer_types}
    ]
    for item in left_out:
        warn_left_out(path, item, f"the engine has no type {types[item.layer]}")
    refuse_unknown(path, (item for item in file.unknown if item not in left_out))
    return file.net


def read_solver(path: str | os.PathLike) -> Any:
    """Return the SolverParameter of a prototxt file of any age, upgraded to the present form.

    As in BVLC Caffe, snapshots are named after the file unless `snapshot_prefix` says otherwise; a
    prefix that is a folder is extended by the name of the file. Raises as `read_net` does.
    """
    solver = read_text(path, caffe_pb2.SolverParameter())
    try:
        upgrade_solver(solver, os.fspath(path))
    except NetError as error:
        raise NetError(f"{os.fspath(path)}: {error}") from None
    stem = os.path.splitext(os.fspath(path))[0]
    if not solver.HasField("snapshot_prefix"):
        solver.snapshot_prefix = stem
        glog.write(
            "upgrade_proto.cpp:1108", f"snapshot_prefix was not specified and is set to {stem}"
        )
    elif os.path.isdir(solver.snapshot_prefix):
        prefix = os.path.join(solver.snapshot_prefix, os.path.basename(stem))
        solver.snapshot_prefix = prefix
        glog.write(
            "upgrade_proto.cpp:1113", f"snapshot_prefix was a directory and is replaced to {prefix}"
        )
    return solver


def filter_net(net: Any) -> Any:
    """Return the NetParameter with only the layers that `net.state` includes.

    Raises LayerError for a layer that has both `include` and `exclude`.
    """
    filtered = _without_layers(net)
    for layer in net.layer:
        if layer.include and layer.exclude:
            raise LayerError(
                layer.name, layer.type, "has both include and exclude; give one of them"
            )
        if layer.include:
            included = any(_meets(net.state, rule, layer.name) for rule in layer.include)
        else:
            included = not any(_meets(net.state, rule, layer.name) for rule in layer.exclude)
        if included:
            filtered.layer.add().CopyFrom(layer)
    return filtered


def _is_included(state: Any, layer: Any) -> bool:
    """Return whether a NetState includes a layer. Nothing is logged."""
    rules = layer.include or layer.exclude
    meets = any(not any(True for _ in _differences(state, rule)) for rule in rules)
    return meets if layer.include else not meets


def _without_layers(net: Any) -> Any:
    """Return a copy of a NetParameter that has no layers."""
    others = {field.name: value for field, value in net.ListFields() if field.name != "layer"}
    return caffe_pb2.NetParameter(**others)


def _meets(state: Any, rule: Any, layer: str) -> bool:
    """Return whether a NetState meets a rule. The first condition that is not met is logged."""
    for line, difference in _differences(state, rule):
        message = f"The NetState {difference} specified by a rule in layer {layer}"
        glog.write(f"net.cpp:{line}", message)
        return False
    return True


def _differences(state: Any, rule: Any) -> Iterator[tuple[int, str]]:
    """Yield the conditions that a state does not meet: the line of net.cpp and its words."""
    if rule.HasField("phase") and rule.phase != state.phase:
        yield 296, f"phase ({state.phase}) differed from the phase ({rule.phase})"
    if rule.HasField("min_level") and state.level < rule.min_level:
        yield 306, f"level ({state.level}) is above the min_level ({rule.min_level})"
    if rule.HasField("max_level") and state.level > rule.max_level:
        yield 316, f"level ({state.level}) is above the max_level ({rule.max_level})"
    for stage in rule.stage:
        if stage not in state.stage:
            yield 332, f"did not contain stage '{stage}'"
    for stage in rule.not_stage:
        if stage in state.stage:
            yield 347, f"contained a not_stage '{stage}'"


#: A top of a net: the index of the layer, and of the top among the layer's tops.
Top = tuple[int, int]


@dataclass
class _Readers:
    """Which tops the bottoms of a net read, and by how many readers each top is read."""

    #: (layer, bottom) -> the top that this bottom reads.
    sources: dict[tuple[int, int], Top] = field(default_factory=dict)
    counts: Counter[Top] = field(default_factory=Counter)


def insert_splits(net: Any) -> Any:
    """Return the NetParameter with a Split layer behind each top that has several readers.

    A loss weight on such a top counts as a reader and moves to the first top of the Split layer.
    Raises LayerError for a bottom that no layer before it produces.
    """
    readers = _find_readers(net)
    with_splits = _without_layers(net)
    next_tops: Counter[Top] = Counter()
    for i, layer in enumerate(net.layer):
        copy = with_splits.layer.add()
        copy.CopyFrom(layer)
        for j, blob in enumerate(layer.bottom):
            source = readers.sources[i, j]
            if readers.counts[source] > 1:
                copy.bottom[j] = f"{_split_name(net, source, blob)}_{next_tops[source]}"
                next_tops[source] += 1
        for j, blob in enumerate(layer.top):
            count = readers.counts[i, j]
            if count <= 1:
                continue
            weight = layer.loss_weight[j] if j < len(layer.loss_weight) else 0
            _add_split(with_splits, _split_name(net, (i, j), blob), blob, count, weight)
            if weight:
                copy.ClearField("loss_weight")
                next_tops[i, j] += 1
    return with_splits


def _find_readers(net: Any) -> _Readers:
    readers = _Readers()
    producers: dict[str, Top] = {}
    for i, layer in enumerate(net.layer):
        for j, blob in enumerate(layer.bottom):
            if blob not in producers:
                produced = ", ".join(repr(name) for name in producers) or "none"
                raise LayerError(
                    layer.name,
                    layer.type,
                    f"no layer before it makes its bottom {blob!r}; blobs made so far: {produced}",
                )
            readers.sources[i, j] = producers[blob]
            readers.counts[producers[blob]] += 1
        for j, blob in enumerate(layer.top):
            producers[blob] = (i, j)
        for j, weight in enumerate(layer.loss_weight[: len(layer.top)]):
            readers.counts[i, j] += weight != 0
    return readers


def _add_split(net: Any, name: str, blob: str, count: int, weight: float) -> None:
    """Add a Split layer with `count` tops, of which the first has the loss weight."""
    split = net.layer.add(name=name, type="Split", bottom=[blob])
    split.top.extend(f"{name}_{k}" for k in range(count))
    if weight:
        split.loss_weight.extend([weight] + [0] * (count - 1))


def _split_name(net: Any, top: Top, blob: str) -> str:
    return f"{blob}_{net.layer[top[0]].name}_{top[1]}_split"
