"""ShuffleNet (Zhang et al. 2017), with 3 groups."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import FILLER, scaled, with_batch_norm

GROUPS = 3


def normalized(net: Any, name: str, top: Any, relu: bool) -> Any:
    """Return BatchNorm, Scale and, where asked for, ReLU over a layer, which gets this name."""
    net[name] = top
    net[f"{name}_bn"] = L.BatchNorm(net[name], in_place=True)
    net[f"{name}_scale"] = L.Scale(net[f"{name}_bn"], in_place=True, bias_term=True)
    if not relu:
        return net[f"{name}_scale"]
    net[f"{name}_relu"] = L.ReLU(net[f"{name}_scale"], in_place=True)
    return net[f"{name}_relu"]


def unit(net: Any, name: str, bottom: Any, inputs: int, channels: int, stride: int) -> Any:
    """Return a ShuffleNet unit; stride 2 joins the bottom's mean, stride 1 adds the bottom."""
    inner = channels // 4
    group = 1 if inputs % GROUPS or inputs < 60 * inner // channels else GROUPS
    top = with_batch_norm(net, f"{name}_conv1", bottom, inner, 1, group=group)
    net[f"{name}_shuffle"] = L.ShuffleChannel(top, shuffle_channel_param={"group": GROUPS})
    depthwise = L.ConvolutionDepthwise(
        net[f"{name}_shuffle"],
        convolution_param={
            "num_output": inner,
            "kernel_size": 3,
            "pad": 1,
            "stride": stride,
            "bias_term": False,
            "weight_filler": FILLER,
        },
    )
    top = normalized(net, f"{name}_conv2", depthwise, relu=False)
    outputs = channels - inputs if stride == 2 else channels
    top = with_batch_norm(net, f"{name}_conv3", top, outputs, 1, slope=None, group=GROUPS)
    if stride == 2:
        net[f"{name}_pool"] = L.Pooling(bottom, pool=P.Pooling.AVE, kernel_size=3, stride=2)
        net[name] = L.Concat(net[f"{name}_pool"], top)
    else:
        net[name] = L.Eltwise(bottom, top)
    net[f"{name}_relu"] = L.ReLU(net[name], in_place=True)
    return net[f"{name}_relu"]


def net(width: float = 1 / 2, size: int = 64, classes: int = 1000) -> Any:
    """Return ShuffleNet's NetParameter for 1 x 3 x size x size."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    first = scaled(24, width, 12)
    top = with_batch_norm(n, "conv1", n.data, first, 3, stride=2)
    n.pool1 = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    top, inputs = n.pool1, first
    for stage, (count, channels) in enumerate(((4, 240), (8, 480), (4, 960)), 2):
        outputs = scaled(channels, width, 12)
        for i in range(1, count + 1):
            top = unit(n, f"stage{stage}_{i}", top, inputs, outputs, 2 if i == 1 else 1)
            inputs = outputs
    n.pool_ave = L.Pooling(top, pool=P.Pooling.AVE, global_pooling=True)
    n.fc1000 = L.Convolution(n.pool_ave, num_output=classes, kernel_size=1, weight_filler=FILLER)
    n.prob = L.Softmax(n.fc1000)
    return n.to_proto()
