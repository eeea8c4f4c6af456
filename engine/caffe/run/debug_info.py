"""The lines that `debug_info: true` logs: mean magnitudes of blobs, parameters and gradients."""

from __future__ import annotations

import numpy as np

from .. import glog, mode
from ..layers import EngineLayer
from ..memory import Memory, MemoryView
from .wiring import Node, Wiring

#: Why a net with debug_info runs layer by layer.
REASON = "debug_info reads every blob"


def log_forward(wiring: Wiring, node: Node) -> None:
    """Log the mean magnitude of a layer's tops and parameters, after its forward."""
    for number, blob in zip(node.tops, wiring.tops(node)):
        _log(593, f"[Forward] Layer {node.name}, top blob {wiring.blob_names[number]}", blob.values)
    for index, blob in enumerate(node.layer.blobs):
        name = _parameter_name(node, index)
        _log(605, f"[Forward] Layer {node.name}, param blob {name}", blob.values)


def log_backward(wiring: Wiring, node: Node) -> None:
    """Log the mean magnitude of the gradients that a layer's backward computed."""
    for number, blob, computed in zip(node.bottoms, wiring.bottoms(node), node.propagate_down):
        if computed:
            name = wiring.blob_names[number]
            _log(621, f"[Backward] Layer {node.name}, bottom blob {name}", blob.gradient)
    for index, blob in enumerate(node.layer.blobs):
        if _learns(node, index):
            _log(632, f"[Backward] Layer {node.name}, param blob {index}", blob.gradient)


def log_parameters(wiring: Wiring) -> None:
    """Log the norms of all parameters and of their gradients, after a whole backward pass."""
    blobs = [parameter.blob for parameter in wiring.parameters]
    parts = [blob.values for blob in blobs], [blob.gradient for blob in blobs]
    l1 = ", ".join(f"{sum(map(_magnitude, memories)):g}" for memories in parts)
    l2 = ", ".join(f"{sum(map(_squares, memories)) ** 0.5:g}" for memories in parts)
    message = f"    [Backward] All net params (data, diff): L1 norm = ({l1}); L2 norm = ({l2})"
    glog.write("net.cpp:721", message, level=2)


def _log(line: int, subject: str, memory: Memory | MemoryView) -> None:
    """Log the mean magnitude of a blob's values or of its gradient; `subject` names the blob."""
    if not glog.shown():
        return
    part = "diff" if "[Backward]" in subject else "data"
    count = memory.shape.numel()
    mean = np.float32(_magnitude(memory) / count) if count else np.float32(np.nan)
    glog.write(f"net.cpp:{line}", f"    {subject} {part}: {mean:g}")


def _magnitude(memory: Memory | MemoryView) -> float:
    """Return the sum of the magnitudes of the values."""
    return float(memory.tensor(mode.device()).abs().double().sum())


def _squares(memory: Memory | MemoryView) -> float:
    """Return the sum of the squares of the values."""
    return float(memory.tensor(mode.device()).double().square().sum())


def _parameter_name(node: Node, index: int) -> str:
    """Return the name of a parameter, or its number in the layer where it has no name."""
    specs = node.param.param
    return (specs[index].name if index < len(specs) else "") or str(index)


def _learns(node: Node, index: int) -> bool:
    """Return whether the backward of a layer computes the gradient of this parameter."""
    layer = node.layer
    if isinstance(layer, EngineLayer):
        flags = layer.param_propagate_down
        return index >= len(flags) or bool(flags[index])
    specs = node.param.param
    return index >= len(specs) or specs[index].lr_mult != 0
