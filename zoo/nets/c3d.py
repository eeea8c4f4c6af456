"""C3D (Tran et al. 2015): 3 x 3 x 3 convolutions of clips of 16 frames."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import FILLER, scaled

BLOCKS = ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))


def net(width: float = 1 / 16, size: int = 64, classes: int = 101) -> Any:
    """Return C3D's NetParameter for a clip 1 x 3 x 16 x size x size."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, 16, size, size]}})
    top = n.data
    for block, (count, channels) in enumerate(BLOCKS, 1):
        for i in range(count):
            name = f"conv{block}{'ab'[i] if count > 1 else 'a'}"
            n[name] = L.Convolution3D(
                top,
                convolution_param={
                    "num_output": scaled(channels, width),
                    "kernel_size": 3,
                    "kernel_depth": 3,
                    "pad": 1,
                    "temporal_pad": 1,
                    "weight_filler": FILLER,
                },
            )
            n[f"relu{block}{'ab'[i]}"] = top = L.ReLU(n[name], in_place=True)
        depth = 1 if block == 1 else 2
        n[f"pool{block}"] = top = L.Pooling3D(
            top,
            pooling_param={
                "pool": P.Pooling.MAX,
                "kernel_size": 2,
                "kernel_depth": depth,
                "stride": 2,
                "temporal_stride": depth,
            },
        )
    for i in (6, 7):
        n[f"fc{i}"] = L.InnerProduct(top, num_output=scaled(4096, width), weight_filler=FILLER)
        n[f"relu{i}"] = L.ReLU(n[f"fc{i}"], in_place=True)
        n[f"drop{i}"] = top = L.Dropout(n[f"relu{i}"], in_place=True, dropout_ratio=0.5)
    n.fc8 = L.InnerProduct(top, num_output=classes, weight_filler=FILLER)
    n.prob = L.Softmax(n.fc8)
    return n.to_proto()
