"""Cases of volumes, and of windows with holes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .case import Arrays, Case, normal

#: All images and all channels.
ALL = (slice(None), slice(None))


def pooled(
    x: np.ndarray,
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    hole: Sequence[int],
    mean: bool,
) -> np.ndarray:
    """Pool over the axes after the channels, window by window, sizes rounded up."""
    size, axes = x.shape[2:], range(len(kernel))
    reach = [hole[a] * (kernel[a] - 1) + 1 for a in axes]
    out = [math.ceil((size[a] + 2 * pad[a] - reach[a]) / stride[a]) + 1 for a in axes]
    if any(pad):
        out = [n - ((n - 1) * stride[a] >= size[a] + pad[a]) for a, n in enumerate(out)]
    y = np.empty((*x.shape[:2], *out))
    for place in np.ndindex(*out):
        values, area = [], 0
        for step in np.ndindex(*kernel):
            at = [place[a] * stride[a] - pad[a] + step[a] * hole[a] for a in axes]
            area += all(at[a] < size[a] + pad[a] for a in axes)
            if all(0 <= at[a] < size[a] for a in axes):
                index: tuple[Any, ...] = (*ALL, *at)
                values.append(x[index])
        top: tuple[Any, ...] = (*ALL, *place)
        y[top] = sum(values) / area if mean else np.max(values, axis=0)
    return y


def pooling(method: str, *window: Sequence[int]) -> Callable[[Arrays, Arrays], np.ndarray]:
    """Return a reference that pools with this window: kernel, stride, pad and hole."""

    def pool(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
        kernel, stride, pad, hole = window
        return pooled(bottoms[0], kernel, stride, pad, hole, method == "AVE")

    return pool


def convolved(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    stride: Sequence[int],
    pad: Sequence[int],
    hole: Sequence[int],
) -> np.ndarray:
    """Convolve over the axes after the channels, position by position."""
    axes = range(len(stride))
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    reach = [hole[a] * (w.shape[2 + a] - 1) + 1 for a in axes]
    out = [(x.shape[2 + a] - reach[a]) // stride[a] + 1 for a in axes]
    y = np.empty((x.shape[0], w.shape[0], *out))
    for place in np.ndindex(*out):
        window = [
            slice(place[a] * stride[a], place[a] * stride[a] + reach[a], hole[a]) for a in axes
        ]
        index: tuple[Any, ...] = (*ALL, *window)
        top: tuple[Any, ...] = (*ALL, *place)
        patch = x[index]
        y[top] = patch.reshape(len(x), -1) @ w.reshape(len(w), -1).T + b
    return y


P3D = "Qiu et al. 2017, P3D; ZhaofanQiu/pseudo-3d-residual-networks"
C3D = "Tran et al. 2015, C3D; facebook/C3D"
VIDEO = "facebook/C3D 1.1, chuckcho/video-caffe"
DEEPLAB = "Chen et al. 2014, DeepLab v1"
VOLUME = (2, 3, 5, 6, 7)
C3D_POOL = "pooling_param { pool: %s kernel_size: 2 kernel_depth: 1 stride: 2 temporal_stride: 1 }"

CASES = [
    *(
        Case(
            kind,
            C3D_POOL % method,
            normal(VOLUME),
            C3D,
            pooling(method, (1, 2, 2), (1, 2, 2), (0, 0, 0), (1, 1, 1)),
            f"{method} of a volume",
        )
        for kind in ("Pooling3D", "Pooling")
        for method in ("MAX", "AVE")
    ),
    Case(
        "Pooling3D",
        "pooling3d_param { pool: AVE kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 1 }",
        normal(VOLUME),
        P3D,
        pooling("AVE", (2, 3, 3), (1, 2, 2), (0, 0, 0), (1, 1, 1)),
        "pooling3d_param",
    ),
    Case(
        "NdPooling",
        "pooling_param { pool: AVE kernel_shape { dim: 2 dim: 3 dim: 3 } "
        "stride_shape { dim: 1 dim: 2 dim: 2 } pad_shape { dim: 1 dim: 1 dim: 0 } }",
        normal(VOLUME),
        VIDEO,
        lambda b, p: pooled(b[0], (2, 3, 3), (1, 2, 2), (1, 1, 0), (1, 1, 1), True),
    ),
    Case(
        "Convolution3D",
        "convolution_param { num_output: 2 kernel_size: 3 kernel_depth: 2 pad: 1 temporal_pad: 1 "
        "stride: 2 temporal_stride: 1 }",
        normal(VOLUME),
        C3D,
        lambda b, p: convolved(b[0], p[0], p[1], (1, 2, 2), (1, 1, 1), (1, 1, 1)),
        learns=(0, 1),
    ),
    Case(
        "Convolution3D",
        "convolution3d_param { num_output: 2 kernel_size: 3 kernel_depth: 1 pad: 1 temporal_pad: 0 "
        "stride: 2 temporal_stride: 1 }",
        normal(VOLUME),
        P3D,
        lambda b, p: convolved(b[0], p[0], p[1], (1, 2, 2), (0, 1, 1), (1, 1, 1)),
        "convolution3d_param",
        learns=(0, 1),
    ),
    Case(
        "NdConvolution",
        "convolution_param { num_output: 2 kernel_shape { dim: 1 dim: 3 dim: 3 } "
        "stride_shape { dim: 1 dim: 1 dim: 2 } pad_shape { dim: 0 dim: 1 dim: 1 } }",
        normal(VOLUME),
        VIDEO,
        lambda b, p: convolved(b[0], p[0], p[1], (1, 1, 2), (0, 1, 1), (1, 1, 1)),
        learns=(0, 1),
    ),
    Case(
        "PReLU",
        "",
        normal(VOLUME),
        "He et al. 2015; of volumes in chuckcho/video-caffe",
        lambda b, p: np.where(b[0] > 0, b[0], b[0] * p[0].reshape(-1, 1, 1, 1)),
        "of a volume",
        learns=(0,),
    ),
    Case(
        "Convolution",
        "convolution_param { num_output: 2 kernel_size: 3 pad: 2 hole: 2 }",
        normal((2, 3, 8, 9)),
        DEEPLAB,
        lambda b, p: convolved(b[0], p[0], p[1], (1, 1), (2, 2), (2, 2)),
        "hole",
        learns=(0, 1),
    ),
    *(
        Case(
            "Pooling",
            f"pooling_param {{ pool: {method} kernel_size: 3 pad: 1 stride: 2 hole: 2 }}",
            normal((2, 3, 8, 9)),
            DEEPLAB,
            pooling(method, (3, 3), (2, 2), (1, 1), (2, 2)),
            f"{method} with hole",
        )
        for method in ("MAX", "AVE")
    ),
]
