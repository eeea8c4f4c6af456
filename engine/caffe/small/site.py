"""The arrays that a layer of small blobs is bound to, and the calls of a bound layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ..native import instructions as ops
from ..native.instructions import Call


class Site(NamedTuple):
    """A layer and the float32 arrays of its blobs, each C-contiguous.

    x, y, w: the values of the bottoms, the tops and the parameters. dx, dy, dw: their gradients;
    None where there is none to compute or to read. A layer in place has the same array as x and y.
    learns: whether a backward follows each forward. overwritten: whether a later layer, in place,
    overwrites the first top.
    """

    layer: Any
    x: Sequence[np.ndarray]
    y: Sequence[np.ndarray]
    w: Sequence[np.ndarray]
    dx: Sequence[np.ndarray | None]
    dy: Sequence[np.ndarray | None]
    dw: Sequence[np.ndarray | None]
    learns: bool
    overwritten: bool


class Calls(NamedTuple):
    """The calls of a layer.

    forward: write the values of the tops. backward: write the gradients that the site asks for,
    from those of the tops, after the calls of forward.
    """

    forward: list[Call]
    backward: list[Call]


def tensor(array: np.ndarray) -> torch.Tensor:
    """Return a tensor over the memory of an array."""
    return torch.from_numpy(array)


def scratch(*shape: int) -> np.ndarray:
    """Return a float32 array of zeros for intermediate values."""
    return np.zeros(shape, np.float32)


def split(dx: np.ndarray | None, dy: Sequence[np.ndarray]) -> list[Call]:
    """Return the calls that write the sum of the gradients of a Split's tops to its bottom's.

    dx: None where no gradient is asked for.
    """
    if dx is None:
        return []
    if len(dy) == 1:
        return [ops.copy(dy[0], dx)]
    first = ops.add(dy[0], dy[1], dx)
    return [first, *(ops.add(dx, more, dx) for more in dy[2:])]


def flat_maps(shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return shapes with few axes, of maps N x C x further axes and of a value for each channel.

    Arrays of these shapes can be added and multiplied. Calls take longer with more axes, also
    where those have size 1.
    """
    images, channels, positions = shape[0], shape[1], math.prod(shape[2:])
    value = (channels,) if positions == 1 else (channels, 1)
    image = (channels,) if positions == 1 else (channels, positions)
    return (image if images == 1 else (images, *image)), value


def rows(array: np.ndarray, axis: int) -> np.ndarray:
    """Return a view of an array as a matrix: the axes before `axis` by the rest."""
    return array.reshape(math.prod(array.shape[:axis]), -1)
