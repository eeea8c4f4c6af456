"""Cases of the layers of small, gated and residual nets."""

from __future__ import annotations

import numpy as np

from .case import Case, normal


def depthwise(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """Convolve each channel with its own kernel, position by position."""
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    k, channels, outputs = w.shape[2], x.shape[1], w.shape[0]
    height, width = ((n - k) // stride + 1 for n in padded.shape[2:])
    y = np.empty((x.shape[0], outputs, height, width))
    for o, i, j in np.ndindex(outputs, height, width):
        window = padded[:, o * channels // outputs, i * stride : i * stride + k]
        window = window[:, :, j * stride : j * stride + k]
        y[:, o, i, j] = (window * w[o, 0]).sum((1, 2)) + b[o]
    return y


def shuffled(x: np.ndarray, groups: int) -> np.ndarray:
    """Return the groups of channels in turn, channel by channel."""
    y, size = np.empty_like(x), x.shape[1] // groups
    for group in range(groups):
        for k in range(size):
            y[:, k * groups + group] = x[:, group * size + k]
    return y


MOBILE = "Howard et al. 2017, MobileNets"
SHUFFLE = "Zhang et al. 2017, ShuffleNet; farmingyard/ShuffleNet"
SENET = "Hu et al. 2017, Squeeze-and-Excitation; hujie-frank/SENet"
CONVOLUTION = "convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 %s }"

CASES = [
    Case(
        "ConvolutionDepthwise",
        CONVOLUTION % "",
        normal((2, 4, 7, 9)),
        SHUFFLE,
        lambda b, p: depthwise(b[0], p[0], p[1], 2, 1),
        opencv=True,
        learns=(0, 1),
    ),
    Case(
        "DepthwiseConvolution",
        CONVOLUTION % "group: 4",
        normal((2, 4, 7, 9)),
        f"{MOBILE}; yonghenglh6/DepthwiseConvolution",
        lambda b, p: depthwise(b[0], p[0], p[1], 2, 1),
        learns=(0, 1),
    ),
    Case(
        "ReLU6",
        "",
        lambda random: [5 * random.standard_normal((2, 3, 4, 5))],
        f"{MOBILE}; eric612/MobileNet-YOLO",
        lambda b, p: np.minimum(np.maximum(b[0], 0), 6),
        opencv=True,
    ),
    Case(
        "ShuffleChannel",
        "shuffle_channel_param { group: 3 }",
        normal((2, 12, 4, 5)),
        SHUFFLE,
        lambda b, p: shuffled(b[0], 3),
        opencv=True,
    ),
    # OpenCV 4.14 takes one image, and scales the third bottom where SENet scales the second.
    *(
        Case(
            "Axpy",
            "",
            normal(shape, (shape[0], 3, 4, 5), (shape[0], 3, 4, 5)),
            SENET,
            lambda b, p: b[0].reshape(-1, 3, 1, 1) * b[1] + b[2],
            variant,
            opencv=shape[0] == 1,
            opencv_order=(0, 2, 1),
            smooth=(0, 1, 2),
        )
        for shape, variant in (((1, 3, 1, 1), "one image"), ((2, 3), "factors N x C"))
    ),
    *(
        Case(
            "EltwiseAffine",
            f"eltwise_affine_param {{ channel_shared: {shared} }}",
            normal((2, 3, 4, 5)),
            "ducha-aiki/caffenet-benchmark",
            lambda b, p: p[0].reshape(-1, 1, 1) * b[0] + p[1].reshape(-1, 1, 1),
            variant,
            learns=(0, 1),
        )
        for shared, variant in (("false", ""), ("true", "channel_shared"))
    ),
    Case(
        "PadChannel",
        "pad_channel_param { num_channels_to_pad: 2 }",
        normal((2, 3, 4, 5)),
        "Han et al. 2017, PyramidNet; jhkim89/PyramidNet-caffe",
        lambda b, p: np.pad(b[0], ((0, 0), (0, 2), (0, 0), (0, 0))),
    ),
]
