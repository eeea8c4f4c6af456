"""Records of matrix products that also add a bias and compute a ReLU or PReLU."""

from __future__ import annotations

from typing import NamedTuple

from .records import Code, Record

#: Negative values become 0, or are multiplied by a slope; the numbers are those of instructions.c.
RECTIFIED, SLOPED = 1, 2


#: The operations that a product can include.
ENDINGS = (Code.ADD, Code.MAXIMUM, Code.RECTIFY)


class _Factor(NamedTuple):
    """The address of biases or slopes, and their strides along rows and columns."""

    place: int
    row: int
    column: int


def ended(product: Record, record: Record, zeros: frozenset[int]) -> Record | None:
    """Return a product that includes the operation of the next record, or None if none can.

    The rounding stays the same. zeros: addresses of values that are always 0.
    """
    if product.code is not Code.PRODUCT or record.code not in ENDINGS:
        return None
    if len(product.size) > 3 and product.size[3]:  # The product has its ReLU already.
        return None
    factor = _factor(product, record)
    if factor is None:
        return None
    m, n, k = product.size[:3]
    strides = list(product.strides[2])[:2]
    places = list(product.places)
    if record.code is Code.ADD:
        if len(places) > 3:
            return None
        ending = [*strides, factor.row, factor.column]
        return product._replace(
            places=[*places, factor.place], strides=[*product.strides[:2], ending]
        )
    bias = list(product.strides[2])[2:4] or [0, 0]
    places = places if len(places) > 3 else [*places, 0]
    if record.code is Code.MAXIMUM:
        if factor.place not in zeros:
            return None
        return product._replace(size=(m, n, k, RECTIFIED), places=places)
    ending = [*strides, *bias, factor.row, factor.column]
    return product._replace(
        size=(m, n, k, SLOPED),
        places=[*places, factor.place],
        strides=[*product.strides[:2], ending],
    )


def _factor(product: Record, record: Record) -> _Factor | None:
    """Return the second input of a record that changes the output of a product in place.

    None if the record changes another array, or if a product cannot read the input's strides.
    """
    (m, n), (rows, columns) = product.size[:2], product.strides[2][:2]
    first, second, out = record.places[:3]
    if not first == out == product.places[2]:
        return None
    size, (of_first, of_second, of_out) = list(record.size), record.strides
    if list(of_first) != list(of_out):
        return None
    if size == [m, n] and list(of_out) == [rows, columns]:
        row, column = of_second
    elif size == [m * n] and (list(of_out) == [1] or m * n == 1) and (rows == n or 1 in (m, n)):
        (step,) = of_second
        if step and m > 1 and n > 1:
            return None
        row, column = (step, 0) if n == 1 else (0, step)
    else:
        return None
    usable = column == 0 or (column == 1 and row == 0)
    return _Factor(second, row, column) if usable else None
