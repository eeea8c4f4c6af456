"""A net as an ONNX model, and what ONNX Runtime computes with it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import caffe
import onnx
from caffe.errors import CaffeError
from caffe.tools import onnx as writer
from caffe.tools.onnx.model import FreeSizeError

from ..compare import files_of, randomize
from ..layers import CASES, Case
from ..layers.case import Run
from ..nets import NETS
from .nets import NETS as SMALL
from .nets import param_of


class Export(NamedTuple):
    """What became of a net.

    sizes: for each input, the size of each axis, or its name where it is free. operators: layer
    type -> the ONNX operators of its layers. nodes: the number of nodes. error: the largest
    difference from ONNX Runtime, as a share of an output's largest value, at all sizes that were
    tried. refusal: why the net has no ONNX form, or "". seconds: for writing and checking.
    """

    sizes: dict[str, list[int | str]]
    operators: dict[str, set[str]]
    nodes: int
    error: float
    refusal: str
    seconds: float


def export(net: caffe.Net) -> Export:
    """Write a net as an ONNX model, check the model, and run it."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.onnx")
        try:
            try:
                sizes = writer.find_sizes(net)
                writer.write(net, path, sizes)
            except FreeSizeError:
                sizes = writer.find_sizes(net, fixed=True)
                writer.write(net, path, sizes)
        except CaffeError as error:
            return Export({}, {}, 0, 0.0, str(error), time.perf_counter() - start)
        onnx.checker.check_model(path, full_check=True)
        differences = writer.check(net, path, sizes)
        model = onnx.load(path, load_external_data=False)
    assert differences is not None
    # Outputs that are 0 everywhere would agree whatever the model computes.
    assert not all(difference.blank for difference in differences)
    worst = max(difference.error for difference in differences)
    nodes = [node for node in model.graph.node if not node.name.startswith("output/")]
    operators = _operators(net, nodes)
    seconds = time.perf_counter() - start
    return Export(sizes.axes, operators, len(nodes), worst, "", seconds)


def _operators(net: caffe.Net, nodes: Iterable[Any]) -> dict[str, set[str]]:
    """Return the operators of the layers of each type. A node's name begins with its layer's."""
    operators: dict[str, set[str]] = {
        layer.type: set() for layer in net.layers if layer.type != "Input"
    }
    types = {name: layer.type for name, layer in zip(net._layer_names, net.layers)}
    for node in nodes:
        operators[types[node.name.rpartition("/")[0]]].add(node.op_type)
    return operators


def build(param: Any) -> caffe.Net:
    """Return the TEST net of a NetParameter with random weights."""
    caffe.set_mode_cpu()
    with files_of(param) as (path, _):
        caffe.set_random_seed(0)
        net = caffe.Net(path, caffe.TEST)
    randomize(net)
    return net


def without_softmax(param: Any) -> Any:
    """Return a NetParameter without Softmax at its end, whose values say less than the scores."""
    read = {blob for layer in param.layer for blob in layer.bottom}
    last = [n for n in param.layer if n.type == "Softmax" and n.top[0] not in read]
    for layer in last:
        param.layer.remove(layer)
    return param


def of_zoo(name: str) -> Export:
    """Export a net of the zoo."""
    return export(build(without_softmax(NETS[name]())))


def of_small(name: str) -> Export:
    """Export a net of BVLC Caffe's layers."""
    return export(build(param_of(SMALL[name])))


def of_case(case: Case) -> Export:
    """Export the layer of a case of the zoo."""
    return export(Run(case).net)


def cases() -> Iterator[Case]:
    """Yield the zoo's cases in TEST."""
    return (case for case in CASES if case.phase == caffe.TEST)
