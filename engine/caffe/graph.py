"""What happens to a NetParameter before it runs: reading, the phase filter, splits."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from . import glog
from .errors import CaffeError
from .io import blobproto_to_array
from .proto import caffe_pb2
from .upgrade import upgrade_net, upgrade_solver


def read_text(path: str | os.PathLike, message: Any) -> Any:
    """Parse a prototxt file into `message` and return it; a typo is one line with its place."""
    path = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            text_format.Parse(file.read(), message)
    except OSError as error:
        raise CaffeError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CaffeError(f"{path}: is not text in UTF-8: {error.reason}") from None
    except text_format.ParseError as error:
        place = re.sub(r"\s+", " ", str(error)).strip()
        raise CaffeError(f"{path}:{place} (reading a {message.DESCRIPTOR.name})") from None
    return message


def read_net(path: str | os.PathLike) -> Any:
    """The NetParameter of a prototxt file of any age, upgraded to the present form."""
    net = read_text(path, caffe_pb2.NetParameter())
    try:
        upgrade_net(net, os.fspath(path))
    except CaffeError as error:
        raise CaffeError(f"{os.fspath(path)}: {error}") from None
    return net


def read_solver(path: str | os.PathLike) -> Any:
    """The SolverParameter of a prototxt file, with an old `solver_type` made a `type`."""
    solver = read_text(path, caffe_pb2.SolverParameter())
    try:
        upgrade_solver(solver, os.fspath(path))
    except CaffeError as error:
        raise CaffeError(f"{os.fspath(path)}: {error}") from None
    stem = os.path.splitext(os.fspath(path))[0]
    if not solver.HasField("snapshot_prefix"):
        solver.snapshot_prefix = stem
    elif os.path.isdir(solver.snapshot_prefix):
        solver.snapshot_prefix = os.path.join(solver.snapshot_prefix, os.path.basename(stem))
    return solver


def parse_binary(data: bytes, message: Any, path: str) -> Any:
    """Parse the bytes of the file `path` into `message` and return it."""
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise CaffeError(
            f"{path}: is not a whole {message.DESCRIPTOR.name} ({len(data)} bytes); it is "
            "truncated or another kind of file"
        ) from None
    return message


def read_blob(path: str) -> np.ndarray:
    """The array of a BlobProto file (.binaryproto), such as a mean."""
    try:
        with open(path, "rb") as file:
            proto = parse_binary(file.read(), caffe_pb2.BlobProto(), path)
    except OSError as error:
        raise CaffeError(f"{path}: cannot be read: {error.strerror}") from None
    return blobproto_to_array(proto).astype(np.float32)


def filter_net(net: Any) -> Any:
    """The NetParameter with only the layers that `net.state` includes."""
    kept = caffe_pb2.NetParameter()
    kept.CopyFrom(net)
    kept.ClearField("layer")
    for layer in net.layer:
        if layer.include and layer.exclude:
            raise CaffeError(f"layer {layer.name!r} has both include and exclude; give one of them")
        if layer.include:
            keep = any(_meets(net.state, rule, layer.name) for rule in layer.include)
        else:
            keep = not any(_meets(net.state, rule, layer.name) for rule in layer.exclude)
        if keep:
            kept.layer.add().CopyFrom(layer)
    return kept


def _meets(state: Any, rule: Any, layer: str) -> bool:
    for line, unmet in _unmet(state, rule):
        glog.write(f"net.cpp:{line}", f"The NetState {unmet} specified by a rule in layer {layer}")
        return False
    return True


def _unmet(state: Any, rule: Any) -> Iterator[tuple[int, str]]:
    """What of a rule a state does not meet, in BVLC Caffe's words, and the lines that log it."""
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


def insert_splits(net: Any) -> Any:
    """The NetParameter with a Split layer behind every blob that has several readers.

    A loss weight on such a blob counts as a reader and goes to the split's first top.
    """
    maker: dict[str, tuple[int, int]] = {}
    source: dict[tuple[int, int], tuple[int, int]] = {}
    readers: Counter[tuple[int, int]] = Counter()
    for i, layer in enumerate(net.layer):
        for j, name in enumerate(layer.bottom):
            if name not in maker:
                made = ", ".join(repr(n) for n in maker) or "none"
                raise CaffeError(
                    f"layer {layer.name!r} ({layer.type}): no layer before it makes its bottom "
                    f"{name!r}; blobs made so far: {made}"
                )
            source[i, j] = maker[name]
            readers[maker[name]] += 1
        for j, name in enumerate(layer.top):
            maker[name] = (i, j)
        for j, weight in enumerate(layer.loss_weight[: len(layer.top)]):
            readers[i, j] += weight != 0
    split = caffe_pb2.NetParameter()
    split.CopyFrom(net)
    split.ClearField("layer")
    taken: Counter[tuple[int, int]] = Counter()
    for i, layer in enumerate(net.layer):
        new = split.layer.add()
        new.CopyFrom(layer)
        for j, blob in enumerate(layer.bottom):
            made_by = source[i, j]
            if readers[made_by] > 1:
                new.bottom[j] = _split_top(net, made_by, blob, taken[made_by])
                taken[made_by] += 1
        for j, blob in enumerate(layer.top):
            if readers[i, j] <= 1:
                continue
            weight = layer.loss_weight[j] if j < len(layer.loss_weight) else 0
            splitter = split.layer.add(name=_split_name(net, (i, j), blob), type="Split")
            splitter.bottom.append(blob)
            for k in range(readers[i, j]):
                splitter.top.append(_split_top(net, (i, j), blob, k))
                if weight:
                    splitter.loss_weight.append(0 if k else weight)
            if weight:
                new.ClearField("loss_weight")
                taken[i, j] += 1
    return split


def _split_name(net: Any, made_by: tuple[int, int], blob: str) -> str:
    return f"{blob}_{net.layer[made_by[0]].name}_{made_by[1]}_split"


def _split_top(net: Any, made_by: tuple[int, int], blob: str, k: int) -> str:
    return f"{_split_name(net, made_by, blob)}_{k}"
