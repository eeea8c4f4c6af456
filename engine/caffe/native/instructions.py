"""Operations on small arrays as calls without arguments, which NumPy or the C library runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from . import records
from .records import Code, Record, UnencodableError, address

Call = Callable[[], object]
Encode = Callable[[], "list[Record]"]

#: The most multiplications of a product of matrices, or of a matrix and a vector, that NumPy
#: computes. For larger products, NumPy's OpenBLAS would wake threads of its own; PyTorch's threads
#: are awake already.
MOST_OF_NUMPY, MOST_WITH_VECTOR = 1 << 18, 1 << 13
#: The most multiplications of a product that the C library computes; PyTorch's BLAS computes larger
#: products faster.
MOST_OF_LIBRARY = 1 << 22
ZERO = np.zeros((), np.float32)


class Instruction:
    """An operation on arrays.

    make: returns the calls of NumPy or PyTorch that compute the operation, in their order. encode:
    returns the records of the C library that compute the operation; raises UnencodableError where
    no record can.
    """

    __slots__ = ("_calls", "_make", "encode")

    def __init__(self, make: Callable[[], Sequence[Call]], encode: Encode) -> None:
        self._make, self.encode = make, encode
        self._calls: Sequence[Call] | None = None

    @property
    def calls(self) -> Sequence[Call]:
        """The calls that compute the operation without the C library."""
        if self._calls is None:
            self._calls = self._make()
        return self._calls

    def __call__(self) -> None:
        """Compute the operation without the C library."""
        for call in self.calls:
            call()


def of_call(call: Call, encode: Encode) -> Instruction:
    """Return the instruction of one call."""
    return Instruction(lambda: (call,), encode)


def _elementwise(code: Code, function: Callable[..., object]) -> Callable[..., Instruction]:
    """Return the constructor of an operation value by value. function: NumPy's."""

    def instruction(*arrays: np.ndarray) -> Instruction:
        *inputs, out = arrays
        encode = partial(records.elementwise, code, inputs, out)
        return of_call(partial(function, *arrays), encode)

    return instruction


#: Arguments: the inputs, which are broadcast to the shape of the output, and the output.
add = _elementwise(Code.ADD, np.add)
subtract = _elementwise(Code.SUBTRACT, np.subtract)
multiply = _elementwise(Code.MULTIPLY, np.multiply)
divide = _elementwise(Code.DIVIDE, np.divide)
maximum = _elementwise(Code.MAXIMUM, np.maximum)
minimum = _elementwise(Code.MINIMUM, np.minimum)
#: The larger value; NaN only where both are NaN.
fmax = _elementwise(Code.FMAX, np.fmax)
exp = _elementwise(Code.EXP, np.exp)
log = _elementwise(Code.LOG, np.log)


def copy(values: np.ndarray, out: np.ndarray) -> Instruction:
    """Copy values."""
    encode = partial(records.elementwise, Code.COPY, [values], out)
    return of_call(partial(np.copyto, out, values), encode)


def fill(out: np.ndarray, value: float) -> Instruction:
    """Set all values of an array."""
    return of_call(partial(out.fill, value), partial(_fill, out, value))


def gate(values: np.ndarray, like: np.ndarray, out: np.ndarray) -> Instruction:
    """values * 1 where `like` is positive, and values * 0 elsewhere."""

    def calls() -> list[Call]:
        positive = np.zeros(like.shape, bool)
        find = partial(np.greater, like, ZERO, positive)
        return [find, partial(np.multiply, values, positive, out)]

    return Instruction(calls, partial(records.elementwise, Code.GATE, [values, like], out))


def copy_where(values: np.ndarray, like: np.ndarray, out: np.ndarray) -> Instruction:
    """Copy values to where `like` is positive."""

    def calls() -> list[Call]:
        positive = np.zeros(like.shape, bool)
        find = partial(np.greater, like, ZERO, positive)
        return [find, partial(np.copyto, out, values, where=positive)]

    return Instruction(calls, partial(records.elementwise, Code.WHERE, [values, like], out))


def rectify(values: np.ndarray, slope: np.ndarray, out: np.ndarray) -> Instruction:
    """max(x, 0) + slope * min(x, 0)."""

    def calls() -> list[Call]:
        product = np.zeros_like(values)
        return [
            partial(np.minimum, values, ZERO, product),
            partial(np.multiply, product, slope, product),
            partial(np.maximum, values, ZERO, out),
            partial(np.add, out, product, out),
        ]

    return Instruction(calls, partial(records.elementwise, Code.RECTIFY, [values, slope], out))


def of_torch(
    code: Code, function: Callable[..., object], inputs: Sequence[np.ndarray], out: np.ndarray
) -> Instruction:
    """An operation value by value. function: of PyTorch, with its arguments bound."""
    return of_call(function, partial(records.elementwise, code, inputs, out))


def sum_over(array: np.ndarray, axes: Sequence[int], out: np.ndarray) -> Instruction:
    """Sums over some axes of an array; `out` has the other axes."""
    call = partial(np.add.reduce, array, tuple(axes), None, out)
    return of_call(call, partial(_sum, array, axes, out))


def row_sums(array: np.ndarray, out: np.ndarray) -> Instruction:
    """The sums of the rows of a matrix."""

    def calls() -> list[Call]:
        return [partial(array.dot, np.ones(array.shape[1], np.float32), out)]

    return Instruction(calls, partial(_sum, array, (1,), out))


