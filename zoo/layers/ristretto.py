"""Cases of Ristretto's layers."""

from __future__ import annotations

import math

import numpy as np

from .case import Arrays, Case, normal
from .dense import convolved

SOURCE = "Gysel et al. 2016, Ristretto; pmgysel/caffe"
BITS = (
    "quantization_param { bw_layer_in: 8 fl_layer_in: 5 bw_params: 4 fl_params: 2 "
    "bw_layer_out: 8 fl_layer_out: 3 }"
)


def fixed(x: np.ndarray, bits: int, fraction: int) -> np.ndarray:
    """Return the numbers of so many bits that are nearest to x, one at a time."""
    most, step = 2 ** (bits - 1), 2.0**-fraction
    y = np.empty_like(x)
    for place, value in np.ndenumerate(x):
        count = math.copysign(math.floor(abs(value / step) + 0.5), value)
        y[place] = min(max(count, -most), most - 1) * step
    return y


def powers(x: np.ndarray, least: int, most: int) -> np.ndarray:
    """Return the powers of two that are nearest to x in their exponents."""
    y = np.empty_like(x)
    for place, value in np.ndenumerate(x):
        exponent = math.log2(abs(value))
        exponent = math.copysign(math.floor(abs(exponent) + 0.5), exponent)
        y[place] = math.copysign(2.0 ** min(max(exponent, least), most), value)
    return y


def convolution(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
    """Return ConvolutionRistretto's top in TEST, with the settings of BITS."""
    w, b = (fixed(p, 4, 2) for p in parameters)
    return fixed(convolved(fixed(bottoms[0], 8, 5), w) + b[:, None, None], 8, 3)


def product(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
    """Return FcRistretto's top in TEST, with weights of powers of two from -3 to 0."""
    w, b = powers(parameters[0], -3, 0), parameters[1]
    return fixed(bottoms[0].reshape(len(bottoms[0]), -1) @ w.T + b, 8, 4)


CASES = [
    Case(
        "ConvolutionRistretto",
        f"convolution_param {{ num_output: 3 kernel_size: 3 pad: 1 }} {BITS}",
        normal((2, 4, 4, 5)),
        SOURCE,
        convolution,
        "fixed point",
        smooth=(),
    ),
    Case(
        "FcRistretto",
        "inner_product_param { num_output: 3 } quantization_param { precision: "
        "INTEGER_POWER_OF_2_WEIGHTS exp_min: -3 exp_max: 0 bw_layer_out: 8 fl_layer_out: 4 }",
        normal((2, 4, 3)),
        SOURCE,
        product,
        "powers of two",
        smooth=(),
    ),
]
