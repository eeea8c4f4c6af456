"""Drawings of nets, as Graphviz graphs.

`dot_text` needs no other package. pycaffe's functions need pydot, and pictures need Graphviz too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from . import files
from .errors import CaffeError
from .proto import caffe_pb2

LAYER_STYLE_DEFAULT = {"shape": "record", "fillcolor": "#6495ED", "style": "filled"}
NEURON_LAYER_STYLE = {"shape": "record", "fillcolor": "#90EE90", "style": "filled"}
BLOB_STYLE = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}

_COLORS = {
    "Convolution": "#FF5050",
    "Deconvolution": "#FF5050",
    "Pooling": "#FF9900",
    "InnerProduct": "#CC33FF",
}
_LEARNED = {
    "Convolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "InnerProduct": "inner_product_param",
}

Style = dict[str, str]
#: Nodes by key with label and style, and edges (key, key, label).
Graph = tuple[dict[str, tuple[str, Style]], list[tuple[str, str, str]]]


def get_pooling_types_dict() -> dict[int, str]:
    """Return the names of the pooling methods by their numbers."""
    return {number: name for name, number in caffe_pb2.PoolingParameter.PoolMethod.items()}


def get_edge_label(layer: Any) -> str:
    """Return the text on the edges from a LayerParameter to its tops."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in _LEARNED:
        return str(getattr(layer, _LEARNED[layer.type]).num_output)
    return '""'


def get_layer_lr_mult(layer: Any) -> tuple[float, float]:
    """Return the learning-rate multipliers of the weights and the bias of a LayerParameter.

    Raises ValueError for a type that is not Convolution, Deconvolution or InnerProduct.
    """
    if layer.type not in _LEARNED:
        raise ValueError(f"{layer.type} layers do not have a learning rate multiplier")
    weights, bias = [*(spec.lr_mult for spec in layer.param[:2]), 1.0, 1.0][:2]
    return weights, bias if len(layer.param) > 1 else 1.0


def get_layer_label(layer: Any, rankdir: str, display_lrm: bool = False) -> str:
    """Return the text in the node of a LayerParameter, in double quotes.

    rankdir: LR, RL, TB or BT; in a graph that runs sideways the text has several lines.
    display_lrm: add the learning-rate multipliers, where the layer has any.

    As in pycaffe, the window of a layer is the first entry of each extent, without _h and _w.
    """
    pool = layer.pooling_param
    parts = [layer.name, f"({layer.type})"]
    if layer.type == "Pooling":
        parts[1] = f"({layer.type} {get_pooling_types_dict()[pool.pool]})"
        window = (pool.kernel_size, pool.stride, pool.pad)
    else:
        p = layer.convolution_param
        window = ([*p.kernel_size, 1][0], [*p.stride, 1][0], [*p.pad, 0][0])
    if layer.type in ("Convolution", "Deconvolution", "Pooling"):
        parts += [f"kernel size: {window[0]}", f"stride: {window[1]}", f"pad: {window[2]}"]
    if display_lrm and layer.type in _LEARNED:
        parts.append("lr mult: {}, {}".format(*get_layer_lr_mult(layer)))
    return '"' + (" " if rankdir in ("TB", "BT") else "\\n").join(parts) + '"'


def choose_color_by_layertype(layertype: str) -> str:
    """Return the colour of the node of a layer type, `#RRGGBB`."""
    return _COLORS.get(layertype, LAYER_STYLE_DEFAULT["fillcolor"])


def _layers_in(net: Any, phase: int | None) -> Iterator[Any]:
    """Yield the layers of a NetParameter that `phase` includes; None includes all layers."""
    for layer in net.layer:
        included = {rule.phase for rule in layer.include}
        excluded = {rule.phase for rule in layer.exclude}
        if phase is None or ((not included or phase in included) and phase not in excluded):
            yield layer


