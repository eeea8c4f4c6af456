"""The lines that BVLC Caffe logs while it builds a net."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from . import glog
from .blob import Blob
from .text import to_text

#: Layer types in which BVLC Caffe creates another layer, a Softmax, of the same name.
INNER_LAYER = {"InfogainLoss", "SoftmaxWithLoss"}


def _log(line: int, message: str) -> None:
    glog.write(f"net.cpp:{line}", message)


def begin(param: Any) -> None:
    """Log the filtered NetParameter, before its layers are built."""
    if glog.shown():
        place, message = "net.cpp:53", "Initializing net from parameters: "
        glog.write(place, message, text=to_text(param))


def creating(param: Any, automatic_tops: int) -> None:
    """Log a LayerParameter, before its layer is set up."""
    name = param.name
    glog.write("layer_factory.hpp:77", f"Creating layer {name}")
    _log(86, f"Creating Layer {name}")
    for bottom in param.bottom:
        _log(408, f"{name} <- {bottom}")
    for top, bottom in list(zip_longest(param.top, param.bottom))[: len(param.top)]:
        _log(369 if top == bottom else 382, f"{name} -> {top}" + " (in-place)" * (top == bottom))
    for _ in range(automatic_tops):
        _log(380, f"{name} -> (automatic)")
    if param.type in INNER_LAYER or (param.type == "Scale" and param.scale_param.bias_term):
        glog.write("layer_factory.hpp:77", f"Creating layer {name}")


def sharing(name: str, owner: str, index: int) -> None:
    """Log that a parameter is the one of this name that layer `owner` has at `index`."""
    message = f"Sharing parameters '{name}' owned by layer '{owner}', param index {index}"
    _log(467, message)


def set_up(name: str, top: Sequence[Blob], loss_weights: Sequence[float], memory: int) -> None:
    """Log the tops of a layer. `memory` is the number of values in all tops of the net so far."""
    _log(124, f"Setting up {name}")
    for blob, weight in zip(top, loss_weights):
        _log(131, "Top shape: " + "".join(f"{n} " for n in blob.shape) + f"({blob.count})")
        if weight:
            _log(134, f"    with loss weight {weight:g}")
    _log(139, f"Memory required for data: {4 * memory}")


def end(names: Sequence[str], needs_backward: Sequence[bool], outputs: Sequence[str]) -> None:
    """Log which layers run backward, last layer first, and the output blobs."""
    for name, needs in reversed(list(zip(names, needs_backward))):
        if needs:
            _log(200, f"{name} needs backward computation.")
        else:
            _log(202, f"{name} does not need backward computation.")
    for output in outputs:
        _log(244, f"This network produces output {output}")
    _log(257, "Network initialization done.")
