"""Cases of DeformableConvolution."""

from __future__ import annotations

import math

import numpy as np

from .case import Arrays, Case


def value(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """Return the bilinear value of C x H x W at a place; 0 outside 0 <= y < H, 0 <= x < W."""
    height, width = image.shape[1:]
    if not (0 <= y < height and 0 <= x < width):
        return np.zeros(len(image))
    top, left = math.floor(y), math.floor(x)
    rows, columns = (top, min(top + 1, height - 1)), (left, min(left + 1, width - 1))
    total = np.zeros(len(image))
    for row, a in zip(rows, (1 - (y - top), y - top)):
        for column, b in zip(columns, (1 - (x - left), x - left)):
            total += a * b * image[:, row, column]
    return total


def deformed(
    bottoms: Arrays, parameters: Arrays, stride: int, pad: int, dilation: int, groups: int
) -> np.ndarray:
    """Return DeformableConvolution's top by loops; groups: of the offsets."""
    x, offsets = bottoms
    weights, bias = parameters
    size, kernel = offsets.shape[2:], weights.shape[2:]
    each, parts = x.shape[1] // groups, x.shape[1] // weights.shape[1]
    outputs = len(weights) // parts
    y = np.zeros((len(x), len(weights), *size)) + bias[:, None, None]
    for n, i, j, a, b in np.ndindex(len(x), *size, *kernel):
        column = []
        for g in range(groups):
            channel = 2 * (g * kernel[0] * kernel[1] + a * kernel[1] + b)
            row = i * stride - pad + a * dilation + offsets[n, channel, i, j]
            place = j * stride - pad + b * dilation + offsets[n, channel + 1, i, j]
            column.append(value(x[n, g * each : (g + 1) * each], row, place))
        values = np.concatenate(column).reshape(parts, -1)
        for o in range(len(weights)):
            y[n, o, i, j] += weights[o, :, a, b] @ values[o // outputs]
    return y


def maps(channels: int, size: tuple[int, int]):  # type: ignore[no-untyped-def]
    """Return a function that draws maps 2 x 4 x 6 x 7 and offsets of this many channels."""

    def draw(random: np.random.RandomState) -> list[np.ndarray]:
        offsets = 0.7 * random.standard_normal((2, channels, *size))
        return [random.standard_normal((2, 4, 6, 7)), offsets]

    return draw


SOURCE = "Dai et al. 2017, deformable convolution; unsky/Deformable-ConvNets-caffe"

CASES = [
    Case(
        "DeformableConvolution",
        "deformable_convolution_param { num_output: 3 kernel_size: 3 pad: 2 dilation: 2 "
        "deformable_group: 2 }",
        maps(36, (6, 7)),
        SOURCE,
        lambda b, p: deformed(b, p, 1, 2, 2, 2),
        smooth=(0, 1),
        learns=(0, 1),
    ),
    Case(
        "DeformableConvolution",
        "deformable_convolution_param { num_output: 6 kernel_size: 3 pad: 1 stride: 2 group: 2 }",
        maps(18, (3, 4)),
        SOURCE,
        lambda b, p: deformed(b, p, 2, 1, 1, 1),
        "stride and group",
        smooth=(0, 1),
        learns=(0, 1),
    ),
]
