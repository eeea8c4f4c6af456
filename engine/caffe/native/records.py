"""The table of instructions that the C library runs: a record for each operation."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

#: Axes of an array, and values of a vector, as in instructions.c and vectors.h.
RANK, PANEL = 6, 16
#: The most values of a matrix that stays in the processor's first cache, as in instructions.c.
SMALL = 1 << 12
RECORD = np.dtype(
    [
        ("code", "i4"),
        ("rank", "i4"),
        ("size", "i8", RANK),
        ("place", "u8", 5),
        ("stride", "i8", (3, RANK)),
        ("scalar", "f4", 4),
    ]
)


class Code(IntEnum):
    """The operations of instructions.c, in its order."""

    ADD = 0
    SUBTRACT = 1
    MULTIPLY = 2
    DIVIDE = 3
    MAXIMUM = 4
    MINIMUM = 5
    FMAX = 6
    COPY = 7
    EXP = 8
    LOG = 9
    SIGMOID = 10
    TANH = 11
    GATE = 12
    WHERE = 13
    RECTIFY = 14
    SIGMOID_GRADIENT = 15
    TANH_GRADIENT = 16
    SUM = 17
    FILL = 18
    PRODUCT = 19
    LABELS = 20
    TAKE = 21
    PUT = 22
    MAX_POOL = 23
    MAX_POOL_GRADIENT = 24
    SGD = 25
    COUNT = 26


class UnencodableError(Exception):
    """No record describes an operation on these arrays."""


class Record(NamedTuple):
    """`struct record` of instructions.c. places: addresses of arrays. strides: of each array."""

    code: Code
    size: Sequence[int]
    places: Sequence[int]
    strides: Sequence[Sequence[int]] = ()
    scalars: Sequence[float] = ()


def table(records: Sequence[Record]) -> np.ndarray:
    """Return records as an array of RECORD."""
    array = np.zeros(len(records), RECORD)
    for row, record in zip(array, records):
        row["code"], row["rank"] = record.code, len(record.size)
        row["size"][: len(record.size)] = record.size
        row["place"][: len(record.places)] = record.places
        for i, strides in enumerate(record.strides):
            row["stride"][i, : len(strides)] = strides
        row["scalar"][: len(record.scalars)] = record.scalars
    return array


def scratch_size(records: Sequence[Record]) -> int:
    """Return the number of values of scratch memory that the records need.

    A product copies a panel of its second matrix into it, or all panels of a small matrix.
    """
    sizes = [r.size for r in records if r.code is Code.PRODUCT]
    wide = [k * (n + PANEL) for _, n, k, *_ in sizes if k * n <= SMALL]
    return max([PANEL * k for _, _, k, *_ in sizes] + wide, default=0)


def address(array: np.ndarray) -> int:
    """Return the address of an array's first value."""
    place: int = array.__array_interface__["data"][0]
    return place


def float_strides(array: np.ndarray) -> list[int]:
    """Return the strides of a float32 array, in values. Raises UnencodableError for another one."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or not array.flags.aligned:
        raise UnencodableError  # a scalar, for example, has no address that stays
    return [s // 4 for s in array.strides]


def repeated_strides(array: np.ndarray, shape: Sequence[int]) -> list[int]:
    """Return the strides of an array that is repeated to a shape, in values."""
    strides = float_strides(array)
    if array.shape == shape:
        return strides
    more = len(shape) - array.ndim
    sizes = [1] * more + list(array.shape)
    if more < 0 or any(m not in (1, n) for m, n in zip(sizes, shape)):
        raise ValueError(f"an array of shape {array.shape} cannot have shape {tuple(shape)}")
    return [0 if m == 1 else s for m, s in zip(sizes, [0] * more + strides)]


def elementwise(
    code: Code, inputs: Sequence[np.ndarray], out: np.ndarray, scalars: Sequence[float] = ()
) -> list[Record]:
    """Return the record of an operation value by value; inputs are repeated to the output's shape.

    An axis of the output with stride 0 adds up, or combines, the values along it.
    Raises UnencodableError for inputs that overlap the output without being the output.
    """
    if out.size == 0:
        return []
    strides = [repeated_strides(array, out.shape) for array in (*inputs, out)]
    places = [address(array) for array in (*inputs, out)]
    for array, steps, place in zip(inputs, strides, places):
        if np.may_share_memory(array, out):
            moved = [s != t for n, s, t in zip(out.shape, steps, strides[-1]) if n > 1]
            if place != places[-1] or any(moved):
                raise UnencodableError
    size, strides = _joined_axes(out.shape, strides)
    if len(size) > RANK:
        raise UnencodableError
    while len(places) < 3:
        places.insert(-1, 0)
        strides.insert(-1, [0] * len(size))
    return [Record(code, size, places, strides, scalars)]


def _joined_axes(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[list[int], list[list[int]]]:
    """Return a shape, and strides for it, with as few axes as the arrays allow, at least one.

    The last axis is the one along which values lie closest together.
    """
    axes = [axis for axis, n in enumerate(shape) if n > 1]
    # The output counts most: its last axis in memory is the one that loops run along.
    axes.sort(key=lambda axis: [-abs(s[axis]) for s in (strides[-1], *strides[:-1])])
    if strides[-1] and any(strides[-1][axis] == 0 for axis in axes):
        axes.sort(key=lambda axis: -abs(strides[max(0, len(strides) - 2)][axis]))
    size: list[int] = []
    result: list[list[int]] = [[] for _ in strides]
    for axis in axes:
        steps = [s[axis] for s in strides]
        if size and all(r[-1] == step * shape[axis] for r, step in zip(result, steps)):
            size[-1] *= shape[axis]
            for r, step in zip(result, steps):
                r[-1] = step
        else:
            size.append(shape[axis])
            for r, step in zip(result, steps):
                r.append(step)
    return (size, result) if size else ([1], [[0] for _ in strides])


def reduction(array: np.ndarray, axes: Sequence[int], out: np.ndarray) -> np.ndarray:
    """Return a view of `out` with the shape of `array` and stride 0 along the axes left out."""
    kept = [axis for axis in range(array.ndim) if axis not in axes]
    strides = [0] * array.ndim
    for axis, stride in zip(kept, out.strides):
        strides[axis] = stride
    view: Any = np.lib.stride_tricks.as_strided(out, array.shape, strides)
    return view


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> list[Record]:
    """Return the record of a product of matrices, or of a matrix and a vector.

    Raises UnencodableError for an output whose columns are not neighbours.
    """
    a = a.reshape(1, -1) if a.ndim == 1 else a
    if b.ndim == 1:
        b, out = b.reshape(-1, 1), out.reshape(-1, 1)
    out = out.reshape(a.shape[0], b.shape[1])
    if a.shape[1] == 1:
        return elementwise(Code.MULTIPLY, [b, a], out)
    strides = [float_strides(array) for array in (a, b, out)]
    (m, k), n = a.shape, b.shape[1]
    if n > 1 and strides[2][1] != 1:
        raise UnencodableError
    places = [address(array) for array in (a, b, out)]
    return [Record(Code.PRODUCT, (m, n, k), places, strides)] if m and n else []
