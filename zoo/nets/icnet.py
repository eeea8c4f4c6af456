"""ICNet (Zhao et al. 2017): three resolutions of one image, joined from the coarsest on."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L

from .blocks import convolution, scaled, with_bn
from .pspnet import pyramid, stage, stem


def fused(net: Any, name: str, coarse: Any, fine: Any, channels: int) -> Any:
    """Return the cascade feature fusion of a map and one of twice its size."""
    net[f"{name}_interp"] = L.Interp(coarse, interp_param={"zoom_factor": 2})
    above = with_bn(
        net, f"{name}_coarse", net[f"{name}_interp"], channels, 3, relu=False, pad=2, dilation=2
    )
    beside = with_bn(net, f"{name}_fine", fine, channels, 1, relu=False)
    net[f"{name}_sum"] = L.Eltwise(above, beside)
    net[f"{name}_sum/relu"] = L.ReLU(net[f"{name}_sum"], in_place=True)
    return net[f"{name}_sum/relu"]


def net(width: float = 1 / 8, size: int = 193, classes: int = 19) -> Any:
    """Return ICNet's NetParameter for 1 x 3 x size x size; size is 192 k + 1.

    The coarsest map has (size - 1) / 32 + 1 positions a side, of which 6 bins take all but one.
    """
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    n.data_sub2 = L.Interp(n.data, interp_param={"shrink_factor": 2})
    top = stem(n, n.data_sub2, width)
    top = stage(n, "conv2", top, scaled(32, width), 3)
    top = medium = stage(n, "conv3_sub2", top, scaled(64, width), 1, stride=2)
    n.conv3_1_sub4 = L.Interp(top, interp_param={"shrink_factor": 2})
    top = stage(n, "conv3", n.conv3_1_sub4, scaled(64, width), 3)
    top = stage(n, "conv4", top, scaled(128, width), 6, dilation=2)
    top = stage(n, "conv5", top, scaled(256, width), 3, dilation=4)
    n.conv5_3_sum = L.Eltwise(top, *pyramid(n, top, (size - 1) // 32 + 1, None))
    top = with_bn(n, "conv5_4_k1", n.conv5_3_sum, scaled(256, width), 1)
    top = fused(n, "sub24", top, medium, scaled(128, width))
    fine = n.data
    for i, channels in enumerate((32, 32, 64), 1):
        fine = with_bn(n, f"conv{i}_sub1", fine, scaled(channels, width), stride=2)
    top = fused(n, "sub12", top, fine, scaled(128, width))
    n.sub12_up = L.Interp(top, interp_param={"zoom_factor": 2})
    n.conv6_cls = convolution(n.sub12_up, classes, 1)
    n.conv6_interp = L.Interp(n.conv6_cls, interp_param={"zoom_factor": 4})
    return n.to_proto()
