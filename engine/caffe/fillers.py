"""Weight fillers: Caffe's ways to initialise a blob (filler.hpp)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from . import boost_random, glog, mode
from .blob import Blob
from .errors import LayerError, ShapeError
from .memory import Memory
from .unknown import suggestion

#: Draws the values of a blob, float32 of the blob's shape.
Draw = Callable[[np.random.RandomState], np.ndarray]
#: Values of a blob from which on drawing is put off until the values are needed: 4 MB.
LARGE = 1 << 20


def fill(
    blob: Blob, filler: Any, layer: str, layer_type: str, has_file_values: bool = False
) -> None:
    """Fill `blob` as the FillerParameter `filler` says.

    Without a random seed, the values of a large blob are drawn when they are first needed, because
    a weights file often replaces them before.

    layer, layer_type: the name and the type of the layer, for errors.
    has_file_values: a file is expected to replace the values. A filler type of an unknown fork then
        leaves zeros, with a warning in the log.

    Raises LayerError for a filler that cannot be used, ShapeError for a blob without elements.
    """
    if filler.type not in _FILLERS:
        near = suggestion(filler.type, _FILLERS)
        reason = f"unknown filler type {filler.type!r}; known types: {', '.join(sorted(_FILLERS))}"
        if near or not has_file_values:
            raise LayerError(layer, layer_type, reason + near)
        where = f"layer {layer!r} ({layer_type})"
        glog.write("filler.hpp:303", f"{where}: {reason}; zeros until weights are read", level=1)
        blob.values.zero()
        return
    if blob.count == 0:
        raise ShapeError(
            layer, layer_type, f"cannot fill a blob of shape {blob.shape}, which has no elements"
        )
    if filler.type == "constant" and filler.value == 0:
        blob.values.zero()
        return
    try:
        draw = _FILLERS[filler.type](blob.shape, filler)
    except ValueError as error:
        raise LayerError(layer, layer_type, f"filler {filler.type!r}: {error}") from None
    rng, memory = mode.rng(), blob.values
    can_wait = blob.count >= LARGE and not mode.seeded() and not memory.held()
    if can_wait and isinstance(memory, Memory):
        memory.defer(lambda: torch.from_numpy(draw(rng)))
    else:
        memory.set(torch.from_numpy(draw(rng)))


def pass_over(shape: Sequence[int], filler: Any) -> None:
    """Draw the values of a blob that BVLC Caffe fills and the engine does not have, and drop them.

    Numbers that are drawn later are then BVLC Caffe's. Without a random seed, nothing is drawn.
    """
    if mode.seeded() and filler.type in _FILLERS:
        _FILLERS[filler.type](shape, filler)(mode.rng())


def _constant(shape: Sequence[int], f: Any) -> Draw:
    """`value` everywhere."""
    return lambda rng: np.full(shape, f.value, np.float32)


def _uniform(shape: Sequence[int], f: Any) -> Draw:
    """Uniform in [min, max)."""
    if f.min > f.max:
        raise ValueError(f"min {f.min:g} is above max {f.max:g}; it needs to be at most max")
    if not abs(f.min) < boost_random.LARGEST or not 0 <= f.max - f.min < boost_random.LARGEST:
        raise ValueError(
            f"min {f.min:g}, max {f.max:g}; float32 needs to hold both and their difference"
        )
    return lambda rng: in_pieces(shape, lambda n: boost_random.uniform(rng, f.min, f.max, n))


def _gaussian(shape: Sequence[int], f: Any) -> Draw:
    """Normal with `mean` and `std`; with `sparse`, about that many weights of an input are kept."""
    if f.std <= 0:
        raise ValueError(f"std is {f.std:g}; it needs to be above 0")
    if f.sparse > shape[0]:
        raise ValueError(f"sparse is {f.sparse}; it needs to be at most {shape[0]} (outputs)")

    def draw(rng: np.random.RandomState) -> np.ndarray:
        values = in_pieces(shape, lambda n: boost_random.normal(rng, f.mean, f.std, n))
        if f.sparse >= 0:
            kept = boost_random.bernoulli(rng, float(np.float32(f.sparse) / shape[0]), values.size)
            values *= kept.reshape(shape)
        return values

    return draw


def _positive_unitball(shape: Sequence[int], f: Any) -> Draw:
    """Uniform in [0, 1), divided so that the values of each output add up to 1."""

    def draw(rng: np.random.RandomState) -> np.ndarray:
        values = in_pieces(shape, lambda n: boost_random.uniform(rng, 0, 1, n))
        values = values.reshape(shape[0], -1)
        # The sum of floats from left to right, as BVLC Caffe adds them.
        values /= np.cumsum(values, axis=1, dtype=np.float32)[:, -1:]
        return values.reshape(shape)

    return draw


def _xavier(shape: Sequence[int], f: Any) -> Draw:
    """Uniform in [-a, a) with a = sqrt(3 / n) (Glorot & Bengio 2010); n is `_fan`."""
    bound = np.sqrt(np.float32(3) / np.float32(_fan(shape, f)))
    return lambda rng: in_pieces(shape, lambda n: boost_random.uniform(rng, -bound, bound, n))


def _msra(shape: Sequence[int], f: Any) -> Draw:
    """Normal with mean 0 and std sqrt(2 / n) (He et al. 2015); n is `_fan`."""
    std = np.sqrt(np.float32(2) / np.float32(_fan(shape, f)))
    return lambda rng: in_pieces(shape, lambda n: boost_random.normal(rng, 0, std, n))


def _bilinear(shape: Sequence[int], f: Any) -> Draw:
    """Return the kernel of bilinear interpolation in every channel, for upsampling with `group`."""
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"the blob has shape {tuple(shape)}; it needs 4 axes and a square kernel")
    factor = math.ceil(shape[3] / 2)
    centre = (shape[3] - 1) / (2 * factor)
    line = 1 - np.abs(np.arange(shape[3]) / factor - centre)
    return lambda rng: np.broadcast_to(np.outer(line, line), shape).astype(np.float32)


def _diagonal(shape: Sequence[int], f: Any) -> Draw:
    """diag_val, one for all or one for each output, where input and output are equal (flownet2)."""
    values = np.array(f.diag_val or [1.0], np.float32)
    count = min(shape[:2]) if len(shape) > 1 else 0
    if not count or values.size not in (1, count) or math.prod(shape[2:]) != 1:
        raise ValueError(
            f"{values.size} diag_val for a blob of shape {tuple(shape)}; it needs outputs x inputs "
            "with a kernel of 1, and one value or one for each"
        )
    kernel = np.zeros(shape, np.float32)
    kernel[range(count), range(count)] = np.resize(values, count).reshape(
        -1, *[1] * (len(shape) - 2)
    )
    return lambda rng: kernel


def _fan(shape: Sequence[int], f: Any) -> float:
    """Fan-in, fan-out or their mean, as `variance_norm` says, counted as Caffe counts them."""
    count = math.prod(shape)
    fan_in = count / shape[0]
    fan_out = count / shape[1] if len(shape) > 1 else count
    return {f.FAN_IN: fan_in, f.FAN_OUT: fan_out, f.AVERAGE: (fan_in + fan_out) / 2}[
        f.variance_norm
    ]


#: Values that are drawn at a time: 32 MB in float64.
PIECE = 1 << 22


def in_pieces(shape: Sequence[int], draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """Return float32 values from a source of float64, in pieces that need little memory."""
    flat = np.empty(math.prod(shape), np.float32)
    for start in range(0, flat.size, PIECE):
        part = flat[start : start + PIECE]
        part[:] = draw(part.size)
    return flat.reshape(shape)


_FILLERS: dict[str, Callable[[Sequence[int], Any], Draw]] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
    "diagonal": _diagonal,
}
