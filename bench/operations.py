"""Counts the multiply-adds of a net, from its NetParameter alone."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Sequence, Tuple

Shape = Tuple[int, ...]
#: Layer types whose top has the shape of their first bottom, and no multiply-adds that count.
SAME_SHAPE = ("ReLU", "Dropout", "Eltwise", "Scale", "Softmax", "LRN", "Split")


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
        return _pooling(layer.pooling_param, bottom), 0
    if layer.type == "InnerProduct":
        outputs = layer.inner_product_param.num_output
        return (bottom[0], outputs), math.prod(bottom) * outputs
    if layer.type == "Concat":
        return (bottom[0], sum(b[1] for b in bottoms), *bottom[2:]), 0
    if layer.type == "Crop":
        axis = layer.crop_param.axis
        return (*bottom[:axis], *bottoms[1][axis:]), 0
    if layer.type in SAME_SHAPE:
        return bottom, 0
    raise ValueError(
        f"layer {layer.name}: has type {layer.type}, needs a type of nets without data layers and "
        "losses; count its deploy net"
    )


def _spatial(p: Any, name: str, default: int) -> List[int]:
    """Return a field of a layer's window as (height, width)."""
    field = "kernel_size" if name == "kernel" else name
    if name != "dilation" and p.HasField(f"{name}_h"):
        return [getattr(p, f"{name}_h"), getattr(p, f"{name}_w")]
    value = getattr(p, field)
    values = list(value) if hasattr(value, "__len__") else [value]
    values = values or [default]
    return values * 2 if len(values) == 1 else values


def _convolution(layer: Any, bottom: Shape) -> Tuple[Shape, int]:
    p = layer.convolution_param
    kernel, stride = _spatial(p, "kernel", 0), _spatial(p, "stride", 1)
    pad, dilation = _spatial(p, "pad", 0), _spatial(p, "dilation", 1)
    n, channels, *size = bottom
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    each = math.prod(kernel) * channels * p.num_output // p.group
    if layer.type == "Deconvolution":
        top = [s * (i - 1) + r - 2 * b for i, r, s, b in zip(size, reach, stride, pad)]
        return (n, p.num_output, *top), n * math.prod(size) * each
    top = [(i + 2 * b - r) // s + 1 for i, r, s, b in zip(size, reach, stride, pad)]
    return (n, p.num_output, *top), n * math.prod(top) * each


def _pooling(p: Any, bottom: Shape) -> Shape:
    if p.global_pooling:
        return (*bottom[:2], 1, 1)
    top = []
    kernel, stride, pad = (_spatial(p, name, 1) for name in ("kernel", "stride", "pad"))
    for i, k, s, b in zip(bottom[2:], kernel, stride, pad):
        reach = (i + 2 * b - k) / s
        out = (math.ceil if p.round_mode == p.CEIL else math.floor)(reach) + 1
        top.append(out - 1 if any(pad) and (out - 1) * s >= i + b else out)
    return (*bottom[:2], *top)
