"""Cases of DenseBlock."""

from __future__ import annotations

import numpy as np

from .case import Arrays, Case, normal

SOURCE = "Huang et al. 2017, DenseNet; Tongcheng/caffe, senlinuc/caffe_ocr"
#: Layers, and channels that each adds.
COUNT, GROWTH = 2, 3


def convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return a convolution that keeps the size, a value at a time."""
    rows, columns = kernel.shape[2] // 2, kernel.shape[3] // 2
    padded = np.pad(x, [(0, 0), (0, 0), (rows, rows), (columns, columns)])
    y = np.zeros((len(x), len(kernel), *x.shape[2:]))
    for n, k, i, j in np.ndindex(y.shape):
        window = padded[n, :, i : i + kernel.shape[2], j : j + kernel.shape[3]]
        y[n, k, i, j] = (window * kernel[k]).sum()
    return y


def dense(bottoms: Arrays, parameters: Arrays, bottleneck: bool) -> np.ndarray:
    """Return DenseBlock's top in TEST, with running statistics over the last parameter."""
    x, total = bottoms[0], parameters[-1]

    def activated(x: np.ndarray, layer: int, part: int) -> np.ndarray:
        scale, bias, mean, variance = (
            parameters[(part * 5 + kind) * COUNT + layer] for kind in (1, 2, 3, 4)
        )
        deviation = np.sqrt(variance / total + 1e-5)
        return np.maximum((x - mean / total) / deviation * scale + bias, 0)

    for layer in range(COUNT):
        y = activated(x, layer, 0)
        if bottleneck:
            y = activated(convolved(y, parameters[5 * COUNT + layer]), layer, 1)
        y = convolved(y, parameters[layer])
        x = np.concatenate([x, y], 1)
    return x


FIELDS = f"denseblock_param {{ numTransition: {COUNT} growthRate: {GROWTH} %s }}"

CASES = [
    Case(
        "DenseBlock",
        FIELDS % "",
        normal((2, 4, 4, 5)),
        SOURCE,
        lambda b, p: dense(b, p, False),
        learns=(0, 1, 2, 5),
    ),
    Case(
        "DenseBlock",
        FIELDS % "use_BC: true",
        normal((2, 4, 4, 5)),
        SOURCE,
        lambda b, p: dense(b, p, True),
        "use_BC",
        learns=(0, 2, 10, 12),
    ),
]
