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


def fill(blob: Blob, filler: Any, where: str) -> None:
    """Fill `blob` as the FillerParameter says; `where` names the layer in errors."""
    if filler.type not in _FILLERS:
        known = ", ".join(sorted(_FILLERS))
        raise CaffeError(f"{where}: unknown filler type {filler.type!r}; known types: {known}")
    if blob.count == 0:
        raise CaffeError(f"{where}: cannot fill a blob of shape {blob.shape}, it has no elements")
    if filler.type == "constant" and filler.value == 0:
        blob.values.zero()
        return
    try:
        values = _FILLERS[filler.type](blob.shape, filler)
    except ValueError as error:
        raise CaffeError(f"{where}: filler {filler.type!r}: {error}") from None
    blob.values.set(torch.from_numpy(values))


def _constant(shape: Sequence[int], f: Any) -> np.ndarray:
    return np.full(shape, f.value, np.float32)


def _uniform(shape: Sequence[int], f: Any) -> np.ndarray:
    if f.min > f.max:
        raise ValueError(f"min {f.min:g} is above max {f.max:g}")
    return _draw(shape, lambda rng, n: rng.uniform(f.min, f.max, n))


def _gaussian(shape: Sequence[int], f: Any) -> np.ndarray:
    if f.std <= 0:
        raise ValueError(f"std is {f.std:g}; it needs to be above 0")
    values = _draw(shape, lambda rng, n: rng.normal(f.mean, f.std, n))
    if f.sparse >= 0:
        if f.sparse > shape[0]:
            raise ValueError(f"sparse is {f.sparse}; it needs to be at most {shape[0]} (outputs)")
        values *= mode.rng().random_sample(values.shape) < f.sparse / shape[0]
    return values


def _positive_unitball(shape: Sequence[int], f: Any) -> np.ndarray:
    values = _draw(shape, lambda rng, n: rng.random_sample(n)).reshape(shape[0], -1)
    values /= values.sum(1, keepdims=True)
    return values.reshape(shape)


def _xavier(shape: Sequence[int], f: Any) -> np.ndarray:
    bound = math.sqrt(3 / _fan(shape, f))
    return _draw(shape, lambda rng, n: rng.uniform(-bound, bound, n))


def _msra(shape: Sequence[int], f: Any) -> np.ndarray:
    std = math.sqrt(2 / _fan(shape, f))
    return _draw(shape, lambda rng, n: rng.normal(0, std, n))


def _bilinear(shape: Sequence[int], f: Any) -> np.ndarray:
    """The kernel of bilinear interpolation in every channel (for upsampling, with group)."""
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"the blob has shape {tuple(shape)}; it needs 4 axes and a square kernel")
    factor = math.ceil(shape[3] / 2)
    centre = (shape[3] - 1) / (2 * factor)
    line = 1 - np.abs(np.arange(shape[3]) / factor - centre)
    return np.broadcast_to(np.outer(line, line), shape).astype(np.float32)


def _fan(shape: Sequence[int], f: Any) -> float:
    """Fan-in, fan-out or their mean, as Caffe counts them."""
    count = math.prod(shape)
    fan_in = count / shape[0]
    fan_out = count / shape[1] if len(shape) > 1 else count
    return {f.FAN_IN: fan_in, f.FAN_OUT: fan_out, f.AVERAGE: (fan_in + fan_out) / 2}[
        f.variance_norm
    ]


def _draw(shape: Sequence[int], draw: Callable[[Any, int], np.ndarray]) -> np.ndarray:
    """float32 values from a float64 source, a piece at a time so that the latter stays small."""
    flat, rng, piece = np.empty(math.prod(shape), np.float32), mode.rng(), 1 << 22
    for start in range(0, flat.size, piece):
        part = flat[start : start + piece]
        part[:] = draw(rng, part.size)
    return flat.reshape(shape)


_FILLERS: dict[str, Callable[[Sequence[int], Any], np.ndarray]] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
}
