"""YOLOv2 with its Reorg (Redmon & Farhadi 2016), and YOLOv3 (2018) with Darknet-53."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import convolution, scaled, with_batch_norm

SLOPE = 0.1


def darknet19(net: Any, data: Any, width: float) -> tuple[Any, Any]:
    """Return Darknet-19's map at stride 16 and its top at stride 32."""
    top, fine, number = data, None, 0
    for stage, sizes in enumerate(
        (
            (32,),
            (64,),
            (128, 64, 128),
            (256, 128, 256),
            (512, 256, 512, 256, 512),
            (1024, 512, 1024, 512, 1024),
        )
    ):
        if stage:
            net[f"pool{stage}"] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
            top = net[f"pool{stage}"]
        for i, channels in enumerate(sizes):
            number += 1
            kernel = 1 if i % 2 else 3
            name = f"conv{number}"
            top = with_batch_norm(net, name, top, scaled(channels, width), kernel, SLOPE)
        if stage == 4:
            fine = top
    return fine, top


def v2(width: float = 1 / 16, size: int = 64, classes: int = 20) -> Any:
    """Return YOLOv2's NetParameter for 1 x 3 x size x size, up to the maps of its 5 boxes."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    fine, top = darknet19(n, n.data, width)
    for i in (19, 20):
        top = with_batch_norm(n, f"conv{i}", top, scaled(1024, width), 3, SLOPE)
    fine = with_batch_norm(n, "conv21", fine, scaled(64, width), 1, SLOPE)
    n.reorg = L.Reorg(fine, reorg_param={"stride": 2})
    n.concat = L.Concat(n.reorg, top)
    top = with_batch_norm(n, "conv22", n.concat, scaled(1024, width), 3, SLOPE)
    n.boxes = convolution(top, 5 * (5 + classes), 1)
    return n.to_proto()


def residual(net: Any, name: str, bottom: Any, channels: int) -> Any:
    """Return a block of Darknet-53."""
    top = with_batch_norm(net, f"{name}_1", bottom, max(1, channels // 2), 1, SLOPE)
    top = with_batch_norm(net, f"{name}_2", top, channels, 3, SLOPE)
    net[name] = L.Eltwise(bottom, top)
    return net[name]


def v3(width: float = 1 / 16, size: int = 64, classes: int = 80) -> Any:
    """Return YOLOv3's NetParameter for 1 x 3 x size x size: three maps of 3 boxes each."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    top = with_batch_norm(n, "conv0", n.data, scaled(32, width), 3, SLOPE)
    maps = []
    for stage, count in enumerate((1, 2, 8, 8, 4), 1):
        channels = scaled(32 << stage, width, 2)
        top = with_batch_norm(n, f"down{stage}", top, channels, 3, SLOPE, stride=2)
        for i in range(count):
            top = residual(n, f"res{stage}_{i}", top, channels)
        maps.append(top)
    for number, stage in enumerate((5, 4, 3)):
        channels, name = scaled(32 << stage, width, 2), f"head{number}"
        if number:
            top = with_batch_norm(n, f"{name}_up_conv", top, channels // 2, 1, SLOPE)
            n[f"{name}_up"] = L.Upsample(top, upsample_param={"scale": 2})
            n[f"{name}_concat"] = L.Concat(n[f"{name}_up"], maps[stage - 1])
            top = n[f"{name}_concat"]
        for i in range(5):
            size_, kernel = (channels // 2, 1) if i % 2 == 0 else (channels, 3)
            top = with_batch_norm(n, f"{name}_{i}", top, size_, kernel, SLOPE)
        out = with_batch_norm(n, f"{name}_5", top, channels, 3, SLOPE)
        n[f"boxes{number}"] = convolution(out, 3 * (5 + classes), 1)
    return n.to_proto()
