"""Counts the multiply-adds of a net, from its NetParameter alone."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Sequence, Tuple

from caffe.layers.windows import read_window

Shape = Tuple[int, ...]
#: Layer types whose top has the shape of their first bottom, and no multiply-adds that count.
SAME_SHAPE = (
    "ReLU",
    "PReLU",
    "Dropout",
    "Eltwise",
    "BatchNorm",
    "Scale",
    "Softmax",
    "LRN",
    "Split",
)


def count(net: Any, size: Sequence[int] = ()) -> Dict[str, int]:
    """Return the multiply-adds of each Convolution, Deconvolution and InnerProduct of a forward.

    net: a NetParameter with Input layers. size: (height, width) of the input, in place of the
    net's own. Products with padding count. Raises ValueError for an unknown layer type.
    """
    shapes: Dict[str, Shape] = {}
    counts: Dict[str, int] = {}
    for layer in net.layer:
        if layer.type == "Input":
            for top, blob_shape in zip(layer.top, layer.input_param.shape):
                shape = tuple(blob_shape.dim)
                shapes[top] = (*shape[:2], *size) if size and len(shape) == 4 else shape
            continue
        shape, multiply_adds = _layer(layer, [shapes[name] for name in layer.bottom])
        if multiply_adds:
            counts[layer.name] = multiply_adds
        shapes.update((top, shape) for top in layer.top)
    return counts


def _layer(layer: Any, bottoms: List[Shape]) -> Tuple[Shape, int]:
    """Return the shape of a layer's tops and its multiply-adds."""
    bottom = bottoms[0] if bottoms else ()
    if layer.type in ("Convolution", "Deconvolution"):
        return _convolution(layer, bottom)
    if layer.type == "Pooling":
        return _pooling(layer, bottom), 0
    if layer.type == "InnerProduct":
        outputs = layer.inner_product_param.num_output
        return (bottom[0], outputs), math.prod(bottom) * outputs
    if layer.type == "Concat":
        return (bottom[0], sum(b[1] for b in bottoms), *bottom[2:]), 0
    if layer.type == "Flatten":
        return (bottom[0], math.prod(bottom[1:])), 0
    if layer.type == "Slice":
        return (bottom[0], bottom[1] // len(layer.top), *bottom[2:]), 0
    if layer.type == "Crop":
        axis = layer.crop_param.axis
        return (*bottom[:axis], *bottoms[1][axis:]), 0
    if layer.type in SAME_SHAPE:
        return bottom, 0
    raise ValueError(
        f"layer {layer.name}: has type {layer.type}, needs a type of nets without data layers and "
        "losses; count its deploy net"
    )


def _convolution(layer: Any, bottom: Shape) -> Tuple[Shape, int]:
    p, window = layer.convolution_param, read_window(layer.type, layer, axes=2)
    assert window is not None
    n, channels, *size = bottom
    each = math.prod(window.kernel) * channels * p.num_output // p.group
    axes = list(zip(size, window.reach, window.stride, window.pad))
    if layer.type == "Deconvolution":
        top = [s * (i - 1) + r - 2 * b for i, r, s, b in axes]
        return (n, p.num_output, *top), n * math.prod(size) * each
    top = [(i + 2 * b - r) // s + 1 for i, r, s, b in axes]
    return (n, p.num_output, *top), n * math.prod(top) * each


def _pooling(layer: Any, bottom: Shape) -> Shape:
    p, window = layer.pooling_param, read_window(layer.type, layer, axes=2)
    if window is None:
        return (*bottom[:2], 1, 1)
    top = []
    for i, k, s, b in zip(bottom[2:], window.kernel, window.stride, window.pad):
        steps = (i + 2 * b - k) / s
        out = (math.ceil if p.round_mode == p.CEIL else math.floor)(steps) + 1
        top.append(out - 1 if any(window.pad) and (out - 1) * s >= i + b else out)
    return (*bottom[:2], *top)
