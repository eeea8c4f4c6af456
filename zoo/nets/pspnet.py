"""PSPNet and ICNet (Zhao et al. 2016, 2017): residual nets, pyramid pooling, Interp."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import convolution, scaled, with_bn


def residual(
    net: Any,
    name: str,
    bottom: Any,
    inner: int,
    stride: int = 1,
    dilation: int = 1,
    project: bool = False,
) -> Any:
    """Return a bottleneck of a residual net, 4 x inner channels, with a dilated middle."""
    top = with_bn(net, f"{name}_1x1_reduce", bottom, inner, 1, stride=stride)
    top = with_bn(net, f"{name}_3x3", top, inner, 3, pad=dilation, dilation=dilation)
    top = with_bn(net, f"{name}_1x1_increase", top, 4 * inner, 1, relu=False)
    main = bottom
    if project:
        main = with_bn(net, f"{name}_1x1_proj", bottom, 4 * inner, 1, relu=False, stride=stride)
    net[name] = L.Eltwise(main, top)
    net[f"{name}/relu"] = L.ReLU(net[name], in_place=True)
    return net[f"{name}/relu"]


def stem(net: Any, data: Any, width: float) -> Any:
    """Return the three convolutions and the pooling at the start."""
    top = with_bn(net, "conv1_1_3x3_s2", data, scaled(64, width), stride=2)
    top = with_bn(net, "conv1_2_3x3", top, scaled(64, width))
    top = with_bn(net, "conv1_3_3x3", top, scaled(128, width))
    net.pool1_3x3_s2 = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2, pad=1)
    return net.pool1_3x3_s2


def stage(
    net: Any, name: str, top: Any, inner: int, count: int, stride: int = 1, dilation: int = 1
) -> Any:
    """Return the top of `count` residual blocks."""
    for i in range(1, count + 1):
        first = i == 1
        top = residual(net, f"{name}_{i}", top, inner, stride if first else 1, dilation, first)
    return top


def pyramid(net: Any, top: Any, size: int, channels: int | None) -> list[Any]:
    """Return means over 1, 2, 3 and 6 bins a side of a map of this size, at that size again.

    channels: of a convolution over each mean, or None for none.
    """
    levels = []
    for bins in (1, 2, 3, 6):
        kernel, name = size // bins, f"conv5_3_pool{bins}"
        net[name] = L.Pooling(top, pool=P.Pooling.AVE, kernel_size=kernel, stride=kernel)
        level = net[name]
        if channels:
            level = with_bn(net, f"{name}_conv", level, channels, 1)
        net[f"{name}_interp"] = L.Interp(level, interp_param={"height": size, "width": size})
        levels.append(net[f"{name}_interp"])
    return levels


def net(width: float = 1 / 16, size: int = 89, classes: int = 19) -> Any:
    """Return PSPNet50's NetParameter for 1 x 3 x size x size; size is 48 k - 7.

    The pyramid reads (size + 7) / 8 positions a side, which 6 divides: 473 in the publication.
    """
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    top = stem(n, n.data, width)
    top = stage(n, "conv2", top, scaled(64, width), 3)
    top = stage(n, "conv3", top, scaled(128, width), 4, stride=2)
    top = stage(n, "conv4", top, scaled(256, width), 6, dilation=2)
    top = stage(n, "conv5", top, scaled(512, width), 3, dilation=4)
    levels = pyramid(n, top, (size + 7) // 8, scaled(512, width))
    n.conv5_3_concat = L.Concat(top, *reversed(levels))
    top = with_bn(n, "conv5_4", n.conv5_3_concat, scaled(512, width))
    n.conv5_4_drop = L.Dropout(top, in_place=True, dropout_ratio=0.1)
    n.conv6 = convolution(n.conv5_4_drop, classes, 1)
    n.conv6_interp = L.Interp(n.conv6, interp_param={"zoom_factor": 8})
    return n.to_proto()