def _graph(net: Any, rankdir: str, label_edges: bool, phase: int | None, lrm: bool) -> Graph:
    nodes: dict[str, tuple[str, Style]] = {}
    edges: list[tuple[str, str, str]] = []
    for layer in _layers_in(net, phase):
        key = f"{layer.name}_{layer.type}"
        style = dict(LAYER_STYLE_DEFAULT, fillcolor=choose_color_by_layertype(layer.type))
        if len(layer.bottom) == len(layer.top) == 1 and layer.bottom[0] == layer.top[0]:
            style = NEURON_LAYER_STYLE
        nodes[key] = (get_layer_label(layer, rankdir, lrm), style)
        for name in layer.bottom:
            nodes[name + "_blob"] = (name, BLOB_STYLE)
            edges.append((name + "_blob", key, '""'))
        for name in layer.top:
            nodes[name + "_blob"] = (name, {})
            edges.append((key, name + "_blob", get_edge_label(layer) if label_edges else '""'))
    return nodes, edges


def _quoted(text: str) -> str:
    return text if text.startswith('"') else '"' + text.replace('"', '\\"') + '"'


def dot_text(
    caffe_net: Any,
    rankdir: str = "LR",
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> str:
    """Return a NetParameter as a graph in Graphviz's language; arguments as `get_pydot_graph`."""
    nodes, edges = _graph(caffe_net, rankdir, label_edges, phase, display_lrm)
    lines = [f"digraph {_quoted(caffe_net.name or 'Net')} {{", f"rankdir={rankdir};"]
    for label, style in nodes.values():
        styles = ", ".join(f"{name}={_quoted(value)}" for name, value in style.items())
        lines.append(_quoted(label) + (f" [{styles}];" if style else ";"))
    for source, target, label in edges:
        ends = f"{_quoted(nodes[source][0])} -> {_quoted(nodes[target][0])}"
        lines.append(f"{ends} [label={_quoted(label)}];")
    return "\n".join([*lines, "}", ""])


def get_pydot_graph(
    caffe_net: Any,
    rankdir: str,
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> Any:
    """Return a NetParameter as a pydot.Dot.

    rankdir: LR, RL, TB or BT, the direction of the graph.
    label_edges: label the edges with batch sizes and numbers of outputs.
    phase: leave out the layers of the other phase; None draws all layers.
    display_lrm: add learning-rate multipliers to the nodes.

    Raises CaffeError without the package pydot.
    """
    pydot = _pydot()
    nodes, edges = _graph(caffe_net, rankdir, label_edges, phase, display_lrm)
    graph = pydot.Dot(caffe_net.name or "Net", graph_type="digraph", rankdir=rankdir)
    drawn = {key: pydot.Node(label, **style) for key, (label, style) in nodes.items()}
    for node in drawn.values():
        graph.add_node(node)
    for source, target, label in edges:
        graph.add_edge(pydot.Edge(drawn[source], drawn[target], label=label))
    return graph


def _pydot() -> Any:
    """Return the optional package pydot. Raises CaffeError without it."""
    try:
        import pydot
    except ImportError:
        raise CaffeError(
            "drawing needs the package pydot (`pip install pydot`) and Graphviz; dot_text(net) "
            "returns the graph as text without them"
        ) from None
    return pydot


def draw_net(
    caffe_net: Any,
    rankdir: str,
    ext: str = "png",
    phase: int | None = None,
    display_lrm: bool = False,
) -> bytes:
    """Return a NetParameter as a picture of the file type `ext`, in bytes.

    Raises CaffeError without pydot or Graphviz.
    """
    graph = get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm)
    try:
        return graph.create(format=ext)
    except (OSError, AssertionError) as error:
        reason = (str(error).strip() or "it failed").splitlines()[0]
        raise CaffeError(f"Graphviz's program dot made no {ext} picture: {reason}") from None


def draw_net_to_file(
    caffe_net: Any,
    filename: str,
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Write the picture of `draw_net` to a file, in the type of the file name's extension.

    A file with the extension .dot or .gv holds the graph as text, which needs no other program.
    """
    ext = os.path.splitext(filename)[1][1:]
    if ext in ("dot", "gv"):
        text = dot_text(caffe_net, rankdir, phase=phase, display_lrm=display_lrm)
        picture = text.encode()
    else:
        picture = draw_net(caffe_net, rankdir, ext, phase, display_lrm)
    with files.atomic(filename) as file:
        file.write(picture)
