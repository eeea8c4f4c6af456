"""Cases of the operators that papers and converters name: activations, products, shuffles."""

from __future__ import annotations

import numpy as np

from .case import Case, normal
from .mobile import CONVOLUTION, depthwise

MOBILE = "Howard et al. 2019, MobileNetV3"


def gate(x: np.ndarray) -> np.ndarray:
    """Return the hard sigmoid of MobileNetV3, from its three pieces."""
    return np.where(x <= -3, 0, np.where(x >= 3, 1, x / 6 + 0.5))


def spread(x: np.ndarray, r: int) -> np.ndarray:
    """Return PixelShuffle's top, a value at a time."""
    n, channels, height, width = x.shape
    y = np.empty((n, channels // (r * r), r * height, r * width))
    for c, i, j in np.ndindex(*y.shape[1:]):
        y[:, c, i, j] = x[:, c * r * r + i % r * r + j % r, i // r, j // r]
    return y


def scaled_exponential(x: np.ndarray) -> np.ndarray:
    """Return SELU with the constants of its paper."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


CASES = [
    *(
        Case(
            kind,
            "",
            lambda random: [4 * random.standard_normal((2, 3, 4, 5))],
            MOBILE,
            lambda b, p: b[0] * gate(b[0]),
        )
        for kind in ("HSwish", "HardSwish")
    ),
    Case(
        "HSigmoid",
        "",
        lambda random: [4 * random.standard_normal((2, 3, 4, 5))],
        MOBILE,
        lambda b, p: gate(b[0]),
    ),
    Case(
        "BReLU",
        "",
        normal((2, 3, 4, 5)),
        "Cai et al. 2016, DehazeNet",
        lambda b, p: np.where(b[0] < 0, 0, np.where(b[0] > 1, 1, b[0])),
    ),
    Case(
        "SiLU",
        "",
        normal((2, 3, 4, 5)),
        "Elfwing et al. 2018, SiLU",
        lambda b, p: b[0] * (1 + np.tanh(b[0] / 2)) / 2,
    ),
    Case(
        "Softplus",
        "",
        normal((2, 3, 4, 5)),
        "Dugas et al. 2001, softplus",
        lambda b, p: np.logaddexp(b[0], 0),
    ),
    Case(
        "SELU",
        "",
        normal((2, 3, 4, 5)),
        "Klambauer et al. 2017, SELU",
        lambda b, p: scaled_exponential(b[0]),
    ),
    Case(
        "CReLU",
        "",
        normal((2, 3, 4, 5)),
        "Shang et al. 2016, CReLU",
        lambda b, p: np.concatenate([b[0] * (b[0] > 0), -b[0] * (b[0] < 0)], 1),
    ),
    Case(
        "PixelShuffle",
        "pixel_shuffle_param { upscale_factor: 2 }",
        normal((2, 12, 3, 4)),
        "Shi et al. 2016, ESPCN",
        lambda b, p: spread(b[0], 2),
    ),
    *(
        Case(
            kind,
            "",
            normal((*batch, 4, 5), (*batch, 5, 6)),
            "the product of matrices",
            lambda b, p: np.einsum("...ij,...jk->...ik", *b),
            smooth=(0, 1),
        )
        for kind, batch in (("MatMul", (2, 3)), ("BatchMatMul", (3,)))
    ),
    Case(
        "DepthwiseConv",
        CONVOLUTION % "",
        normal((2, 4, 7, 9)),
        "Howard et al. 2017, MobileNets; HiSilicon's NNIE",
        lambda b, p: depthwise(b[0], p[0], p[1], 2, 1),
        learns=(0, 1),
    ),
]
