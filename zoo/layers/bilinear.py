"""Cases of compact bilinear pooling."""

from __future__ import annotations

import numpy as np

from .case import Arrays, Case, normal

SOURCE = "Gao et al. 2016, compact bilinear pooling; gy20073/compact_bilinear_pooling"
VQA = "Gao et al. 2016; akirafukui/vqa-mcb"
SIZE = 6


def sketched(bottoms: Arrays, parameters: Arrays, pooled: bool) -> np.ndarray:
    """Return CompactBilinear's top: each product of a pair of channels is added at its place."""
    x, y = bottoms
    h, s, k, t = parameters
    n, _, rows, columns = x.shape
    top = np.zeros((n, SIZE, rows, columns))
    for i in range(x.shape[1]):
        for j in range(y.shape[1]):
            place = int(h[i] + k[j]) % SIZE
            top[:, place] += s[i] * t[j] * x[:, i] * y[:, j]
    return top.sum((2, 3), keepdims=True) if pooled else top


def roots(bottoms: Arrays) -> np.ndarray:
    """Return SignedSqrt's top."""
    (x,) = bottoms
    return np.where(x < 0, -np.sqrt(abs(x)), np.sqrt(abs(x)))


def unit(bottoms: Arrays) -> np.ndarray:
    """Return L2Normalize's top, a row at a time."""
    return np.stack([row / np.sqrt((row * row).sum()) for row in bottoms[0]])


FIELDS = f"compact_bilinear_param {{ num_output: {SIZE} sum_pool: %s }}"
MAPS = normal((2, 4, 2, 3), (2, 5, 2, 3))

CASES = [
    Case(
        "CompactBilinear",
        FIELDS % "true",
        MAPS,
        SOURCE,
        lambda b, p: sketched(b, p, True),
        "sum_pool",
        smooth=(0, 1),
        drawn=False,
    ),
    Case(
        "CompactBilinear",
        FIELDS % "false",
        MAPS,
        SOURCE,
        lambda b, p: sketched(b, p, False),
        "each position",
        smooth=(0, 1),
        drawn=False,
    ),
    Case("SignedSqrt", "", normal((2, 3, 4)), VQA, lambda b, p: roots(b), smooth=()),
    *(
        Case(kind, "", normal((3, 5)), VQA, lambda b, p: unit(b))
        for kind in ("L2Normalize", "L2Normalization")
    ),
]
