"""ParseNet on VGG16 (Liu et al. 2015): the mean of the whole map beside each position."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import convolution, rectified, scaled, vgg16


def normalized(net: Any, name: str, bottom: Any) -> Any:
    """Return a Normalize of each position over the channels, times 10 (section 3.2)."""
    scale = {"type": "constant", "value": 10}
    norm = {"across_spatial": False, "channel_shared": False, "scale_filler": scale}
    net[name] = L.Normalize(bottom, norm_param=norm)
    return net[name]


def net(width: float = 1 / 16, size: int = 64, classes: int = 21) -> Any:
    """Return the NetParameter of ParseNet for size x size, a multiple of 16."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    top = rectified(n, "fc7", vgg16(n, n.data, width, 4), scaled(1024, width), 3, pad=2, dilation=2)
    n.pool7 = L.Pooling(top, pool=P.Pooling.AVE, global_pooling=True)
    mean = normalized(n, "pool7_norm", n.pool7)
    side = {"out_kernel_h": size // 16, "out_kernel_w": size // 16}
    n.pool7_map = L.UnPooling(mean, unpooling_param={"unpool": P.UnPooling.REP, **side})
    n.context = L.Concat(normalized(n, "fc7_norm", top), n.pool7_map)
    n.score = convolution(n.context, classes, 1)
    up = {"num_output": classes, "group": classes, "kernel_size": 32, "stride": 16, "pad": 8}
    n.upscore = L.Deconvolution(
        n.score,
        convolution_param={**up, "bias_term": False, "weight_filler": {"type": "bilinear"}},
    )
    return n.to_proto()
