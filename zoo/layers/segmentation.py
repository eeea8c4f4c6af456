"""Cases of BN, Interp, Upsample and Unpooling, with second implementations in NumPy."""

from __future__ import annotations

import caffe
import numpy as np

from .case import Arrays, Case, normal


def standardized(x: np.ndarray, eps_inside: float, eps_outside: float) -> np.ndarray:
    """Return x less the mean of its channel, over the standard deviation."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        values = x[:, c]
        deviation = np.sqrt(np.mean((values - values.mean()) ** 2) + eps_inside) + eps_outside
        y[:, c] = (values - values.mean()) / deviation
    return y


def bn_running(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
    """PSPNet's BN with its running mean and variance."""
    scale, shift, mean, variance = parameters
    return (bottoms[0] - mean) / np.sqrt(variance + 1e-5) * scale + shift


def bn_batch(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
    """PSPNet's BN with the mean and variance of the batch."""
    return standardized(bottoms[0], 1e-5, 0) * parameters[0] + parameters[1]


def bn_affine(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
    """SegNet's BN after its statistics were folded into the parameters."""
    return bottoms[0] * parameters[0] + parameters[1]


def bn_learn(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
    """SegNet's BN with the mean and variance of the batch."""
    return standardized(bottoms[0], 0, 1e-9) * parameters[0] + parameters[1]


def batch_norm_with_scale(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
    """NVCaffe's BatchNorm with its running sums."""
    mean, variance, weight, scale, bias = parameters
    deviation = np.sqrt(variance / weight + 1e-5)
    y = np.empty_like(bottoms[0])
    for c in range(y.shape[1]):
        y[:, c] = (bottoms[0][:, c] - mean[c] / weight) / deviation[c] * scale[c] + bias[c]
    return y


def bilinear(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Interpolate so that the corners of x and of the result coincide, position by position."""
    y = np.empty((*x.shape[:2], height, width))
    for i in range(height):
        for j in range(width):
            row = i * (x.shape[2] - 1) / (height - 1) if height > 1 else 0
            column = j * (x.shape[3] - 1) / (width - 1) if width > 1 else 0
            top, left = int(row), int(column)
            down, right = min(top + 1, x.shape[2] - 1), min(left + 1, x.shape[3] - 1)
            a, b = row - top, column - left
            y[:, :, i, j] = (1 - a) * ((1 - b) * x[:, :, top, left] + b * x[:, :, top, right])
            y[:, :, i, j] += a * ((1 - b) * x[:, :, down, left] + b * x[:, :, down, right])
    return y


def masked(random: np.random.RandomState, height: int, width: int) -> list[np.ndarray]:
    """Values of 2 x 3 x 4 x 5 and a mask of different places in a map of this size."""
    x = random.standard_normal((2, 3, 4, 5))
    places = [random.permutation(height * width)[:20].reshape(4, 5) for _ in range(6)]
    return [x, np.array(places, float).reshape(x.shape)]


def at_places(x: np.ndarray, mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Put each value at its place, one at a time."""
    y = np.zeros((*x.shape[:2], height, width))
    for n, c, i, j in np.ndindex(*x.shape):
        place = int(mask[n, c, i, j])
        y[n, c, place // width, place % width] = x[n, c, i, j]
    return y


def spread_mean(x: np.ndarray) -> np.ndarray:
    """DeconvNet's AVE with windows of 3 x 3, stride 2 and pad 1, window by window."""
    height, width = (2 * (n - 1) + 1 for n in x.shape[2:])
    y = np.zeros((*x.shape[:2], height, width))
    for i, j in np.ndindex(*x.shape[2:]):
        for row in range(2 * i - 1, 2 * i + 2):
            for column in range(2 * j - 1, 2 * j + 2):
                if 0 <= row < height and 0 <= column < width:
                    y[:, :, row, column] += x[:, :, i, j] / 9
    return y


PSPNET = "Zhao et al. 2016, PSPNet; hszhao/PSPNet, yjxiong/caffe"
SEGNET = "Badrinarayanan et al. 2015, SegNet; alexgkendall/caffe-segnet"
DEEPLAB = "Chen et al. 2016, DeepLab v2; xmyqsh/deeplab-v2"
DECONVNET = "Noh et al. 2015, DeconvNet"

CASES = [
    Case(
        "BatchNorm",
        "batch_norm_param { scale_bias: true }",
        normal((2, 3, 4, 5)),
        "Ioffe & Szegedy 2015; NVIDIA/caffe",
        batch_norm_with_scale,
        "scale_bias",
        learns=(3, 4),
    ),
    Case(
        "BN",
        "bn_param { momentum: 0.95 }",
        normal((2, 3, 4, 5)),
        PSPNET,
        bn_running,
        "running statistics",
        learns=(0, 1),
    ),
    Case(
        "BN",
        "bn_param { eps: 1e-5 }",
        normal((2, 3, 4, 5)),
        PSPNET,
        bn_batch,
        "statistics of the batch",
        learns=(0, 1),
        phase=caffe.TRAIN,
    ),
    Case(
        "BN",
        "bn_param { bn_mode: INFERENCE }",
        normal((2, 3, 4, 5)),
        SEGNET,
        bn_affine,
        "INFERENCE",
        learns=(0, 1),
    ),
    Case(
        "BN",
        "bn_param { scale_filler { type: 'constant' value: 1 } }",
        normal((2, 3, 4, 5)),
        SEGNET,
        bn_learn,
        "LEARN",
        learns=(0, 1),
    ),
    Case(
        "BN",
        "bn_param { moving_average: true var_eps: 1e-5 }",
        normal((2, 3, 4, 5)),
        "Liu et al. 2015, ParseNet; debidatta/caffe-parsenet",
        lambda b, p: (b[0] - p[2]) / (np.sqrt(p[3]) + 1e-5) * p[0] + p[1],
        "moving_average",
        learns=(0, 1),
    ),
    Case(
        "Interp",
        "interp_param { zoom_factor: 3 }",
        normal((2, 3, 4, 5)),
        DEEPLAB,
        lambda b, p: bilinear(b[0], 10, 13),
        "zoom_factor",
        opencv=True,
    ),
    Case(
        "Interp",
        "interp_param { shrink_factor: 2 }",
        normal((2, 3, 7, 9)),
        DEEPLAB,
        lambda b, p: bilinear(b[0], 4, 5),
        "shrink_factor",
    ),
    Case(
        "Interp",
        "interp_param { height: 6 width: 11 }",
        normal((2, 3, 4, 5)),
        DEEPLAB,
        lambda b, p: bilinear(b[0], 6, 11),
        "height and width",
        opencv=True,
    ),
    Case(
        "Interp",
        "interp_param { shrink_factor: 2 zoom_factor: 3 pad_beg: -1 pad_end: -2 }",
        normal((2, 3, 8, 10)),
        DEEPLAB,
        lambda b, p: bilinear(b[0][:, :, 1:-2, 1:-2], 7, 10),
        "cropped, both factors",
    ),
    Case(
        "Interp",
        "",
        normal((2, 3, 4, 5), (2, 1, 9, 7)),
        DEEPLAB,
        lambda b, p: bilinear(b[0], 9, 7),
        "size of a second bottom",
    ),
    Case(
        "Upsample",
        "upsample_param { scale: 2 pad_out_h: true }",
        lambda random: masked(random, 7, 10),
        SEGNET,
        lambda b, p: at_places(b[0], b[1], 7, 10),
        "with a mask",
    ),
    Case(
        "Upsample",
        "upsample_param { upsample_h: 9 upsample_w: 11 }",
        lambda random: masked(random, 9, 11),
        SEGNET,
        lambda b, p: at_places(b[0], b[1], 9, 11),
        "with a mask and a size",
    ),
    Case(
        "Upsample",
        "upsample_param { scale: 3 }",
        normal((2, 3, 4, 5)),
        "Redmon & Farhadi 2018, YOLOv3; eric612/MobileNet-YOLO",
        lambda b, p: np.kron(b[0], np.ones((1, 1, 3, 3))),
        "nearest neighbour",
    ),
    Case(
        "Upsample",
        "upsample_param { scale: 3 stride_h: 1 stride_w: 2 }",
        normal((2, 3, 4, 5)),
        "Huawei's CANN",
        lambda b, p: 3 * np.kron(b[0], np.ones((1, 1, 1, 2))),
        "with a stride",
    ),
    Case(
        "Unpooling",
        "unpooling_param { unpool: MAX kernel_size: 2 stride: 2 unpool_size: 10 }",
        lambda random: masked(random, 10, 10),
        DECONVNET,
        lambda b, p: at_places(b[0], b[1], 10, 10),
        "MAX",
    ),
    Case(
        "Unpooling",
        "unpooling_param { unpool: AVE kernel_size: 3 stride: 2 pad: 1 }",
        normal((2, 3, 4, 5)),
        DECONVNET,
        lambda b, p: spread_mean(b[0]),
        "AVE",
    ),
]
