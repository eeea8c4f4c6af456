"""AlexNet, CaffeNet and GoogLeNet as BVLC Caffe's model zoo has them, for deployment.

Layers and blobs are named as in bvlc_alexnet, bvlc_reference_caffenet and bvlc_googlenet; `width`
is a fraction of every channel count but the classes. Runs under either Caffe.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple

from caffe import NetSpec
from caffe import layers as L
from caffe import params as P

import net_gen

CLASSES = 1000
# Szegedy et al., arXiv 1409.4842, table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def data(n: NetSpec, batch: int, size: int) -> Any:
    n.data = L.Input(shape=dict(dim=[batch, 3, size, size]))
    return n.data


def lrn(top: Any) -> Any:
    return L.LRN(top, local_size=5, alpha=1e-4, beta=0.75)


def max_pool(top: Any, **fields: int) -> Any:
    return L.Pooling(top, pool=P.Pooling.MAX, **{"kernel_size": 3, "stride": 2, **fields})


def krizhevsky(width: float, batch: int, pool_first: bool) -> Any:
    """Krizhevsky et al. 2012; CaffeNet pools before it normalises, AlexNet after."""
    n = NetSpec()
    top = data(n, batch, 227)
    convolutions: Tuple[Tuple[int, Dict[str, int]], ...] = (
        (96, dict(kernel_size=11, stride=4)),
        (256, dict(kernel_size=5, pad=2, group=2)),
        (384, dict(kernel_size=3, pad=1)),
        (384, dict(kernel_size=3, pad=1, group=2)),
        (256, dict(kernel_size=3, pad=1, group=2)),
    )
    for i, (channels, fields) in enumerate(convolutions, 1):
        top = n[f"conv{i}"] = L.Convolution(top, num_output=int(channels * width), **fields)
        top = n[f"relu{i}"] = L.ReLU(top, in_place=True)
        if i < 3:
            for kind in ("pool", "norm") if pool_first else ("norm", "pool"):
                top = n[f"{kind}{i}"] = max_pool(top) if kind == "pool" else lrn(top)
    top = n.pool5 = max_pool(top)
    for i in (6, 7):
        top = n[f"fc{i}"] = L.InnerProduct(top, num_output=int(4096 * width))
        top = n[f"relu{i}"] = L.ReLU(top, in_place=True)
        top = n[f"drop{i}"] = L.Dropout(top, dropout_ratio=0.5, in_place=True)
    n.fc8 = L.InnerProduct(top, num_output=CLASSES)
    n.prob = L.Softmax(n.fc8)
    return n.to_proto()


def googlenet(width: float, batch: int) -> Any:
    n = NetSpec()

    def conv(bottom: Any, prefix: str, name: str, channels: int, kernel_size: int, **fields: int):
        top = n[prefix + name] = L.Convolution(
            bottom, num_output=int(channels * width), kernel_size=kernel_size, **fields
        )
        n[prefix + "relu_" + name] = L.ReLU(top, in_place=True)
        return n[prefix + "relu_" + name]

    def inception(bottom: Any, name: str) -> Any:
        one, reduce3, three, reduce5, five, proj = INCEPTIONS[name]
        prefix = f"inception_{name}/"
        branches = [conv(bottom, prefix, "1x1", one, 1)]
        top = conv(bottom, prefix, "3x3_reduce", reduce3, 1)
        branches.append(conv(top, prefix, "3x3", three, 3, pad=1))
        top = conv(bottom, prefix, "5x5_reduce", reduce5, 1)
        branches.append(conv(top, prefix, "5x5", five, 5, pad=2))
        n[prefix + "pool"] = max_pool(bottom, stride=1, pad=1)
        branches.append(conv(n[prefix + "pool"], prefix, "pool_proj", proj, 1))
        n[prefix + "output"] = L.Concat(*branches)
        return n[prefix + "output"]

    top = conv(data(n, batch, 224), "conv1/", "7x7_s2", 64, 7, stride=2, pad=3)
    top = n["pool1/3x3_s2"] = max_pool(top)
    top = n["pool1/norm1"] = lrn(top)
    top = conv(top, "conv2/", "3x3_reduce", 64, 1)
    top = conv(top, "conv2/", "3x3", 192, 3, pad=1)
    top = n["conv2/norm2"] = lrn(top)
    top = n["pool2/3x3_s2"] = max_pool(top)
    for name in INCEPTIONS:
        if name in ("4a", "5a"):
            top = n[f"pool{int(name[0]) - 1}/3x3_s2"] = max_pool(top)
        top = inception(top, name)
    top = n["pool5/7x7_s1"] = L.Pooling(top, pool=P.Pooling.AVE, kernel_size=7, stride=1)
    top = n["pool5/drop_7x7_s1"] = L.Dropout(top, dropout_ratio=0.4, in_place=True)
    top = n["loss3/classifier"] = L.InnerProduct(top, num_output=CLASSES)
    n.prob = L.Softmax(top)
    return n.to_proto()


#: name -> (the net of a width and a batch size, the blob of its scores)
CLASSIFIERS: Dict[str, Tuple[Callable[[float, int], Any], str]] = {
    "alexnet": (lambda width, batch: krizhevsky(width, batch, pool_first=False), "fc8"),
    "caffenet": (lambda width, batch: krizhevsky(width, batch, pool_first=True), "fc8"),
    "googlenet": (googlenet, "loss3/classifier"),
    "vgg16": (lambda width, batch: net_gen.vgg16("deploy", width=width, batch=batch), "fc8"),
}
