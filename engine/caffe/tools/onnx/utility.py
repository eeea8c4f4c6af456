"""Writers of the layers that multiply matrices, join, split, reduce and reshape blobs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .model import FLOAT, Model, Source, linear, refusal, writes


@writes
def InnerProduct(m: Model, source: Source) -> str:
    """Write Gemm over the bottom with its axes from 1 on joined."""
    p = source.param.inner_product_param
    if source.axis(p.axis) != 1:
        raise refusal(source.layer, f"axis {p.axis} (other than 1)")
    parameters = [m.constant(values) for values in source.parameters()]
    flat = m.add("Flatten", source.input, axis=1)
    return m.add("Gemm", flat, *parameters, transB=int(not p.transpose))


@writes
def Concat(m: Model, source: Source) -> str:
    """Write Concat."""
    p = source.param.concat_param
    axis = p.concat_dim if p.HasField("concat_dim") else p.axis
    return m.add("Concat", *source.inputs, axis=source.axis(axis))


@writes
def Slice(m: Model, source: Source) -> str | Sequence[str]:
    """Write Split at the slice points, or into equal parts."""
    p, tops = source.param.slice_param, len(source.param.top)
    if tops == 1:
        return source.input
    axis = source.axis(p.slice_dim if p.HasField("slice_dim") else p.axis)
    size = source.shapes[0][axis]
    points = list(p.slice_point) or [size * i // tops for i in range(1, tops)]
    sizes = m.integers(*np.diff([0, *points, size]))
    return m.add_split("Split", tops, source.input, sizes, axis=axis)


@writes
def Eltwise(m: Model, source: Source) -> str:
    """Write the sum, the product or the maximum of the bottoms."""
    p, inputs = source.param.eltwise_param, source.inputs
    if p.operation == p.MAX:
        return m.add("Max", *inputs)
    if p.coeff:
        inputs = [linear(m, x, coefficient, 0) for x, coefficient in zip(inputs, p.coeff)]
    result = inputs[0]
    for x in inputs[1:]:
        result = m.add("Add" if p.operation == p.SUM else "Mul", result, x)
    return result


@writes
def Flatten(m: Model, source: Source) -> str:
    """Write the bottom with its axes from `axis` to the last joined."""
    p = source.param.flatten_param
    first, last = source.axis(p.axis), source.axis(p.end_axis)
    if last != source.ndim - 1:
        raise refusal(source.layer, f"end_axis {p.end_axis} (other than the last)")
    return m.add("Reshape", source.input, m.integers(*[0] * first, -1))


@writes
def Reshape(m: Model, source: Source) -> str:
    """Write Reshape; 0 and -1 mean the same in Caffe and ONNX."""
    p = source.param.reshape_param
    if p.axis != 0 or p.num_axes != -1:
        setting = f"axis {p.axis} with num_axes {p.num_axes} (other than all axes)"
        raise refusal(source.layer, setting)
    return m.add("Reshape", source.input, m.integers(*p.shape.dim))


@writes
def ArgMax(m: Model, source: Source) -> str:
    """Write the index of the maximum along the axis, as float32."""
    p = source.param.argmax_param
    if p.out_max_val or p.top_k != 1 or not p.HasField("axis"):
        setting = "ArgMax other than top_k 1 along an axis, without values,"
        raise refusal(source.layer, setting)
    index = m.add("ArgMax", source.input, axis=source.axis(p.axis), keepdims=1)
    return m.add("Cast", index, to=FLOAT)


@writes
def Reduction(m: Model, source: Source) -> str:
    """Write the sum, the sum of |x| or x^2, or the mean, over the axes from `axis` on."""
    p, x = source.param.reduction_param, source.input
    first = source.axis(p.axis)
    axes = m.integers(*range(first, source.ndim))
    if p.operation == p.ASUM:
        x = m.add("Abs", x)
    elif p.operation == p.SUMSQ:
        x = m.add("Mul", x, x)
    result = m.add("ReduceSum", x, axes, keepdims=0)
    if p.operation == p.MEAN:
        sizes = m.add("Slice", m.add("Shape", x), m.integers(first), m.integers(source.ndim))
        count = m.add("Cast", m.add("ReduceProd", sizes, keepdims=0), to=FLOAT)
        result = m.add("Div", result, count)
    return linear(m, result, p.coeff, 0)


@writes
def Tile(m: Model, source: Source) -> str:
    """Write Tile along the axis."""
    p = source.param.tile_param
    repeats = [1] * source.ndim
    repeats[source.axis(p.axis)] = p.tiles
    return m.add("Tile", source.input, m.integers(*repeats))


@writes
def Split(m: Model, source: Source) -> Sequence[str]:
    """Give the bottom to every top."""
    return [source.input] * len(source.param.top)


@writes
def Silence(m: Model, source: Source) -> Sequence[str]:
    """Write nothing: the layer has no top."""
    return []
