"""Writers of the layers that multiply matrices, join, split, reduce and select."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...proto import caffe_pb2
from .arrays import END, Array, constant, inputs, number, product, size_of, sizes_of
from .model import BOOL, FLOAT, INT64, Model, Source, linear, refusal, writes, writes_also


@writes
def InnerProduct(m: Model, source: Source) -> str:
    """Write Gemm over the bottom with its axes from `axis` on joined."""
    p = source.param.inner_product_param
    axis = source.axis(p.axis)
    weights, *bias = source.parameters()
    if source.layer.type == "CInnerProduct":
        weights, *bias = source.layer.masked_arrays()
    if p.normalize:
        lengths = np.linalg.norm(weights, axis=0 if p.transpose else 1, keepdims=True)
        weights = weights / np.maximum(lengths, 1e-12)
    parameters = [m.constant(values) for values in (weights, *bias)]
    flat = m.add("Flatten", source.input, axis=axis)
    rows = m.add("Gemm", flat, *parameters, transB=int(not p.transpose))
    if axis == 1:
        return rows
    before = sizes_of(m, source, range(axis))
    return Array(m, rows).reshape(*before, p.num_output).name


writes_also(InnerProduct, "CInnerProduct")


@writes
def Embed(m: Model, source: Source) -> str:
    """Write Gather from the table, and Add of the bias."""
    table, *bias = source.parameters()
    index = m.add("Cast", source.input, to=INT64)
    rows = m.add("Gather", m.constant(table), index, axis=0)
    return m.add("Add", rows, m.constant(bias[0])) if bias else rows


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
    if source.is_free(axis):
        return _slices(m, source, axis, tops)
    size = source.shapes[0][axis]
    points = list(p.slice_point) or [size * i // tops for i in range(1, tops)]
    sizes = m.integers(*np.diff([0, *points, size]))
    return m.add_split("Split", tops, source.input, sizes, axis=axis)


def _slices(m: Model, source: Source, axis: int, tops: int) -> list[str]:
    """Write a Slice for each top, along an axis whose size is free."""
    x, size = Array(m, source.input), size_of(m, source, axis)
    points = list(source.param.slice_param.slice_point)
    cuts = [0, *(points or [size * i // tops for i in range(1, tops)]), END]
    return [x.slice(axis, a, b).name for a, b in zip(cuts, cuts[1:])]


@writes
def Eltwise(m: Model, source: Source) -> str:
    """Write the sum, the product or the maximum of the bottoms."""
    p, names = source.param.eltwise_param, source.inputs
    if p.operation == p.MAX:
        return m.add("Max", *names)
    if p.coeff_blob:
        *names, factors = names
        table = Array(m, factors)
        trailing = range(len(source.shapes[-1]) - 1, source.ndim)
        parts = (
            table.gather(constant(m, i, INT64)).unsqueeze(*trailing) for i in range(len(names))
        )
        names = [(Array(m, x) * part).name for x, part in zip(names, parts)]
    if p.coeff:
        names = [linear(m, x, coefficient, 0) for x, coefficient in zip(names, p.coeff)]
    result = names[0]
    for x in names[1:]:
        result = m.add("Add" if p.operation == p.SUM else "Mul", result, x)
    return result


@writes
def ArgMax(m: Model, source: Source) -> str:
    """Write the indices of the maxima along the axis, or over each image, as float32."""
    p, x = source.param.argmax_param, Array(m, source.input)
    along = p.HasField("axis")
    axis = source.axis(p.axis) if along else 1
    if not along:
        x = x.reshape(0, -1)
    elif p.top_k == 1 and not p.out_max_val:
        # Of equal values, Caffe takes the last.
        index = m.add("ArgMax", x.name, axis=axis, keepdims=1, select_last_index=1)
        return m.add("Cast", index, to=FLOAT)
    size = product(sizes_of(m, source, [axis] if along else range(1, source.ndim)))
    values, places = x.slice(axis, -1, -END, -1).top_k(p.top_k, axis)
    indices = ((size - 1) - places).to(FLOAT)
    if along:
        return (values if p.out_max_val else indices).name
    joined = indices.concat(1, values) if p.out_max_val else indices
    ones = [1] * max(source.ndim - 3, 0)
    return joined.reshape(0, 2 if p.out_max_val else 1, p.top_k, *ones).name


@writes
def Reduction(m: Model, source: Source) -> str:
    """Write the sum, the sum of |x| or x^2, or the mean, over the axes from `axis` on."""
    p, x = source.param.reduction_param, Array(m, source.input)
    first = source.axis(p.axis)
    axes = range(first, source.ndim)
    if p.operation == p.ASUM:
        x = x.apply("Abs")
    elif p.operation == p.SUMSQ:
        x = x * x
    result = x.sum(*axes, keepdims=False)
    if p.operation == p.MEAN:
        # A free size has one axis; the result may have none.
        count = number(product(sizes_of(m, source, axes)))
        result = result / (count.reshape() if isinstance(count, Array) else count)
    return linear(m, result.name, p.coeff, 0)


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


@writes
def Parameter(m: Model, source: Source) -> str:
    """Write the parameter as a constant."""
    return m.constant(source.parameters()[0])


@writes
def DummyData(m: Model, source: Source) -> Sequence[str]:
    """Write constants that a filler of type constant sets."""
    layer, p = source.layer, source.param.dummy_data_param
    if any(filler.type != "constant" for filler in layer.fillers):
        raise refusal(layer, "a random filler", "make it an Input layer, or fill with constants")
    shapes = [list(shape.dim) for shape in p.shape] or [
        [p.num[0], p.channels[0], p.height[0], p.width[0]]
    ]
    shapes = shapes * len(source.param.top) if len(shapes) == 1 else shapes
    return [m.constant(np.full(s, f.value)) for s, f in zip(shapes, layer.fillers)]


@writes
def BatchReindex(m: Model, source: Source) -> str:
    """Write Gather of the rows."""
    x, index = inputs(m, source)
    return x.gather(index.to(INT64)).name


@writes
def Filter(m: Model, source: Source) -> Sequence[str]:
    """Write Gather of the rows that the selector selects."""
    *bottoms, selector = inputs(m, source)
    rows = selector.reshape(-1).to(BOOL).nonzero()
    return [x.gather(rows).name for x in bottoms]


@writes
def GradientScaler(m: Model, source: Source) -> str:
    """Write the bottom as it is: the layer scales the gradient alone."""
    return source.input


@writes
def MatMul(m: Model, source: Source) -> str:
    """Write MatMul."""
    return m.add("MatMul", *source.inputs)


writes_also(MatMul, "BatchMatMul")


@writes
def MaskPooling(m: Model, source: Source) -> str:
    """Write the product of features and masks."""
    return m.add("Mul", *source.inputs)


@writes
def LabelSpecificAdd(m: Model, source: Source) -> str:
    """Write the bottom as it is, as the layer does in TEST."""
    return _unless_transformed(source, source.param.label_specific_add_param)


@writes
def CosinAdd(m: Model, source: Source) -> str:
    """Write the bottom as it is, as the layer does in TEST."""
    return _unless_transformed(source, source.param.cosin_add_param)


@writes
def CombinedMargin(m: Model, source: Source) -> str:
    """Write the bottom as it is, as the layer does in TEST."""
    return _unless_transformed(source, source.param.combined_margin_param)


def _unless_transformed(source: Source, p: Any) -> str:
    """Return the first bottom, unless the layer changes it by the labels."""
    if source.layer.phase != caffe_pb2.TEST or p.transform_test:
        raise refusal(source.layer, "transform_test")
    return source.input
