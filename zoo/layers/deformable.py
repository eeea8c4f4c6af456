"""Cases of DeformableConvolution and DeformablePSROIPooling."""

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


def pooled(
    bottoms: Arrays, group: int, size: int, parts: int, samples: int, spread: float, scale: float
) -> np.ndarray:
    """Return DeformablePSROIPooling's top by loops, a sample at a time."""
    x, rois = bottoms[:2]
    height, width = x.shape[2:]
    outputs = x.shape[1] // group**2
    offsets = bottoms[2] if len(bottoms) == 3 else np.zeros((len(rois), 2, parts, parts))
    each = outputs // (offsets.shape[1] // 2)
    y = np.zeros((len(rois), outputs, size, size))
    for n, o, i, j in np.ndindex(*y.shape):
        left, top, right, bottom = (np.floor(v + 0.5) * scale - 0.5 for v in rois[n, 1:])
        wide, high = max(right + scale - left, 0.1), max(bottom + scale - top, 0.1)
        move = spread * offsets[n, o // each * 2 :, i * parts // size, j * parts // size]
        values = []
        for a, b in np.ndindex(samples, samples):
            row = top + high * (i / size + move[1] + a / (size * samples))
            column = left + wide * (j / size + move[0] + b / (size * samples))
            if -0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5:
                image = x[int(rois[n, 0]), (o * group + i * group // size) * group :]
                place = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
                values.append(value(image[j * group // size][None], *place)[0])
        y[n, o, i, j] = np.mean(values) if values else 0
    return y


def regions(offsets: tuple[int, int, int]):  # type: ignore[no-untyped-def]
    """Return a function that draws maps 2 x 16 x 6 x 7, ROIs at the map's edges, and offsets."""

    def draw(random: np.random.RandomState) -> list[np.ndarray]:
        rois = np.array(
            [[0, 3, 4, 40, 33], [1, 30, 20, 70, 60], [1, -9, -9, 2, 2], [0, 90, 1, 95, 9]]
        )
        arrays = [random.standard_normal((2, 16, 6, 7)), rois]
        return [*arrays, random.standard_normal((4, *offsets))] if offsets[0] else arrays

    return draw


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
    Case(
        "DeformablePSROIPooling",
        "deformable_psroi_pooling_param { spatial_scale: 0.125 output_dim: 4 group_size: 2 "
        "pooled_size: 4 part_size: 2 sample_per_part: 3 trans_std: 0.1 }",
        regions((4, 2, 2)),
        SOURCE,
        lambda b, p: pooled(b, 2, 4, 2, 3, 0.1, 0.125),
        smooth=(0, 2),
    ),
    Case(
        "DeformablePSROIPooling",
        "deformable_psroi_pooling_param { spatial_scale: 0.125 output_dim: 4 group_size: 2 "
        "pooled_size: 2 sample_per_part: 4 no_trans: true }",
        regions((0, 0, 0)),
        SOURCE,
        lambda b, p: pooled(b, 2, 2, 2, 4, 0, 0.125),
        "no_trans",
    ),
]
