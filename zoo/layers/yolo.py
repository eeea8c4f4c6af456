"""Cases of Reorg and Mish."""

from __future__ import annotations

import numpy as np

from .case import Case, normal


def reorganized(x: np.ndarray, stride: int, reverse: bool) -> np.ndarray:
    """Move each value as Darknet's reorg_cpu does, one at a time."""
    n, c, h, w = x.shape
    channels = c // stride**2
    flat, y = x.reshape(n, -1), np.empty((n, c * h * w))
    for k, j, i in np.ndindex(c, h, w):
        place = i + w * (j + h * k)
        group = k // channels
        row, column = j * stride + group // stride, i * stride + group % stride
        other = column + w * stride * (row + h * stride * (k % channels))
        if reverse:
            y[:, other] = flat[:, place]
        else:
            y[:, place] = flat[:, other]
    if reverse:
        return y.reshape(n, channels, h * stride, w * stride)
    return y.reshape(n, c * stride**2, h // stride, w // stride)


YOLO = "Redmon & Farhadi 2016, YOLO9000; gklz1982/caffe-yolov2"

CASES = [
    Case(
        "Reorg",
        "reorg_param { stride: 2 }",
        normal((2, 8, 4, 6)),
        YOLO,
        lambda b, p: reorganized(b[0], 2, False),
        opencv=True,
    ),
    Case(
        "Reorg",
        "reorg_param { stride: 2 reverse: true }",
        normal((2, 8, 4, 6)),
        YOLO,
        lambda b, p: reorganized(b[0], 2, True),
        "reverse",
    ),
    Case(
        "Mish",
        "",
        normal((2, 3, 4, 5)),
        "Misra 2019, Mish; eric612/MobileNet-YOLO",
        lambda b, p: b[0] * np.tanh(np.log1p(np.exp(b[0]))),
        opencv=True,
    ),
]
