"""Blobs: a tensor and its gradient, seen from outside as NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, ClassVar, SupportsIndex

import numpy as np

from .errors import ArgumentTypeError, CaffeError
from .memory import Memory, MemoryView

#: The values that a blob of BVLC Caffe can have at most, and its axes.
INT_MAX, MAX_AXES = 2**31 - 1, 32


def _check(shape: Sequence[int]) -> None:
    """Raise CaffeError for a shape that no blob of BVLC Caffe can have."""
    for n in shape:
        if not isinstance(n, (int, np.integer)) or n < 0:
            refusal = CaffeError if isinstance(n, (int, np.integer)) else ArgumentTypeError
            raise refusal(f"a blob cannot take the shape {tuple(shape)}; it needs integers >= 0")
    if len(shape) > MAX_AXES:
        raise CaffeError(f"a blob has {len(shape)} axes; it can have at most {MAX_AXES}")
    count = 1
    for n in map(int, shape):
        # As in BVLC Caffe, the sizes behind an axis of size 0 are not counted.
        if count and n > INT_MAX // count:
            raise CaffeError(
                f"a blob cannot take the shape {tuple(map(int, shape))}: blob size exceeds "
                f"INT_MAX, it can hold at most {INT_MAX} values"
            )
        count *= n


class Blob:
    """An N-dimensional array of float32 `data` with its gradient `diff` of the same shape.

    rebindings: counts, for the whole process, how often a blob has taken another blob's data and
    how often a layer's list of blobs has changed.
    """

    __slots__ = ("__weakref__", "_data", "_diff")
    rebindings: ClassVar[int] = 0

    def __init__(self, shape: Sequence[int] = ()) -> None:
        _check(shape)
        self._data: Memory | MemoryView = Memory(shape)
        self._diff: Memory | MemoryView = Memory(shape)

    @property
    def data(self) -> np.ndarray:
        """The values, a writable float32 array that is the blob's own memory."""
        return self._data.numpy()

    @property
    def diff(self) -> np.ndarray:
        """The gradient, a writable float32 array that is the blob's own memory."""
        return self.gradient.numpy()

    @property
    def memories(self) -> tuple[Memory | MemoryView, Memory | MemoryView]:
        """Those behind `data` and `diff`, as they are."""
        return self._data, self._diff

    @property
    def values(self) -> Memory | MemoryView:
        """The memory behind `data`, for layers."""
        return self._data

    @property
    def gradient(self) -> Memory | MemoryView:
        """The memory behind `diff`, for layers and solvers."""
        self.resize_gradient()
        return self._diff

    def resize_gradient(self) -> None:
        """Give the gradient the shape of the values, as reading the gradient does."""
        if self._diff.shape != self._data.shape:
            self._diff.reshape(self._data.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return tuple(self._data.shape)

    @property
    def count(self) -> int:
        """The number of values."""
        return math.prod(self._data.shape)

    @property
    def num(self) -> int:
        """The size of axis 0, 1 where the blob has no such axis."""
        return self._legacy(0)

    @property
    def channels(self) -> int:
        """The size of axis 1, 1 where the blob has no such axis."""
        return self._legacy(1)

    @property
    def height(self) -> int:
        """The size of axis 2, 1 where the blob has no such axis."""
        return self._legacy(2)

    @property
    def width(self) -> int:
        """The size of axis 3, 1 where the blob has no such axis."""
        return self._legacy(3)

    def _legacy(self, axis: int) -> int:
        if len(self.shape) > 4:
            raise CaffeError(
                f"a blob of shape {self.shape} has no num, channels, height, width; these need at "
                "most 4 axes, use shape instead"
            )
        return self.shape[axis] if axis < len(self.shape) else 1

    def reshape(self, *shape: int) -> None:
        """Take the shape given as separate integers; values stay in memory order."""
        self.resize(shape)

    def resize(self, shape: Sequence[int]) -> None:
        """Take the shape given as one sequence."""
        _check(shape)
        self._data.reshape(shape)

    def share_data(self, other: Blob) -> None:
        """Use `other`'s data as this blob's data from now on."""
        self._data.end_leases()
        self._data = other._data
        Blob.rebindings += 1

    def share_diff(self, other: Blob) -> None:
        """Use `other`'s gradient as this blob's gradient from now on."""
        self._diff.end_leases()
        self._diff = other._diff

    def view(self, shape: Sequence[int]) -> Blob:
        """Return a blob over the same data and gradient, under another shape.

        The shape must have as many elements.
        """
        blob = Blob()
        blob._data = MemoryView(self.values, shape)
        blob._diff = MemoryView(self.gradient, shape)
        return blob


_VALUES_OF, _GRADIENT_OF = attrgetter("_data"), attrgetter("_diff")


def memories_of_values(blobs: Iterable[Blob]) -> list[Memory | MemoryView]:
    """Return the memories behind the `data` of blobs."""
    return list(map(_VALUES_OF, blobs))


def memories_of_gradients(blobs: Iterable[Blob]) -> list[Memory | MemoryView]:
    """Return the memories behind the `diff` of blobs, which may still have other shapes."""
    return list(map(_GRADIENT_OF, blobs))


def _check_blobs(values: Iterable[Any], refusal: str) -> None:
    """Raise ArgumentTypeError, which begins with `refusal`, unless all values are blobs."""
    for value in values:
        if not isinstance(value, Blob):
            raise ArgumentTypeError(
                f"{refusal}: the parameters of a layer are Blobs, found {type(value).__name__}; "
                "write values with net.params[layer][index].data[...] = array"
            )


class BlobVec(list):
    """The parameters of a layer, a list of Blob that can grow by a shape.

    Raises ArgumentTypeError for anything else than a Blob that is put into the list.
    """

    def __setitem__(self, index: Any, value: Any) -> None:
        _check_blobs(value if isinstance(index, slice) else [value], "Invalid assignment")
        super().__setitem__(index, value)
        Blob.rebindings += 1

    def __delitem__(self, index: Any) -> None:
        super().__delitem__(index)
        Blob.rebindings += 1

    def append(self, value: Blob) -> None:
        """Append a blob."""
        _check_blobs([value], "Attempting to append an invalid type")
        super().append(value)
        Blob.rebindings += 1

    def insert(self, index: SupportsIndex, value: Blob) -> None:
        """Insert a blob before `index`."""
        _check_blobs([value], "Attempting to insert an invalid type")
        super().insert(index, value)
        Blob.rebindings += 1

    def extend(self, values: Iterable[Blob]) -> None:
        """Append blobs."""
        blobs = list(values)
        _check_blobs(blobs, "Incompatible Data Type")
        super().extend(blobs)
        Blob.rebindings += 1

    def add_blob(self, *shape: int) -> None:
        """Append a blob of zeros of this shape."""
        self.append(Blob(shape))
