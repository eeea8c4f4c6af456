"""Bilinear kernels for the Deconvolution layers of pycaffe nets."""

from __future__ import annotations

from typing import Any, Iterable, List

import numpy as np

from surgery.shapes import shape_text


def bilinear(size: int) -> np.ndarray:
    """Return the size x size kernel that upsamples bilinearly by the factor (size + 1) // 2."""
    factor = (size + 1) // 2
    centre = (size - 1) / 2.0
    line = 1 - np.abs(np.arange(size) - centre) / factor
    return np.outer(line, line)


def upsample_filt(size: int) -> np.ndarray:
    """Return `bilinear(size)`. The scripts of the published FCNs call it by this name."""
    return bilinear(size)


def interp(net: Any, layers: Iterable[str]) -> None:
    """Fill Deconvolution layers with bilinear kernels, each class into itself.

    net: a pycaffe net. layers: names of layers whose weights are K x K x k x k, or K x 1 x k x k
    with one group for each class.

    Raises ValueError for a layer that is not in the net, a kernel that is not square, and
    different numbers of channels in and out.
    """
    for name in layers:
        if name not in net.params:
            raise ValueError(f"layer {name}: not in this net, which has {', '.join(net.params)}")
        weights = net.params[name][0].data
        shape = tuple(weights.shape)
        if len(shape) != 4 or shape[2] != shape[3]:
            raise ValueError(
                f"layer {name}: weights are {shape_text(shape)}, needs a square kernel"
            )
        if shape[1] not in (1, shape[0]):
            raise ValueError(
                f"layer {name}: weights map {shape[0]} to {shape[1]} channels, needs equal numbers"
            )
        weights[...] = 0
        weights[np.arange(shape[0]), np.arange(shape[1])] = bilinear(shape[2])


def interp_layers(net: Any) -> List[str]:
    """Return the layers that upsample: those with `up` in their names, in the net's order."""
    return [name for name in net.params if "up" in name]
