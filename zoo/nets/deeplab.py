"""DeepLab v1 and v2 on VGG16 (Chen et al. 2014, 2016): holes in place of strides, and Interp."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import rectified, scaled


def trunk(net: Any, data: Any, width: float, hole: str) -> Any:
    """Return VGG16's top at stride 8. `hole` is the word for dilation: "hole" or "dilation"."""
    top = data
    for block, (count, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for i in range(1, count + 1):
            more = {"pad": 2, hole: 2} if block == 5 else {}
            top = rectified(net, f"conv{block}_{i}", top, scaled(channels, width), **more)
        stride = 2 if block < 4 else 1
        net[f"pool{block}"] = top = L.Pooling(
            top, pool=P.Pooling.MAX, kernel_size=3, stride=stride, pad=1
        )
    return top


def v1(width: float = 1 / 16, size: int = 65, classes: int = 21) -> Any:
    """Return the NetParameter of DeepLab v1 with the large field of view; size is 8 k + 1."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    top = trunk(n, n.data, width, "hole")
    n.pool5a = L.Pooling(top, pool=P.Pooling.AVE, kernel_size=3, stride=1, pad=1)
    top = rectified(n, "fc6", n.pool5a, scaled(1024, width), 3, pad=12, hole=12)
    n.drop6 = L.Dropout(top, in_place=True, dropout_ratio=0.5)
    top = rectified(n, "fc7", n.drop6, scaled(1024, width), 1)
    n.drop7 = L.Dropout(top, in_place=True, dropout_ratio=0.5)
    n.fc8 = L.Convolution(
        n.drop7, num_output=classes, kernel_size=1, weight_filler={"type": "msra"}
    )
    n.fc8_interp = L.Interp(n.fc8, interp_param={"zoom_factor": 8})
    return n.to_proto()


def v2(width: float = 1 / 16, size: int = 65, classes: int = 21) -> Any:
    """Return the NetParameter of DeepLab v2, four dilations summed; size is 8 k + 1."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    top = trunk(n, n.data, width, "dilation")
    scores = []
    for i, dilation in enumerate((6, 12, 18, 24), 1):
        branch = rectified(
            n, f"fc6_{i}", top, scaled(1024, width), 3, pad=dilation, dilation=dilation
        )
        n[f"drop6_{i}"] = L.Dropout(branch, in_place=True, dropout_ratio=0.5)
        branch = rectified(n, f"fc7_{i}", n[f"drop6_{i}"], scaled(1024, width), 1)
        n[f"drop7_{i}"] = L.Dropout(branch, in_place=True, dropout_ratio=0.5)
        n[f"fc8_{i}"] = L.Convolution(
            n[f"drop7_{i}"], num_output=classes, kernel_size=1, weight_filler={"type": "msra"}
        )
        scores.append(n[f"fc8_{i}"])
    n.fc8 = L.Eltwise(*scores)
    n.fc8_interp = L.Interp(n.fc8, interp_param={"zoom_factor": 8})
    return n.to_proto()
