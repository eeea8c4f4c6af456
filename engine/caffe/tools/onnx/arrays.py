"""Tensors of a model with NumPy's operators, for layers that take several ONNX nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import numpy as np

from .model import BOOL, FLOAT, INT64, Model, Source

#: A size along an axis: a number, or where it is free a tensor of one int64 with one axis.
Size = Union[int, "Array"]
#: The last position of an axis, as Slice counts.
END = np.iinfo(np.int64).max
DTYPES = {FLOAT: np.float32, INT64: np.int64, BOOL: np.bool_}


class Array:
    """A tensor of a model.

    name: the tensor in the model. kind: its element type, FLOAT, INT64 or BOOL.
    """

    def __init__(self, model: Model, name: str, kind: int = FLOAT) -> None:
        self.model, self.name, self.kind = model, name, kind

    def node(self, op: str, *others: Any, kind: int | None = None, **attributes: Any) -> Array:
        """Return the output of a node whose first input is this tensor.

        others: further inputs, Arrays or numbers. kind: the output's element type.
        """
        names = [self.name, *(self._operand(other) for other in others)]
        name = self.model.add(op, *names, **attributes)
        return Array(self.model, name, self.kind if kind is None else kind)

    def _operand(self, value: Any) -> str:
        """Return the name of a number or Array as an operand of this tensor's element type."""
        if isinstance(value, Array):
            return value.name
        return self.model.constant(value, DTYPES[self.kind])

    def __add__(self, other: Any) -> Array:
        return self.node("Add", other)

    def __sub__(self, other: Any) -> Array:
        return self.node("Sub", other)

    def __mul__(self, other: Any) -> Array:
        return self.node("Mul", other)

    def __truediv__(self, other: Any) -> Array:
        return self.node("Div", other)

    #: ONNX divides integers towards zero, which is the floor for the sizes here.
    __floordiv__ = __truediv__
    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Any) -> Array:
        return Array(self.model, self._operand(other), self.kind) - self

    def __rtruediv__(self, other: Any) -> Array:
        return Array(self.model, self._operand(other), self.kind) / self

    def __neg__(self) -> Array:
        return self.node("Neg")

    def __gt__(self, other: Any) -> Array:
        return self.node("Greater", other, kind=BOOL)

    def __ge__(self, other: Any) -> Array:
        return self.node("GreaterOrEqual", other, kind=BOOL)

    def __lt__(self, other: Any) -> Array:
        return self.node("Less", other, kind=BOOL)

    def __le__(self, other: Any) -> Array:
        return self.node("LessOrEqual", other, kind=BOOL)

    def equals(self, other: Any) -> Array:
        """Return where this equals the other."""
        return self.node("Equal", other, kind=BOOL)

    def __and__(self, other: Array) -> Array:
        return self.node("And", other)

    def maximum(self, other: Any) -> Array:
        """Return the larger of both, element by element."""
        return self.node("Max", other)

    def minimum(self, other: Any) -> Array:
        """Return the smaller of both, element by element."""
        return self.node("Min", other)

    def apply(self, op: str) -> Array:
        """Return the result of a node of one input: "Exp", "Floor", "Sqrt", ..."""
        return self.node(op)

    def matmul(self, other: Array) -> Array:
        """Return the matrix product over the last two axes."""
        return self.node("MatMul", other)

    def to(self, kind: int) -> Array:
        """Return the values as another element type."""
        return self if kind == self.kind else self.node("Cast", kind=kind, to=kind)

    def where(self, then: Array, otherwise: Array) -> Array:
        """Return `then` where this is true, else `otherwise`."""
        return self.node("Where", then, otherwise, kind=then.kind)

    def reshape(self, *sizes: Size) -> Array:
        """Return the values under another shape; one size may be -1."""
        return self.node("Reshape", vector(self.model, *sizes), allowzero=0)

    def expand(self, *sizes: Size) -> Array:
        """Return the values repeated along the axes of size 1."""
        return self.node("Expand", vector(self.model, *sizes))

    def transpose(self, *order: int) -> Array:
        """Return the tensor with its axes in another order."""
        return self.node("Transpose", perm=order)

    def slice(self, axis: int, start: Size, end: Size = END, step: int = 1) -> Array:
        """Return the positions start .. end - 1 of an axis."""
        m = self.model
        sizes = [vector(m, n) for n in (start, end, axis, step)]
        return self.node("Slice", *sizes)

    def gather(self, index: Array, axis: int = 0) -> Array:
        """Return the rows of an axis that the indices name."""
        return self.node("Gather", index, axis=axis)

    def column(self, number: int) -> Array:
        """Return one position of the last axis, without that axis."""
        index = self.model.constant(number, np.int64)
        return self.node("Gather", Array(self.model, index, INT64), axis=-1)

    def unsqueeze(self, *axes: int) -> Array:
        """Return the tensor with axes of size 1 at these places."""
        return self.node("Unsqueeze", vector(self.model, *axes))

    def sum(self, *axes: int, keepdims: bool = True) -> Array:
        """Return the sum over axes."""
        return self.node("ReduceSum", vector(self.model, *axes), keepdims=int(keepdims))

    def concat(self, axis: int, *others: Array) -> Array:
        """Return this and the others, joined along an axis."""
        return self.node("Concat", *others, axis=axis)

    def pad(self, axes: int, sides: Sequence[tuple[Size, Size]]) -> Array:
        """Return the tensor with zeros around its last axes. sides: before and behind each."""
        m, front = self.model, [0] * (axes - len(sides))
        before, behind = ([side[i] for side in sides] for i in range(2))
        return self.node("Pad", vector(m, *front, *before, *front, *behind))

    def size(self, axis: int) -> Array:
        """Return the size of an axis, as one int64 with one axis."""
        m = self.model
        end = END if axis == -1 else axis + 1
        shape = self.node("Shape", kind=INT64)
        return shape.node("Slice", vector(m, axis), vector(m, end))

    def nonzero(self) -> Array:
        """Return the positions at which a tensor with one axis is true, as int64."""
        return self.node("NonZero", kind=INT64).reshape(-1)

    def top_k(self, count: Size, axis: int = -1, largest: bool = True) -> tuple[Array, Array]:
        """Return the `count` largest values in order, and their positions."""
        k = vector(self.model, count).name
        order = {"axis": axis, "largest": int(largest), "sorted": 1}
        names = self.model.add_split("TopK", 2, self.name, k, **order)
        return Array(self.model, names[0], self.kind), Array(self.model, names[1], INT64)


