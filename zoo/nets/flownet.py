"""FlowNetC and the input of the next net in FlowNet2 (Dosovitskiy et al. 2015; Ilg et al. 2017)."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L

from .blocks import FILLER, convolution, scaled

SLOPE = 0.1


def leaky(net: Any, name: str, top: Any) -> Any:
    """Return a leaky ReLU in place over a layer, which gets this name."""
    net[name] = top
    net[f"{name}_relu"] = L.ReLU(net[name], in_place=True, negative_slope=SLOPE)
    return net[f"{name}_relu"]


def tower(net: Any, side: str, image: Any, width: float) -> list[Any]:
    """Return the three maps of one image. Both towers share their weights."""
    maps, top = [], image
    for i, (channels, kernel) in enumerate(((64, 7), (128, 5), (256, 5)), 1):
        shared = [{"name": f"conv{i}_w"}, {"name": f"conv{i}_b"}]
        conv = convolution(top, scaled(channels, width), kernel, stride=2, param=shared)
        top = leaky(net, f"conv{i}{side}", conv)
        maps.append(top)
    return maps


def upsampled(net: Any, name: str, bottom: Any, channels: int) -> Any:
    """Return a Deconvolution of twice the size."""
    return L.Deconvolution(
        bottom,
        convolution_param={
            "num_output": channels,
            "kernel_size": 4,
            "stride": 2,
            "pad": 1,
            "weight_filler": FILLER,
        },
    )


def net(width: float = 1 / 16, size: int = 64) -> Any:
    """Return the NetParameter of FlowNetC for two images 1 x 3 x size x size.

    The flow is then resampled to the images' size, the second image is warped by it, and the error
    of the warped image has its norm over the channels, as FlowNet2's next net reads them.
    """
    n = caffe.NetSpec()
    shape = {"shape": {"dim": [1, 3, size, size]}}
    n.img0, n.img1 = L.Input(input_param=shape), L.Input(input_param=shape)
    first, second = tower(n, "a", n.img0, width), tower(n, "b", n.img1, width)
    correlation = L.Correlation(
        first[2],
        second[2],
        correlation_param={
            "pad": 20,
            "kernel_size": 1,
            "max_displacement": 20,
            "stride_1": 1,
            "stride_2": 2,
        },
    )
    top = leaky(n, "corr", correlation)
    redirected = leaky(n, "conv_redir", convolution(first[2], scaled(32, width), 1))
    n.blob_concat = L.Concat(redirected, top)
    top = third = leaky(n, "conv3_1", convolution(n.blob_concat, scaled(256, width), 3))
    maps = [first[1], third]
    for i in (4, 5):
        top = leaky(n, f"conv{i}", convolution(top, scaled(512, width), 3, stride=2))
        top = leaky(n, f"conv{i}_1", convolution(top, scaled(512, width), 3))
        maps.append(top)
    maps.pop()
    n.predict5 = convolution(top, 2, 3)
    flow = n.predict5
    for i in range(4, 1, -1):
        up = leaky(n, f"deconv{i}", upsampled(n, f"deconv{i}", top, scaled(32 << (i - 1), width)))
        n[f"upsampled{i}"] = upsampled(n, f"upsampled{i}", flow, 2)
        n[f"concat{i}"] = top = L.Concat(maps[i - 2], up, n[f"upsampled{i}"])
        n[f"predict{i}"] = flow = convolution(top, 2, 3)
    n.flow = L.Resample(flow, n.img0, resample_param={"type": caffe.params.Resample.LINEAR})
    n.warped = L.FlowWarp(n.img1, n.flow)
    n.difference = L.Eltwise(n.img0, n.warped, coeff=[1, -1])
    n.error = L.ChannelNorm(n.difference)
    return n.to_proto()
