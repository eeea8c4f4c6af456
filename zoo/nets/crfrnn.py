"""CRF-RNN (Zheng et al. 2015): scores with three strides, then mean-field iterations."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L

from .blocks import FILLER, convolution, rectified, scaled, vgg16


def upsampled(bottom: Any, classes: int, factor: int) -> Any:
    """Return scores at `factor` times the size."""
    return L.Deconvolution(
        bottom,
        convolution_param={
            "num_output": classes,
            "kernel_size": 2 * factor,
            "stride": factor,
            "pad": factor // 2,
            "group": classes,
            "bias_term": False,
            "weight_filler": {"type": "bilinear"},
        },
    )


def net(width: float = 1 / 16, size: int = 32, classes: int = 21, iterations: int = 5) -> Any:
    """Return the NetParameter for 1 x 3 x size x size; 32 divides size."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    top = vgg16(n, n.data, width)
    for name, kernel in (("fc6", 7), ("fc7", 1)):
        top = rectified(n, name, top, scaled(4096, width), kernel)
    n.score_fr = convolution(top, classes, 1)
    scores = n.score_fr
    for block in (4, 3):
        n[f"upscore{block}"] = upsampled(scores, classes, 2)
        n[f"score_pool{block}"] = L.Convolution(
            n[f"pool{block}"], num_output=classes, kernel_size=1, weight_filler=FILLER
        )
        n[f"fuse{block}"] = scores = L.Eltwise(n[f"upscore{block}"], n[f"score_pool{block}"])
    n.unary = upsampled(scores, classes, 8)
    n.inference = L.MultiStageMeanfield(
        n.unary,
        n.unary,
        n.data,
        multi_stage_meanfield_param={
            "num_iterations": iterations,
            "theta_alpha": 160,
            "theta_beta": 3,
            "theta_gamma": 3,
            "spatial_filter_weight": 3,
            "bilateral_filter_weight": 5,
        },
    )
    return n.to_proto()