def column_sums(array: np.ndarray, out: np.ndarray) -> Instruction:
    """The sums of the columns of a matrix."""

    def calls() -> list[Call]:
        return [partial(np.ones(array.shape[0], np.float32).dot, array, out)]

    return Instruction(calls, partial(_sum, array, (0,), out))


def largest(array: np.ndarray, out: np.ndarray) -> Instruction:
    """The maxima of the columns of a matrix, or NaN."""
    call = partial(np.maximum.reduce, array, 0, None, out)
    return of_call(call, partial(_largest, array, out))


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Instruction:
    """The product of two matrices, or of one and a vector."""
    count = a.size * (b.shape[1] if b.ndim > 1 else 1)
    most = MOST_WITH_VECTOR if 1 in out.shape else MOST_OF_NUMPY
    call: Call
    if count <= most or b.ndim == 1:
        call = partial(a.dot, b, out)
    else:
        tensors = (torch.from_numpy(array) for array in (a, b))
        call = partial(torch.mm, *tensors, out=torch.from_numpy(out))
    return of_call(call, partial(_product, a, b, out, count))


def products(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Instruction:
    """The products of a matrix with each of N matrices."""
    if len(b) == 1:
        return product(a, b[0], out[0])
    call: Call
    if a.size * b.shape[2] <= MOST_OF_NUMPY:
        call = partial(np.matmul, a, b, out)
    else:
        tensors = torch.from_numpy(a).expand(len(b), -1, -1), torch.from_numpy(b)
        call = partial(torch.bmm, *tensors, out=torch.from_numpy(out))
    return of_call(call, partial(_products, a, b, out))


def take(array: np.ndarray, places: np.ndarray, out: np.ndarray) -> Instruction:
    """The values of a flat array at some indices, `places`, int64."""
    call = partial(array.take, places, None, out, "clip")
    where = [address(array), address(places), address(out)]
    return of_call(call, lambda: [Record(Code.TAKE, [out.size], where)])


def put(values: np.ndarray, places: np.ndarray, out: np.ndarray) -> Instruction:
    """Write values into a flat array at some indices, `places`, int64."""
    call = partial(out.put, places, values, "clip")
    where = [address(values), address(places), address(out)]
    return of_call(call, lambda: [Record(Code.PUT, [values.size], where)])


def labels(
    calls: Sequence[Call], values: np.ndarray, classes: int, places: np.ndarray
) -> Instruction:
    """The indices `places`, int64, of labels in a flat array of the classes by the positions.

    calls: compute the indices without the C library, and raise an error for a label that is no
    class.
    """
    where = [address(values), 0, address(places)]
    return Instruction(
        lambda: calls, lambda: [Record(Code.LABELS, [values.size], where, scalars=[classes])]
    )


def sgd(
    weights: np.ndarray,
    gradients: np.ndarray,
    velocity: np.ndarray,
    momentum: float,
    rate: np.ndarray,
    lr_mult: float,
    decay: float,
) -> Instruction:
    """Stochastic gradient descent on flat arrays; the gradients become the update.

    rate: the learning rate, of shape ().
    """

    def calls() -> list[Call]:
        penalty, scaled = np.zeros_like(weights), np.zeros((), np.float32)
        kept, mult, factor = (np.full((), x, np.float32) for x in (momentum, lr_mult, decay))
        decays = [
            partial(np.multiply, weights, factor, penalty),
            partial(np.add, gradients, penalty, gradients),
        ]
        return [
            *(decays if decay else []),
            partial(np.multiply, rate, mult, scaled),
            partial(np.multiply, gradients, scaled, gradients),
            partial(np.multiply, velocity, kept, velocity),
            partial(np.add, velocity, gradients, velocity),
            partial(np.copyto, gradients, velocity),
            partial(np.subtract, weights, velocity, weights),
        ]

    where = [address(array) for array in (gradients, velocity, weights, rate)]
    scalars = [momentum, lr_mult, decay]
    return Instruction(calls, lambda: [Record(Code.SGD, [weights.size], where, scalars=scalars)])


def count(number: np.ndarray) -> Instruction:
    """Add 1 to an int64 array of shape ()."""
    record = Record(Code.COUNT, [1], [0, 0, address(number)])
    return of_call(partial(np.add, number, 1, number), lambda: [record])


def _fill(out: np.ndarray, value: float) -> list[Record]:
    return records.elementwise(Code.FILL, [], out, [value])


def _sum(array: np.ndarray, axes: Sequence[int], out: np.ndarray) -> list[Record]:
    if np.may_share_memory(array, out):
        raise UnencodableError
    view = records.reduction(array, axes, out)
    return _fill(out, 0) + records.elementwise(Code.SUM, [array], view)


def _largest(array: np.ndarray, out: np.ndarray) -> list[Record]:
    view = records.reduction(array, (0,), out)
    first = records.elementwise(Code.COPY, [array[0]], out)
    return first + records.elementwise(Code.MAXIMUM, [view, array], view)


def _product(a: np.ndarray, b: np.ndarray, out: np.ndarray, count: int) -> list[Record]:
    if count > MOST_OF_LIBRARY:
        raise UnencodableError
    return records.product(a, b, out)


def _products(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> list[Record]:
    if a.size * b.shape[2] * len(b) > MOST_OF_LIBRARY:
        raise UnencodableError
    return [record for x, y in zip(b, out) for record in records.product(a, x, y)]
