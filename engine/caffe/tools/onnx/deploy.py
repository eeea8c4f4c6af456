"""A net without the layers that only training and scoring need, and with inputs in their place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from ... import graph, module_search
from ...errors import FileError, LayerError, NetError, UsageError, WeightsError, in_file
from ...layers import import_users_types, layer_class, layer_type_list, users_types
from ...net import Net
from ...proto import caffe_pb2
from ...weights import read_net

#: Layer types that bring data and labels.
DATA = frozenset(
    (
        *("AnnotatedData", "CustomData", "Data", "DenseImageData", "HDF5Data", "ImageData"),
        *("ImageLabelmapData", "ImageSegData", "MatRead", "MemoryData", "VideoData", "WindowData"),
    )
)
#: Layer types beside losses that compare with labels, choose examples, or write files.
SCORING = frozenset(
    (
        *("Accuracy", "BoxAnnotatorOHEM", "DetectionEvaluate", "HDF5Output", "MatWrite"),
        *("SegAccuracy", "Silence"),
    )
)
Shapes = Mapping[str, Sequence[int]]


def deploy_net(
    path: str | os.PathLike, weights: str | os.PathLike | None, shapes: Shapes | None = None
) -> tuple[Net, list[str]]:
    """Return the TEST net of a prototxt as it is exported, and a line for each layer left out.

    Layers that bring data become inputs; losses and scores, and what only they read, are left out.
    shapes: shapes of inputs by blob name, in place of those in the file. With the shape of its top,
        a layer that brings data is not set up, and needs no data.

    Raises FileError for a file that is missing, NetError for a net that cannot be built, and
    WeightsError for weights that do not fit.
    """
    for file in (path, weights):
        if file is not None and not os.path.isfile(file):
            raise FileError(f"Could not open file {os.fspath(file)}")
    net_file = graph.read_net_file(path)
    param = net_file.net
    param.state.phase = caffe_pb2.TEST
    with module_search.beside(path):
        import_users_types()
    net_file.check(param.state, layer_type_list(), users_types())
    with in_file(os.fspath(path)), module_search.beside(path):
        filtered = _with_distinct_names(graph.filter_net(param))
        net, lines = _without_training(filtered, dict(shapes or {}))
    if weights is not None:
        net.copy_from(weights)
        lines += _missing_weights(net, os.fspath(weights))
    return net, lines


def _with_distinct_names(param: Any) -> Any:
    """Number the second and further layers of a name, as HED's five layers `crop` are.

    Weights belong to the first layer of a name, as in BVLC Caffe.
    """
    result = type(param)()
    result.CopyFrom(param)
    names = {layer.name for layer in param.layer}
    before: set[str] = set()
    for layer in result.layer:
        name = layer.name
        if name in before:
            number = next(n for n in count(2) if f"{name}_{n}" not in names)
            layer.name = f"{name}_{number}"
            names.add(layer.name)
        before.add(layer.name)
    return result


def _missing_weights(net: Net, path: str) -> list[str]:
    """Return a line about the layers whose weights a file lacks, if there are any.

    Raises WeightsError if the file has none of the net's weights.
    """
    stored = {name for name, _ in read_net(path)}
    shared = net.wiring.shared
    layers = {
        node.name
        for node in net.wiring.nodes
        if any((node.number, i) not in shared for i in range(len(node.layer.blobs)))
    }
    missing = sorted(layers - stored)
    if not missing:
        return []
    names = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if missing[4:] else "")
    if len(missing) == len(layers):
        raise WeightsError(
            f"{path}: has no weights of {names}; these are the weights of another net"
        )
    return [f"warning: {path} has no weights of {names}; the values of the fillers are exported"]


def _without_training(param: Any, shapes: dict[str, Sequence[int]]) -> tuple[Net, list[str]]:
    """Return the net of a filtered NetParameter without what only training needs."""
    dropped = _training_layers(param)
    layers = [layer for layer in param.layer if layer.name not in dropped]
    read = {blob for layer in layers for blob in layer.bottom}
    lines = [f"left out {layer.name} ({layer.type}): {dropped[layer.name]}"
             for layer in param.layer if layer.name in dropped]  # fmt: skip
    result = caffe_pb2.NetParameter()
    result.CopyFrom(param)
    del result.layer[:]
    for layer in layers:
        if layer.type == "Input":
            result.layer.add().CopyFrom(_reshaped(layer, shapes))
        elif _brings_data(layer):
            tops = [top for top in layer.top if top in read]
            inputs = _inputs(param, layer, tops, shapes)
            result.layer.extend(inputs)
            names = ", ".join(tops) or "nothing"
            lines.append(f"replaced {layer.name} ({layer.type}): {names} read by the model instead")
        else:
            result.layer.add().CopyFrom(layer)
    if shapes:
        raise UsageError(f"no input of the net has the name {', '.join(map(repr, shapes))}")
    if not any(layer.type != "Input" for layer in result.layer):
        raise NetError(
            "the net has no layers beside data, losses and scores; nothing is left to write"
        )
    return Net.from_param(result), lines


def _brings_data(layer: Any) -> bool:
    """Return whether a layer reads data that the user of the model passes to the model instead."""
    if layer.type == "DummyData":
        return not layer.dummy_data_param.data_filler
    return layer.type in DATA or (layer.type == "Python" and not layer.bottom)


def _training_layers(param: Any) -> dict[str, str]:
    """Return the layers that only training and scoring need: name -> why."""
    reasons = {}
    for layer in param.layer:
        cls = layer_class(layer.type)
        if cls is not None and cls.loss:
            reasons[layer.name] = "a loss"
        elif layer.type in SCORING:
            reasons[layer.name] = "has no part in the result"
    # From the end: a layer that only serves dropped layers, with data that is not an image.
    images = _from_images(param)
    for layer in reversed(param.layer):
        readers = [other for other in param.layer if set(layer.top) & set(other.bottom)]
        serves = readers and all(reader.name in reasons for reader in readers)
        if serves and layer.bottom and not images & set(layer.bottom):
            reasons.setdefault(layer.name, "only prepares labels")
    return reasons


def _from_images(param: Any) -> set[str]:
    """Return the blobs computed from inputs, or from the first top of a data layer."""
    blobs: set[str] = set()
    for layer in param.layer:
        if layer.type == "Input" or (layer.bottom and blobs & set(layer.bottom)):
            blobs.update(layer.top)
        elif not layer.bottom:
            blobs.update(layer.top[:1])
    return blobs | set(param.input)


def _reshaped(layer: Any, shapes: dict[str, Sequence[int]]) -> Any:
    """Return an Input layer with the shapes that the user gave; these are taken out of `shapes`."""
    if not set(layer.top) & set(shapes):
        return layer
    old = list(layer.input_param.shape)
    result = caffe_pb2.LayerParameter()
    result.CopyFrom(layer)
    del result.input_param.shape[:]
    for i, top in enumerate(layer.top):
        before = (old * len(layer.top))[i].dim if old else ()
        result.input_param.shape.add(dim=shapes.pop(top, before))
    return result


def _inputs(param: Any, layer: Any, tops: list[str], shapes: dict[str, Sequence[int]]) -> list[Any]:
    """Input layers in place of a layer that brings data, for the tops that are read."""
    if any(top not in shapes for top in tops):
        alone = caffe_pb2.NetParameter(layer=[layer], state=param.state)
        # A layer in Python may raise anything.
        try:
            net = Net.from_param(alone)
        except Exception as error:
            example = " ".join(f"--shape {top}=1,3,224,224" for top in tops)
            reason = error.reason if isinstance(error, LayerError) else error
            text = f"{reason}; with the shape, no data is needed: {example}"
            raise LayerError(layer.name, layer.type, text) from error
        shapes.update({t: net.blobs[t].shape for t in tops if t not in shapes})
    inputs = []
    for top in tops:
        new = caffe_pb2.LayerParameter(name=top, type="Input", top=[top])
        new.input_param.shape.add(dim=shapes.pop(top))
        inputs.append(new)
    return inputs
