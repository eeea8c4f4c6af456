"""Cases of Correlation, FlowWarp, Resample and ChannelNorm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .case import Case, normal


def correlation(
    a: np.ndarray,
    b: np.ndarray,
    pad: int,
    kernel: int,
    displacement: int,
    strides: Sequence[int],
    subtract: bool = False,
) -> np.ndarray:
    """FlowNet's correlation, displacement by displacement and position by position."""
    a, b = (np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))) for x in (a, b))
    border = displacement + (kernel - 1) // 2
    height, width = (math.ceil((n - 2 * border) / strides[0]) for n in a.shape[2:])
    reach = displacement // strides[1]
    side = 2 * reach + 1
    y = np.zeros((a.shape[0], side * side, height, width))
    for channel, i, j in np.ndindex(side * side, height, width):
        q, p = (channel // side - reach) * strides[1], (channel % side - reach) * strides[1]
        top, left = i * strides[0] + displacement, j * strides[0] + displacement
        for row in range(top, top + kernel):
            for column in range(left, left + kernel):
                first, second = a[:, :, row, column], b[:, :, row + q, column + p]
                terms = np.abs(first - second) if subtract else first * second
                y[:, channel, i, j] += terms.sum(1)
    return y / (kernel * kernel * a.shape[1])


def warped(x: np.ndarray, flow: np.ndarray, empty: float) -> np.ndarray:
    """Read x where the flow points, position by position."""
    y = np.full_like(x, empty)
    height, width = x.shape[2:]
    for n, i, j in np.ndindex(x.shape[0], height, width):
        column, row = j + flow[n, 0, i, j], i + flow[n, 1, i, j]
        if 0 <= column < width and 0 <= row < height:
            top, left = int(row), int(column)
            down, right = min(top + 1, height - 1), min(left + 1, width - 1)
            a, b = row - top, column - left
            y[n, :, i, j] = (1 - a) * ((1 - b) * x[n, :, top, left] + b * x[n, :, top, right])
            y[n, :, i, j] += a * ((1 - b) * x[n, :, down, left] + b * x[n, :, down, right])
    return y


def with_flow(random: np.random.RandomState) -> list[np.ndarray]:
    """A map, and a flow whose places are clear of whole pixels, which have no derivative."""
    places = random.uniform(0.2, 0.8, (2, 2, 6, 7)) + random.randint(-3, 4, (2, 2, 6, 7))
    return [random.standard_normal((2, 3, 6, 7)), places]


def far_apart(random: np.random.RandomState) -> list[np.ndarray]:
    """Two maps whose values never come near each other or 0, where |a - b| has no derivative."""
    signs = random.choice([-1, 1], (2, 2, 4, 7, 8))
    return list(signs * (random.uniform(1, 2, signs.shape) + np.reshape([0, 2], (2, 1, 1, 1, 1))))


def linear_weight(x: float) -> float:
    """Return the weight of a linear filter at distance x."""
    return max(0.0, 1 - abs(x))


def cubic_weight(x: float) -> float:
    """Return the weight of a cubic filter at distance x (Keys 1981, equation 15)."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def resampled(
    x: np.ndarray, height: int, width: int, weight: Callable[[float], float], wider: bool
) -> np.ndarray:
    """Weigh all positions for each position of the top."""
    y = np.zeros((*x.shape[:2], height, width))
    shares = []
    for size, new in zip(x.shape[2:], (height, width)):
        ratio = size / new
        spread = ratio if wider else 1.0
        centres = [(i + 0.5) * ratio - 0.5 for i in range(new)]
        shares.append([[weight((r - c) / spread) for r in range(size)] for c in centres])
    for i, j in np.ndindex(height, width):
        share = np.outer(shares[0][i], shares[1][j])
        y[:, :, i, j] = (share * x).sum((2, 3)) / share.sum()
    return y


FLOWNET = "Dosovitskiy et al. 2015, FlowNet; lmb-freiburg/flownet2"
FLOWNET2 = "Ilg et al. 2017, FlowNet 2.0; lmb-freiburg/flownet2"
DISPLACED = (
    "correlation_param { pad: 3 kernel_size: 3 max_displacement: 2 stride_1: 2 stride_2: 1 %s }"
)

CASES = [
    Case(
        "Correlation",
        DISPLACED % "",
        normal((2, 4, 7, 8), (2, 4, 7, 8)),
        FLOWNET,
        lambda b, p: correlation(b[0], b[1], 3, 3, 2, (2, 1)),
        smooth=(0, 1),
    ),
    Case(
        "Correlation",
        "correlation_param { pad: 3 kernel_size: 1 max_displacement: 2 stride_1: 2 stride_2: 1 }",
        normal((2, 4, 7, 8), (2, 4, 7, 8)),
        FLOWNET,
        lambda b, p: correlation(b[0], b[1], 3, 1, 2, (2, 1)),
        "kernel of 1",
        smooth=(0, 1),
    ),
    Case(
        "Correlation",
        DISPLACED % "correlation_type: SUBTRACT",
        far_apart,
        FLOWNET,
        lambda b, p: correlation(b[0], b[1], 3, 3, 2, (2, 1), True),
        "SUBTRACT",
        smooth=(0, 1),
    ),
    Case(
        "FlowWarp",
        "",
        with_flow,
        FLOWNET2,
        lambda b, p: warped(b[0], b[1], 0.0),
        opencv=True,
        smooth=(0, 1),
    ),
    Case(
        "FlowWarp",
        "flow_warp_param { fill_value: NOT_A_NUMBER }",
        with_flow,
        FLOWNET2,
        lambda b, p: warped(b[0], b[1], math.nan),
        "NOT_A_NUMBER",
        smooth=(),
    ),
    Case(
        "Resample",
        "resample_param { type: LINEAR factor: 2 antialias: false }",
        normal((2, 3, 4, 5)),
        FLOWNET2,
        lambda b, p: resampled(b[0], 8, 10, linear_weight, False),
        "LINEAR, enlarged",
        smooth=(),
    ),
    Case(
        "Resample",
        "resample_param { type: LINEAR height: 3 width: 4 }",
        normal((2, 3, 8, 9)),
        FLOWNET2,
        lambda b, p: resampled(b[0], 3, 4, linear_weight, True),
        "LINEAR, shrunk with antialias",
        smooth=(),
    ),
    Case(
        "Resample",
        "resample_param { type: CUBIC }",
        normal((2, 3, 4, 5), (2, 1, 7, 12)),
        FLOWNET2,
        lambda b, p: resampled(b[0], 7, 12, cubic_weight, False),
        "CUBIC, size of a second bottom",
        smooth=(),
    ),
    Case(
        "Resample",
        "resample_param { type: NEAREST factor: 3 }",
        normal((2, 3, 4, 5)),
        FLOWNET2,
        lambda b, p: np.kron(b[0], np.ones((1, 1, 3, 3))),
        "NEAREST",
        opencv=True,
        smooth=(),
    ),
    Case(
        "ChannelNorm",
        "",
        normal((2, 3, 4, 5)),
        FLOWNET2,
        lambda b, p: np.sqrt((b[0] ** 2).sum(1, keepdims=True)),
    ),
]
