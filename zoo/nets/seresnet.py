"""SE-ResNet-50 (Hu et al. 2017): residual blocks whose channels are weighed before the sum."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import convolution, scaled, with_batch_norm


def block(net: Any, name: str, bottom: Any, inner: int, stride: int, project: bool) -> Any:
    """Return a bottleneck with Squeeze-and-Excitation, 4 x inner channels."""
    top = with_batch_norm(net, f"{name}_1x1_reduce", bottom, inner, 1, stride=stride)
    top = with_batch_norm(net, f"{name}_3x3", top, inner, 3)
    top = with_batch_norm(net, f"{name}_1x1_increase", top, 4 * inner, 1, slope=None)
    net[f"{name}_global_pool"] = L.Pooling(top, pool=P.Pooling.AVE, global_pooling=True)
    net[f"{name}_1x1_down"] = convolution(net[f"{name}_global_pool"], max(1, inner // 4), 1)
    net[f"{name}_1x1_down/relu"] = L.ReLU(net[f"{name}_1x1_down"], in_place=True)
    net[f"{name}_1x1_up"] = convolution(net[f"{name}_1x1_down/relu"], 4 * inner, 1)
    net[f"{name}_prob"] = L.Sigmoid(net[f"{name}_1x1_up"], in_place=True)
    main = bottom
    if project:
        main = with_batch_norm(
            net, f"{name}_1x1_proj", bottom, 4 * inner, 1, slope=None, stride=stride
        )
    net[name] = L.Axpy(net[f"{name}_prob"], top, main)
    net[f"{name}/relu"] = L.ReLU(net[name], in_place=True)
    return net[f"{name}/relu"]


def net(width: float = 1 / 16, size: int = 64, classes: int = 1000) -> Any:
    """Return SE-ResNet-50's NetParameter for 1 x 3 x size x size."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    top = with_batch_norm(n, "conv1/7x7_s2", n.data, scaled(64, width), 7, stride=2)
    n["pool1/3x3_s2"] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    top = n["pool1/3x3_s2"]
    for number, (count, channels) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 2):
        for i in range(1, count + 1):
            stride = 2 if i == 1 and number > 2 else 1
            top = block(n, f"conv{number}_{i}", top, scaled(channels, width), stride, i == 1)
    n.pool5 = L.Pooling(top, pool=P.Pooling.AVE, global_pooling=True)
    n.classifier = L.InnerProduct(n.pool5, num_output=classes, weight_filler={"type": "xavier"})
    n.prob = L.Softmax(n.classifier)
    return n.to_proto()
