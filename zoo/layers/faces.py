"""Cases of the layers of face recognition."""

from __future__ import annotations

import math
from collections.abc import Callable

import caffe
import numpy as np

from .case import Arrays, Case, normal


def with_labels(random: np.random.RandomState) -> list[np.ndarray]:
    """Six rows of five values, and a class of 0 .. 3 for each."""
    return [random.standard_normal((6, 5)), random.randint(0, 4, 6).astype(float)]


def centre_loss(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
    """Half the mean squared distance of a row from the centre of its class, row by row."""
    x, labels = bottoms
    total = 0.0
    for row, label in zip(x, labels):
        total += ((row - parameters[0][int(label)]) ** 2).sum()
    return np.array(total / (2 * len(x)))


def margin_product(bottoms: Arrays, parameters: Arrays, margin: int, weight: float) -> np.ndarray:
    """The product with a margin of the angle, from the angles themselves."""
    x, labels = bottoms
    w = parameters[0] / np.linalg.norm(parameters[0], axis=1, keepdims=True)
    y = np.empty((len(x), len(w)))
    for i, j in np.ndindex(*y.shape):
        length = np.linalg.norm(x[i])
        angle = math.acos(np.clip(w[j] @ x[i] / length, -1, 1))
        y[i, j] = length * math.cos(angle)
        if j == labels[i]:
            k = min(int(angle * margin / math.pi), margin - 1)
            psi = (-1) ** k * math.cos(margin * angle) - 2 * k
            y[i, j] = length * (weight * math.cos(angle) + psi) / (1 + weight)
    return y


def large_margin(bottoms: Arrays, parameters: Arrays, margin: int) -> np.ndarray:
    """Return L-Softmax's product with lambda 5: that of unit rows, times the rows' lengths."""
    return margin_product(bottoms, parameters, margin, 5.0) * np.linalg.norm(parameters[0], axis=1)


def margins(margin: int) -> Callable[[Arrays, Arrays], np.ndarray]:
    """Return a reference with this margin and lambda 5."""

    def product(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
        return margin_product(bottoms, parameters, margin, 5.0)

    return product


def added(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
    """0.35 less at the label of each row."""
    y = bottoms[0].copy()
    for row, label in zip(y, bottoms[1]):
        row[int(label)] -= 0.35
    return y


SPHEREFACE = "Liu et al. 2017, SphereFace; wy1iu/sphereface"
MARGIN = (
    "margin_inner_product_param { num_output: 4 type: %s base: 20 gamma: 1 power: 2 "
    "lambda_min: %s }"
)
WINDOWS = "happynear/caffe-windows"

CASES = [
    Case(
        "CenterLoss",
        "center_loss_param { num_output: 4 }",
        with_labels,
        "Wen et al. 2016, center loss; ydwen/caffe-face",
        centre_loss,
    ),
    *(
        Case(
            "MarginInnerProduct",
            MARGIN % (kind, "3"),
            with_labels,
            SPHEREFACE,
            margins(margin),
            kind,
            phase=caffe.TRAIN,
            smooth=(),
        )
        for margin, kind in enumerate(("SINGLE", "DOUBLE", "TRIPLE", "QUADRUPLE"), 1)
    ),
    Case(
        "MarginInnerProduct",
        "margin_inner_product_param { num_output: 4 type: QUADRUPLE lambda_min: 5 base: 5 }",
        with_labels,
        SPHEREFACE,
        margins(4),
        "fixed lambda",
    ),
    Case(
        "LargeMarginInnerProduct",
        "largemargin_inner_product_param { num_output: 4 type: TRIPLE lambda_min: 5 base: 5 }",
        with_labels,
        "Liu et al. 2016, L-Softmax; wy1iu/LargeMargin_Softmax_Loss",
        lambda b, p: large_margin(b, p, 3),
        learns=(0,),
    ),
    Case(
        "LabelSpecificAdd",
        "label_specific_add_param { bias: -0.35 transform_test: true }",
        lambda random: [random.standard_normal((6, 4)), random.randint(0, 4, 6).astype(float)],
        f"Wang et al. 2018, AM-Softmax; {WINDOWS}",
        added,
    ),
    Case(
        "Flip",
        "flip_param { flip_height: true }",
        normal((2, 3, 4, 5)),
        WINDOWS,
        lambda b, p: b[0][:, :, ::-1, ::-1],
    ),
    Case(
        "ChannelScale",
        "",
        normal((2, 3, 4, 5), (2, 1, 4, 5)),
        WINDOWS,
        lambda b, p: b[0] * b[1],
        smooth=(0, 1),
    ),
]