def vector(m: Model, *sizes: Size) -> Array:
    """Return sizes as a tensor of int64 with one axis."""
    numbers = [size for size in sizes if not isinstance(size, Array)]
    if len(numbers) == len(sizes):
        return Array(m, m.integers(*numbers), INT64)
    parts = [s if isinstance(s, Array) else Array(m, m.integers(s), INT64) for s in sizes]
    return parts[0].concat(0, *parts[1:]) if len(parts) > 1 else parts[0]


def constant(m: Model, values: Any, kind: int = FLOAT) -> Array:
    """Return a constant tensor."""
    return Array(m, m.constant(values, DTYPES[kind]), kind)


def scalar(size: Size, m: Model) -> Array:
    """Return a size as a tensor of int64 without axes."""
    return size.reshape() if isinstance(size, Array) else constant(m, size, INT64)


def positions(m: Model, count: Size) -> Array:
    """Return 0 .. count - 1 as float32."""
    if isinstance(count, int):
        return constant(m, np.arange(count))
    zero, one = constant(m, 0, INT64), constant(m, 1, INT64)
    return zero.node("Range", scalar(count, m), one).to(FLOAT)


def number(size: Size) -> Any:
    """Return a size for arithmetic in float32: a number, or a tensor of one value."""
    return size.to(FLOAT) if isinstance(size, Array) else float(size)


def inputs(m: Model, source: Source) -> list[Array]:
    """Return the bottoms of a layer."""
    return [Array(m, name) for name in source.inputs]


def size_of(m: Model, source: Source, axis: int, bottom: int = 0) -> Size:
    """Return the size of an axis of a bottom: a number, or a tensor where it is free."""
    if source.is_free(axis, bottom):
        return Array(m, source.inputs[bottom]).size(axis)
    return source.shapes[bottom][axis]


def sizes_of(m: Model, source: Source, axes: Sequence[int], bottom: int = 0) -> list[Size]:
    """Return the sizes of axes of a bottom."""
    return [size_of(m, source, axis, bottom) for axis in axes]


def product(sizes: Sequence[Size]) -> Size:
    """Return the product of sizes."""
    result: Any = 1
    for size in sizes:
        result = result * size
    return result


def mean(m: Model, source: Source, x: Array, axes: Sequence[int]) -> Array:
    """Return the mean over axes of a tensor of the first bottom's shape; the axes have size 1."""
    return x.sum(*axes) / number(product(sizes_of(m, source, axes)))
