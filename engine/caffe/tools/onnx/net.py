"""A net as an ONNX model, and the model as one file or two."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import caffe

from ...errors import CaffeError, LayerError, NetError, UsageError
from ...files import atomic, make_folder_of
from ...layers import EngineLayer
from ...net import Net
from .model import FLOAT, REASONS, WRITERS, FreeSizeError, Model, Source, refusal
from .sizes import Sizes, find_sizes, outputs_of, type_of

#: The operator set that is written by default, and the least one that has the operators used.
OPSET = 17
#: The least version of the format that is written; later operator sets need later ones.
IR_VERSION = 8
#: Bytes from which on a tensor lies in the file beside the model.
LARGE = 1024
#: Bytes of weights above which a model needs a second file; protobuf's messages end at 2 GiB.
ONE_FILE = 1_900_000_000


class RefusedLayersError(NetError):
    """Several layers that have no ONNX form.

    refused: a LayerError for each.
    """

    def __init__(self, refused: list[LayerError]) -> None:
        reasons = "; ".join(map(str, refused))
        super().__init__(f"{len(refused)} layers are not written as ONNX: {reasons}")
        self.refused = refused


def build(
    net: Net,
    sizes: Sizes | None = None,
    metadata: Mapping[str, Any] | None = None,
    opset: int = OPSET,
    half: bool = False,
) -> Any:
    """Return the ONNX model (a ModelProto) of a net.

    Inputs and outputs have the net's names and element type float32.
    sizes: the sizes that the inputs can have, by default those that `find_sizes` returns.
    metadata: the model's metadata_props; values that are not text are written as JSON.
    half: whether large weights are stored in half precision.

    Raises LayerError for a layer, or a setting of a layer, that ONNX cannot express,
    RefusedLayersError for several of them, NetError for a net without outputs, and CaffeError if
    the package `onnx` is missing.
    """
    onnx = _package()
    _check_opset(onnx, opset)
    helper = onnx.helper
    m = Model(helper, onnx.numpy_helper, half)
    outputs = outputs_of(net)
    if not outputs:
        raise NetError(
            "the net has no outputs, because a layer reads each of its blobs; remove the layer "
            "that reads the result, such as a Silence"
        )
    sizes = sizes or find_sizes(net)
    names = _write_layers(m, net, sizes)
    m.layer = "output"
    results = []
    for top in outputs:
        axes = _axes_of_output(top, sizes)
        results.append(helper.make_tensor_value_info(top, FLOAT, axes))
        m.nodes.append(helper.make_node("Identity", [names[top]], [top], name=f"output/{top}"))
    graph = helper.make_graph(m.nodes, net.name or "net", m.inputs, results, m.tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = max(IR_VERSION, helper.find_min_ir_version_for(model.opset_import))
    model.producer_name, model.producer_version = "caffe", caffe.__version__
    for key, value in (metadata or {}).items():
        text = value if isinstance(value, str) else json.dumps(value)
        model.metadata_props.add(key=str(key), value=text)
    return model


def write(
    net: Net,
    path: str,
    sizes: Sizes | None = None,
    metadata: Mapping[str, Any] | None = None,
    opset: int = OPSET,
    half: bool = False,
    external: bool = True,
) -> list[str]:
    """Write `build(net, ...)` to `path` and return the paths that were written.

    Missing folders of `path` are created.

    external: whether the large weights lie in a file of their own, `path`.data, which is written
        first. Models that are too large for one file always get the second file.

    Raises FileError if a file cannot be written, and what `build` raises.
    """
    model = build(net, sizes, metadata, opset, half)
    large = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= LARGE]
    total = sum(len(tensor.raw_data) for tensor in large)
    paths = [path]
    make_folder_of(path)
    if large and (external or total > ONE_FILE):
        _write_tensors(large, path + ".data")
        paths.append(path + ".data")
    with atomic(path) as file:
        file.write(model.SerializeToString())
    return paths


def _write_layers(m: Model, net: Net, sizes: Sizes) -> dict[str, str]:
    """Write all layers; return the names of the blobs in the model.

    A layer in place gives its blob a new name. All layers that cannot be written are refused at
    once; FreeSizeError means that fixed sizes would help.
    """
    names: dict[str, str] = {}
    refused: list[LayerError] = []
    for layer_name, layer in net.layer_dict.items():
        m.layer = layer_name
        tops = net.top_names[layer_name]
        if layer.type == "Input":
            m.inputs += [
                m.helper.make_tensor_value_info(top, FLOAT, sizes.axes[top]) for top in tops
            ]
            names.update(zip(tops, tops))
            continue
        try:
            outputs = _write_layer(m, net, layer_name, layer, sizes, names)
        except LayerError as error:
            refused.append(error)
            outputs = tops
        names.update(zip(tops, [outputs] if isinstance(outputs, str) else outputs))
    lasting = [error for error in refused if not isinstance(error, FreeSizeError)]
    refused = lasting or refused[:1]
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise RefusedLayersError(refused)
    return names


def _write_layer(
    m: Model, net: Net, name: str, layer: Any, sizes: Sizes, names: Mapping[str, str]
) -> str | Sequence[str]:
    """Write a layer; return the name of its top, or the names of its tops."""
    if not isinstance(layer, EngineLayer):
        reason = "a layer in Python is not written as ONNX; replace it, or compute it outside"
        raise LayerError(name, layer.type, reason)
    layer_type = type_of(layer)
    if layer_type not in WRITERS:
        reason = REASONS.get(layer_type, "")
        raise layer.error(reason) if reason else refusal(layer, f"a layer of type {layer_type}")
    bottoms = net.bottom_names[name]
    shapes = [sizes.shapes[bottom] for bottom in bottoms]
    free = [sizes.free[bottom] for bottom in bottoms]
    return WRITERS[layer_type](m, Source(layer, [names[b] for b in bottoms], shapes, free))


def _axes_of_output(top: str, sizes: Sizes) -> list[int | None]:
    """Return the sizes of an output's axes, None where they are free."""
    return [None if i in sizes.free[top] else n for i, n in enumerate(sizes.shapes[top])]


def _check_opset(onnx: ModuleType, opset: int) -> None:
    latest = onnx.defs.onnx_opset_version()
    if not OPSET <= opset <= latest:
        raise UsageError(f"opset {opset}: needs {OPSET} .. {latest}, of the package onnx here")


def _write_tensors(tensors: list[Any], path: str) -> None:
    """Move the values of tensors of a model into the file `path`."""
    helper = _package().external_data_helper
    with atomic(path) as file:
        for tensor in tensors:
            offset = file.tell()
            file.write(tensor.raw_data)
            helper.set_external_data(tensor, os.path.basename(path), offset, len(tensor.raw_data))
            tensor.ClearField("raw_data")


def _package() -> ModuleType:
    # The package is optional: only this tool needs it.
    try:
        import onnx
        import onnx.external_data_helper
    except ImportError:
        raise CaffeError(
            "the Python package onnx is not installed; pip install onnx, then try again"
        ) from None
    return onnx
