"""A second implementation, in NumPy, of each fork's layer that the zoo's nets contain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .layers import crf, detection, flow, mobile, segmentation, volumes, yolo
from .layers.case import Arrays

#: (LayerParameter, bottoms, parameters, shape of the top) -> the top.
Reference = Callable[[Any, Arrays, Arrays, Sequence[int]], np.ndarray]


def _bn(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    return (segmentation.bn_running if len(p) == 4 else segmentation.bn_affine)(x, p)


def _interp(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    return segmentation.bilinear(x[0], shape[2], shape[3])


def _upsample(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    if len(x) == 1:
        return np.kron(x[0], np.ones((1, 1, shape[2] // x[0].shape[2], shape[3] // x[0].shape[3])))
    return segmentation.at_places(x[0], x[1], shape[2], shape[3])


def _convolution(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    settings = layer.convolution_param
    axes = len(shape) - 2
    (hole,), (pad,) = settings.hole or [1], settings.pad
    return volumes.convolved(x[0], p[0], p[1], [1] * axes, [pad] * axes, [hole] * axes)


def _pooling(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    depth = layer.pooling_param.kernel_depth
    window = (depth, 2, 2)
    return volumes.pooled(x[0], window, window, (0, 0, 0), (1, 1, 1), False)


def _depthwise(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    settings = layer.convolution_param
    bias = p[1] if len(p) > 1 else np.zeros(shape[1])
    return mobile.depthwise(x[0], p[0], bias, settings.stride[0], settings.pad[0])


def _correlation(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    s = layer.correlation_param
    strides = s.stride_1, s.stride_2
    return flow.correlation(x[0], x[1], s.pad, s.kernel_size, s.max_displacement, strides)


def _resample(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    return flow.resampled(x[0], shape[2], shape[3], flow.linear_weight, False)


def _roi_pooling(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    settings = layer.roi_pooling_param
    rows, columns = shape[2:]
    return detection.region_maxima(x, rows, columns, settings.spatial_scale)


def _psroi_pooling(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    settings = layer.psroi_pooling_param
    return detection.region_means(x, settings.group_size, settings.spatial_scale)


def _prior_boxes(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    (rows, columns), (height, width) = x[0].shape[2:], x[1].shape[2:]
    return detection.prior_boxes(layer, rows, columns, height, width)


def _normalize(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    return detection.normalized(x, p, layer.norm_param.across_spatial)


def _mean_field(layer: Any, x: Arrays, p: Arrays, shape: Sequence[int]) -> np.ndarray:
    s = layer.multi_stage_meanfield_param
    return crf.mean_field(x, p, s.num_iterations, s.theta_alpha, s.theta_beta, s.theta_gamma)


REFERENCES: dict[str, Reference] = {
    "Axpy": lambda layer, x, p, shape: x[0].reshape(*x[1].shape[:2], 1, 1) * x[1] + x[2],
    "BN": _bn,
    "ChannelNorm": lambda layer, x, p, shape: np.sqrt((x[0] ** 2).sum(1, keepdims=True)),
    "Convolution3D": _convolution,
    "ConvolutionDepthwise": _depthwise,
    "Correlation": _correlation,
    "FlowWarp": lambda layer, x, p, shape: flow.warped(x[0], x[1], 0.0),
    "Interp": _interp,
    "Normalize": _normalize,
    "Permute": lambda layer, x, p, shape: np.transpose(x[0], layer.permute_param.order),
    "MultiStageMeanfield": _mean_field,
    "Pooling3D": _pooling,
    "PriorBox": _prior_boxes,
    "PSROIPooling": _psroi_pooling,
    "ROIPooling": _roi_pooling,
    "Reorg": lambda layer, x, p, shape: yolo.reorganized(x[0], layer.reorg_param.stride, False),
    "Resample": _resample,
    "ShuffleChannel": lambda layer, x, p, shape: mobile.shuffled(
        x[0], layer.shuffle_channel_param.group
    ),
    "Unpooling": lambda layer, x, p, shape: segmentation.at_places(x[0], x[1], shape[2], shape[3]),
    "UnPooling": lambda layer, x, p, shape: np.kron(x[0], np.ones((1, 1, *shape[2:]))),
    "Upsample": _upsample,
}


def reference_of(layer: Any) -> Reference | None:
    """Return the second implementation of a LayerParameter; None where the layer is BVLC's own."""
    if layer.type == "Convolution" and layer.convolution_param.hole:
        return _convolution
    return REFERENCES.get(layer.type)
