"""ENet (Paszke et al. 2016): bottlenecks, with Upsample where the encoder pooled."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import FILLER, convolution, scaled

BN = {"bn_mode": P.BN.INFERENCE}


def activated(net: Any, name: str, top: Any) -> Any:
    """Return BN and PReLU over a layer, which gets this name."""
    net[name] = top
    net[f"{name}_bn"] = L.BN(net[name], in_place=True, bn_param=BN)
    net[f"{name}_prelu"] = L.PReLU(net[f"{name}_bn"], in_place=True)
    return net[f"{name}_prelu"]


def middle(net: Any, name: str, bottom: Any, channels: int, kind: str) -> Any:
    """Return the convolution in the middle of a bottleneck."""
    if kind == "asymmetric":
        down = L.Convolution(
            bottom,
            num_output=channels,
            kernel_h=5,
            kernel_w=1,
            pad_h=2,
            pad_w=0,
            bias_term=False,
            weight_filler=FILLER,
        )
        top = activated(net, f"{name}_5x1", down)
        across = L.Convolution(
            top, num_output=channels, kernel_h=1, kernel_w=5, pad_h=0, pad_w=2, weight_filler=FILLER
        )
        return activated(net, f"{name}_1x5", across)
    if kind == "up":
        deconvolution = L.Deconvolution(
            bottom,
            convolution_param={
                "num_output": channels,
                "kernel_size": 2,
                "stride": 2,
                "weight_filler": FILLER,
            },
        )
        return activated(net, f"{name}_deconv", deconvolution)
    dilation = int(kind) if kind.isdigit() else 1
    conv = convolution(bottom, channels, 3, pad=dilation, dilation=dilation)
    return activated(net, f"{name}_conv", conv)


def bottleneck(
    net: Any, name: str, bottom: Any, channels: int, kind: str = "1", mask: Any = None
) -> tuple[Any, Any]:
    """Return the top of a bottleneck, and the mask of its pooling where `kind` is "down".

    kind: "1" or another dilation, "asymmetric", "down" or, with the mask of a pooling, "up".
    """
    inner, main = max(1, channels // 4), bottom
    first = convolution(
        bottom,
        inner,
        2 if kind == "down" else 1,
        bias=False,
        pad=0,
        stride=2 if kind == "down" else 1,
    )
    top = middle(net, name, activated(net, f"{name}_reduce", first), inner, kind)
    net[f"{name}_expand"] = convolution(top, channels, 1, bias=False)
    net[f"{name}_expand_bn"] = L.BN(net[f"{name}_expand"], in_place=True, bn_param=BN)
    net[f"{name}_drop"] = L.Dropout(net[f"{name}_expand_bn"], in_place=True, dropout_ratio=0.1)
    if kind == "down":
        main, mask = L.Pooling(main, pool=P.Pooling.MAX, kernel_size=2, stride=2, ntop=2)
        net[f"{name}_pool"], net[f"{name}_mask"] = main, mask
    if kind in ("down", "up"):
        net[f"{name}_match"] = convolution(main, channels, 1, bias=False)
        main = net[f"{name}_match"]
    if kind == "up":
        net[f"{name}_upsample"] = L.Upsample(main, mask, upsample_param={"scale": 2})
        main = net[f"{name}_upsample"]
    net[f"{name}_sum"] = L.Eltwise(net[f"{name}_drop"], main)
    net[f"{name}_prelu"] = L.PReLU(net[f"{name}_sum"], in_place=True)
    return net[f"{name}_prelu"], mask


def net(width: float = 1 / 4, size: int = 64, classes: int = 19) -> Any:
    """Return ENet's NetParameter for inference, for 1 x 3 x size x size."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    n.initial_conv = convolution(n.data, scaled(13, width), 3, stride=2)
    n.initial_pool = L.Pooling(n.data, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    top = activated(n, "initial", L.Concat(n.initial_conv, n.initial_pool))
    small, large = scaled(64, width), scaled(128, width)
    top, first = bottleneck(n, "bottleneck1_0", top, small, "down")
    for i in range(1, 5):
        top, _ = bottleneck(n, f"bottleneck1_{i}", top, small)
    top, second = bottleneck(n, "bottleneck2_0", top, large, "down")
    for stage in (2, 3):
        for i, kind in enumerate(("1", "2", "asymmetric", "4", "1", "8", "asymmetric", "16"), 1):
            top, _ = bottleneck(n, f"bottleneck{stage}_{i}", top, large, kind)
    top, _ = bottleneck(n, "bottleneck4_0", top, small, "up", second)
    for i in (1, 2):
        top, _ = bottleneck(n, f"bottleneck4_{i}", top, small)
    # The mask of the first pooling has the channels of the initial block: 13 + 3.
    last = scaled(13, width) + 3
    top, _ = bottleneck(n, "bottleneck5_0", top, last, "up", first)
    top, _ = bottleneck(n, "bottleneck5_1", top, last)
    n.scores = L.Deconvolution(
        top,
        convolution_param={
            "num_output": classes,
            "kernel_size": 2,
            "stride": 2,
            "weight_filler": FILLER,
        },
    )
    return n.to_proto()
