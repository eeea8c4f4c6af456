"""A net as an ONNX model, and the model as two files."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from ...errors import CaffeError, LayerError
from ...files import atomic
from ...layers import EngineLayer
from ...net import Net
from .model import FLOAT, WRITERS, Model, Source, refusal

OPSET, IR_VERSION = 17, 8
#: Bytes from which on a tensor lies in the file beside the model.
LARGE = 1024


def build(net: Net) -> Any:
    """Return the ONNX model (a ModelProto) of a net.

    Inputs and outputs have the net's names and element type float32. The heights and widths of
    inputs with 4 axes are free. Raises LayerError for a layer, or a setting of a layer, that ONNX
    cannot express, and CaffeError if the package `onnx` is missing.
    """
    onnx = _package()
    helper = onnx.helper
    m = Model(helper, onnx.numpy_helper)
    # The names of the blobs in the model; a layer in place gives its blob a new name.
    names: dict[str, str] = {}
    for layer_name, layer in net.layer_dict.items():
        if not isinstance(layer, EngineLayer):
            raise LayerError(layer_name, layer.type, "a Python layer is not written as ONNX")
        m.layer = layer_name
        tops = net.top_names[layer_name]
        if layer.type == "Input":
            m.inputs += [_input(helper, top, net.blobs[top].shape) for top in tops]
            names.update(zip(tops, tops))
            continue
        if layer.type not in WRITERS:
            raise refusal(layer, f"a layer of type {layer.type}")
        bottoms = net.bottom_names[layer_name]
        shapes = [net.blobs[bottom].shape for bottom in bottoms]
        outputs = WRITERS[layer.type](m, Source(layer, [names[b] for b in bottoms], shapes))
        names.update(zip(tops, [outputs] if isinstance(outputs, str) else outputs))
    m.layer = "output"
    results = []
    for top in net.outputs:
        axes = [None] * len(net.blobs[top].shape)
        results.append(helper.make_tensor_value_info(top, FLOAT, axes))
        m.nodes.append(helper.make_node("Identity", [names[top]], [top], name=f"output/{top}"))
    graph = helper.make_graph(m.nodes, net.name or "net", m.inputs, results, m.tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return model


def write(net: Net, path: str) -> None:
    """Write `build(net)` to `path` and, before it, the large weights to `path`.data.

    Raises FileError if a file cannot be written, and what `build` raises.
    """
    model = build(net)
    large = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= LARGE]
    if large:
        _write_tensors(large, path + ".data")
    with atomic(path) as file:
        file.write(model.SerializeToString())


def _write_tensors(tensors: list[Any], path: str) -> None:
    """Move the values of tensors of a model into the file `path`."""
    helper = _package().external_data_helper
    with atomic(path) as file:
        for tensor in tensors:
            offset = file.tell()
            file.write(tensor.raw_data)
            helper.set_external_data(tensor, os.path.basename(path), offset, len(tensor.raw_data))
            tensor.ClearField("raw_data")


def _input(helper: Any, name: str, shape: tuple[int, ...]) -> Any:
    axes: list[int | str] = list(shape)
    if len(axes) == 4:
        axes[2:] = f"{name}_height", f"{name}_width"
    return helper.make_tensor_value_info(name, FLOAT, axes)


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
