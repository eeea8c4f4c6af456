"""DeconvNet (Noh et al. 2015): VGG16, and back by unpooling and deconvolution."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import FILLER, convolution, scaled

BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def normalized(net: Any, name: str, top: Any) -> Any:
    """Return BN and ReLU over a layer, which gets this name."""
    net[name] = top
    net[f"bn_{name}"] = L.BN(net[name], in_place=True, bn_param={"bn_mode": P.BN.INFERENCE})
    net[f"relu_{name}"] = L.ReLU(net[f"bn_{name}"], in_place=True)
    return net[f"relu_{name}"]


def deconvolution(bottom: Any, channels: int, kernel: int = 3, pad: int = 1) -> Any:
    """Return a Deconvolution of stride 1."""
    return L.Deconvolution(
        bottom,
        convolution_param={
            "num_output": channels,
            "kernel_size": kernel,
            "pad": pad,
            "weight_filler": FILLER,
        },
    )


def net(width: float = 1 / 16, size: int = 96, classes: int = 21) -> Any:
    """Return DeconvNet's NetParameter for 1 x 3 x size x size; 32 divides size."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    top, masks = n.data, []
    for block, (count, channels) in enumerate(BLOCKS, 1):
        for i in range(1, count + 1):
            name = f"conv{block}_{i}"
            top = normalized(n, name, convolution(top, scaled(channels, width)))
        pool, mask = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2, ntop=2)
        n[f"pool{block}"], n[f"pool{block}_mask"] = top, _ = pool, mask
        masks.append(mask)
    # The fully connected layers see the whole map, 7 x 7 of 224 x 224.
    last = size // 32
    top = normalized(n, "fc6", convolution(top, scaled(4096, width), last, pad=0))
    top = normalized(n, "fc7", convolution(top, scaled(4096, width), 1))
    top = normalized(n, "fc6-deconv", deconvolution(top, scaled(512, width), last, 0))
    for block in range(5, 0, -1):
        count, channels = BLOCKS[block - 1]
        n[f"unpool{block}"] = L.Unpooling(
            top,
            masks[block - 1],
            unpooling_param={
                "unpool": P.UnPooling.MAX,
                "kernel_size": 2,
                "stride": 2,
                "unpool_size": size >> (block - 1),
            },
        )
        top = n[f"unpool{block}"]
        below = BLOCKS[block - 2][1] if block > 1 else 64
        for i in range(1, count + 1):
            outputs = scaled(below if i == count else channels, width)
            top = normalized(n, f"deconv{block}_{i}", deconvolution(top, outputs))
    n.seg_score = convolution(top, classes, 1)
    return n.to_proto()
