"""How many multiply-adds a net takes, from its NetParameter alone."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Sequence, Tuple

Shape = Tuple[int, ...]
SAME = ("ReLU", "Dropout", "Eltwise", "Scale", "Softmax", "LRN", "Split")


def _spatial(p: Any, name: str, default: int) -> List[int]:
    """A geometry field of a layer as (height, width)."""
    field = "kernel_size" if name == "kernel" else name
    if name != "dilation" and p.HasField(f"{name}_h"):
        return [getattr(p, f"{name}_h"), getattr(p, f"{name}_w")]
    value = getattr(p, field)
    values = list(value) if hasattr(value, "__len__") else [value]
    values = values or [default]
    return values * 2 if len(values) == 1 else values


def count(net: Any, size: Sequence[int] = ()) -> Dict[str, int]:
    """Multiply-adds of each Convolution, Deconvolution and InnerProduct of one forward pass.

    net: a NetParameter with Input layers. size: height and width of the input, in place of its own.
    Padding counts as values do. Raises ValueError for a layer type that is not known here.
    """
    shapes: Dict[str, Shape] = {}
    counts: Dict[str, int] = {}
    for layer in net.layer:
        bottom = [shapes[name] for name in layer.bottom]
        if layer.type == "Input":
            for top, given in zip(layer.top, layer.input_param.shape):
                shape = tuple(given.dim)
                shapes[top] = (*shape[:2], *size) if size and len(shape) == 4 else shape
            continue
        if layer.type in ("Convolution", "Deconvolution"):
            shape, counts[layer.name] = _convolution(layer, bottom[0])
        elif layer.type == "Pooling":
            shape = _pooling(layer.pooling_param, bottom[0])
        elif layer.type == "InnerProduct":
            outputs = layer.inner_product_param.num_output
            counts[layer.name] = math.prod(bottom[0]) * outputs
            shape = (bottom[0][0], outputs)
        elif layer.type == "Concat":
            channels = sum(b[1] for b in bottom)
            shape = (bottom[0][0], channels, *bottom[0][2:])
        elif layer.type == "Crop":
            shape = (*bottom[0][: layer.crop_param.axis], *bottom[1][layer.crop_param.axis :])
        elif layer.type in SAME:
            shape = bottom[0]
        else:
            raise ValueError(
                f"layer {layer.name}: found type {layer.type}, needed one of a net "
                f"without data layers and losses; count its deploy net"
            )
        shapes.update((top, shape) for top in layer.top)
    return counts


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
