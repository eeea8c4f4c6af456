"""Cases of the layers around optical flow: means, sizes, losses, one-dimensional correlation."""

from __future__ import annotations

import caffe
import numpy as np

from .case import Arrays, Case, normal


def correlation_1d(bottoms: Arrays, pad: int, reach: int, direction: int = 0) -> np.ndarray:
    """Return Correlation1D's top with kernel 1 and strides 1, one displacement after the other."""
    a, b = (np.pad(x, [(0, 0), (0, 0), (0, 0), (pad, pad)]) for x in bottoms)
    width = a.shape[3] - 2 * reach
    steps = [s for s in range(-reach, reach + 1) if not direction or s * direction >= 0]
    patch = a[..., reach : reach + width]
    maps = [(patch * b[..., reach + s : reach + s + width]).mean(1) for s in steps]
    return np.stack(maps, 1)


def augmented(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
    """Return DataAugmentation's top: the centre, less the mean of each channel."""
    _, _, channels = parameters
    return bottoms[0][:, :, 1:5, 2:6] - channels


def enlarged(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return maps whose corners are those of the bottom, bilinear in between."""
    y = np.zeros((*x.shape[:2], height, width))
    for i, j in np.ndindex(height, width):
        row, column = i * (x.shape[2] - 1) / (height - 1), j * (x.shape[3] - 1) / (width - 1)
        for r in range(x.shape[2]):
            for c in range(x.shape[3]):
                y[:, :, i, j] += (
                    x[:, :, r, c] * max(0, 1 - abs(row - r)) * max(0, 1 - abs(column - c))
                )
    return y


def averaged(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return Downsample's top: the mean of what a position covers, with shares at the edges."""
    y = np.zeros((*x.shape[:2], height, width))
    steps = (x.shape[2] - 1) / (height - 1), (x.shape[3] - 1) / (width - 1)
    for n, c, i, j in np.ndindex(y.shape):
        total = weight = 0.0
        for r, s in np.ndindex(x.shape[2:]):
            shares = [
                min(1.0, max(0.0, step / 2 + 0.5 - abs(place - centre * step)))
                for step, place, centre in zip(steps, (r, s), (i, j))
            ]
            if not np.isnan(x[n, c, r, s]):
                total += shares[0] * shares[1] * x[n, c, r, s]
                weight += shares[0] * shares[1]
        y[n, c, i, j] = total / weight
    return y


def end_point_error(bottoms: Arrays) -> np.ndarray:
    """Return L1Loss with l2_per_location, a position at a time."""
    a, b = bottoms
    total = 0.0
    for n, i, j in np.ndindex(a.shape[0], *a.shape[2:]):
        total += np.sqrt(((a[n, :, i, j] - b[n, :, i, j]) ** 2).sum() + 1e-2)
    return np.array(total / len(a))


FLOWNET2 = "Ilg et al. 2017, FlowNet 2.0; lmb-freiburg/flownet2"

CASES = [
    Case(
        "Correlation1D",
        "correlation_param { pad: 3 kernel_size: 1 max_displacement: 3 }",
        normal((2, 4, 3, 8), (2, 4, 3, 8)),
        "Mayer et al. 2016, DispNet; lmb-freiburg/flownet2",
        lambda b, p: correlation_1d(b, 3, 3),
        smooth=(0, 1),
    ),
    Case(
        "Correlation1D",
        "correlation_param { pad: 3 kernel_size: 1 max_displacement: 3 single_direction: -1 }",
        normal((1, 4, 3, 8), (1, 4, 3, 8)),
        "Mayer et al. 2016, DispNet; lmb-freiburg/flownet2",
        lambda b, p: correlation_1d(b, 3, 3, -1),
        "to the left",
    ),
    Case(
        "DataAugmentation",
        "augmentation_param { crop_width: 4 crop_height: 4 recompute_mean: 5 "
        "mean_per_pixel: false }",
        normal((2, 3, 6, 8)),
        FLOWNET2,
        augmented,
        smooth=(),
    ),
    Case(
        "Mean",
        "mean_param { operation: SUBTRACT value: 1 value: 2 value: 3 input_scale: 0.5 }",
        normal((2, 3, 4, 5)),
        FLOWNET2,
        lambda b, p: 0.5 * b[0] - np.reshape([1, 2, 3], (3, 1, 1)),
    ),
    Case(
        "Accum",
        "accum_param { size_divisible_by: 4 }",
        normal((1, 2, 5, 6)),
        FLOWNET2,
        lambda b, p: enlarged(b[0], 8, 8),
    ),
    Case(
        "Downsample",
        "downsample_param { top_height: 3 top_width: 4 }",
        normal((1, 2, 7, 7)),
        FLOWNET2,
        lambda b, p: averaged(b[0], 3, 4),
    ),
    Case(
        "L1Loss",
        "",
        normal((2, 3, 4, 5), (2, 3, 4, 5)),
        "NVIDIA/caffe, DetectNet; lmb-freiburg/flownet2",
        lambda b, p: np.abs(b[0] - b[1]).sum() / 2,
        smooth=(0, 1),
    ),
    Case(
        "L1Loss",
        "l1_loss_param { l2_per_location: true }",
        normal((2, 2, 4, 5), (2, 2, 4, 5)),
        FLOWNET2,
        lambda b, p: end_point_error(b),
        "l2_per_location",
        phase=caffe.TRAIN,
    ),
]
