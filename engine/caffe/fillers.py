"""Weight fillers: Caffe's ways to initialise a blob."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from . import mode
from .blob import Blob
from .errors import CaffeError
from .memory import Memory

#: Draws the values of a blob.
Make = Callable[[np.random.RandomState], np.ndarray]
#: Values that are worth waiting with.
LARGE = 1 << 20


def fill(blob: Blob, filler: Any, where: str) -> None:
    """Fill `blob` as the FillerParameter says; `where` names the layer in errors.

    Unless there is a seed, values are drawn when they are first asked for: often they are replaced
    by those of a file before.
    """
    if filler.type not in _FILLERS:
        known = ", ".join(sorted(_FILLERS))
        raise CaffeError(f"{where}: unknown filler type {filler.type!r}; known types: {known}")
    if blob.count == 0:
        raise CaffeError(f"{where}: cannot fill a blob of shape {blob.shape}, it has no elements")
    if filler.type == "constant" and filler.value == 0:
        blob.values.zero()
        return
    try:
        make = _FILLERS[filler.type](blob.shape, filler)
    except ValueError as error:
        raise CaffeError(f"{where}: filler {filler.type!r}: {error}") from None
    rng, memory = mode.rng(), blob.values
    waits = blob.count >= LARGE and not mode.seeded() and not memory.held()
    if waits and isinstance(memory, Memory):
        memory.defer(lambda: torch.from_numpy(make(rng)))
    else:
        memory.set(torch.from_numpy(make(rng)))


def _constant(shape: Sequence[int], f: Any) -> Make:
    return lambda rng: np.full(shape, f.value, np.float32)


def _uniform(shape: Sequence[int], f: Any) -> Make:
    if f.min > f.max:
        raise ValueError(f"min {f.min:g} is above max {f.max:g}")
    return lambda rng: _draw(shape, lambda n: rng.uniform(f.min, f.max, n))


def _gaussian(shape: Sequence[int], f: Any) -> Make:
    if f.std <= 0:
        raise ValueError(f"std is {f.std:g}; it needs to be above 0")
    if f.sparse > shape[0]:
        raise ValueError(f"sparse is {f.sparse}; it needs to be at most {shape[0]} (outputs)")

    def make(rng: np.random.RandomState) -> np.ndarray:
        values = _draw(shape, lambda n: rng.normal(f.mean, f.std, n))
        if f.sparse >= 0:
            values *= rng.random_sample(values.shape) < f.sparse / shape[0]
        return values

    return make


def _positive_unitball(shape: Sequence[int], f: Any) -> Make:
    def make(rng: np.random.RandomState) -> np.ndarray:
        values = _draw(shape, rng.random_sample).reshape(shape[0], -1)
        values /= values.sum(1, keepdims=True)
        return values.reshape(shape)

    return make


def _xavier(shape: Sequence[int], f: Any) -> Make:
    bound = math.sqrt(3 / _fan(shape, f))
    return lambda rng: _draw(shape, lambda n: rng.uniform(-bound, bound, n))


def _msra(shape: Sequence[int], f: Any) -> Make:
    std = math.sqrt(2 / _fan(shape, f))
    return lambda rng: _draw(shape, lambda n: rng.normal(0, std, n))


def _bilinear(shape: Sequence[int], f: Any) -> Make:
    """The kernel of bilinear interpolation in every channel (for upsampling, with group)."""
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"the blob has shape {tuple(shape)}; it needs 4 axes and a square kernel")
    factor = math.ceil(shape[3] / 2)
    centre = (shape[3] - 1) / (2 * factor)
    line = 1 - np.abs(np.arange(shape[3]) / factor - centre)
    return lambda rng: np.broadcast_to(np.outer(line, line), shape).astype(np.float32)


def _fan(shape: Sequence[int], f: Any) -> float:
    """Fan-in, fan-out or their mean, as Caffe counts them."""
    count = math.prod(shape)
    fan_in = count / shape[0]
    fan_out = count / shape[1] if len(shape) > 1 else count
    return {f.FAN_IN: fan_in, f.FAN_OUT: fan_out, f.AVERAGE: (fan_in + fan_out) / 2}[
        f.variance_norm
    ]


def _draw(shape: Sequence[int], draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """float32 values from a float64 source, a piece at a time so that the latter stays small."""
    flat, piece = np.empty(math.prod(shape), np.float32), 1 << 22
    for start in range(0, flat.size, piece):
        part = flat[start : start + piece]
        part[:] = draw(part.size)
    return flat.reshape(shape)


_FILLERS: dict[str, Callable[[Sequence[int], Any], Make]] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
}
