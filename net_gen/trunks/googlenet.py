"""GoogLeNet (Szegedy et al., arXiv 1409.4842), without the auxiliary classifiers."""

from __future__ import annotations

from typing import Any, Optional

from caffe.net_spec import Top
from caffe.net_spec import layers as L
from caffe.net_spec import params as P

from ..arguments import scale_channels
from ..classifier import Classifier
from ..layers import conv_relu, dropout, lrn, max_pool
from .base import Skip, Trunk

#: Channels of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and pool proj (the paper's table 1).
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
#: The modules that a pooling of stride 2 precedes, and its name.
POOLINGS = {"4a": "pool3/3x3_s2", "5a": "pool4/3x3_s2"}
#: Height and width in pixels of the smallest image that leaves a value in inception_5b.
SMALLEST = 31


def add_inception(
    n: Any, name: str, bottom: Top, width: Any = 1, filler: Optional[str] = None
) -> Top:
    """Add the module `inception_<name>`; its output has the height and width of `bottom`."""
    prefix = f"inception_{name}/"
    one, reduce3, three, reduce5, five, projection = INCEPTIONS[name]

    def conv(kind: str, source: Top, channels: int, kernel_size: int = 1) -> Top:
        return conv_relu(
            n,
            prefix + kind,
            source,
            scale_channels(channels, width),
            kernel_size=kernel_size,
            pad=kernel_size // 2,
            filler=filler,
            relu_name=f"{prefix}relu_{kind}",
        )

    branches = [conv("1x1", bottom, one)]
    branches.append(conv("3x3", conv("3x3_reduce", bottom, reduce3), three, 3))
    branches.append(conv("5x5", conv("5x5_reduce", bottom, reduce5), five, 5))
    pooled = max_pool(n, prefix + "pool", bottom, kernel_size=3, stride=1, pad=1)
    branches.append(conv("pool_proj", pooled, projection))
    n[prefix + "output"] = L.Concat(*branches)
    return n[prefix + "output"]


def add_stem(n: Any, image: Top, width: Any, pad: int, filler: Optional[str]) -> Top:
    """Add conv1/7x7_s2, with `pad` around it, to pool2/3x3_s2."""

    def conv(name: str, source: Top, channels: int, relu_name: str, **fields: int) -> Top:
        count = scale_channels(channels, width)
        return conv_relu(n, name, source, count, filler=filler, relu_name=relu_name, **fields)

    first = {"kernel_size": 7, "stride": 2, "pad": pad}
    top = conv("conv1/7x7_s2", image, 64, "conv1/relu_7x7", **first)
    top = max_pool(n, "pool1/3x3_s2", top, kernel_size=3)
    top = lrn(n, "pool1/norm1", top)
    reduce = {"kernel_size": 1, "pad": 0}
    top = conv("conv2/3x3_reduce", top, 64, "conv2/relu_3x3_reduce", **reduce)
    top = conv("conv2/3x3", top, 192, "conv2/relu_3x3")
    top = lrn(n, "conv2/norm2", top)
    return max_pool(n, "pool2/3x3_s2", top, kernel_size=3)


def add_blocks(
    n: Any, image: Top, width: Any = 1, pad: int = 3, filler: Optional[str] = None
) -> Top:
    """Add conv1/7x7_s2, with `pad` around it, to inception_5b, and return the latter's output."""
    top = add_stem(n, image, width, pad, filler)
    for name in INCEPTIONS:
        if name in POOLINGS:
            top = max_pool(n, POOLINGS[name], top, kernel_size=3)
        top = add_inception(n, name, top, width, filler)
    return top


def build(n: Any, image: Top, width: Any, pad: int, ratio: float) -> Top:
    """Add the trunk up to inception_5b, without the average pooling behind it.

    Long et al., arXiv 1411.4038, section 4.1.
    """
    return dropout(n, "pool5/drop_7x7_s1", add_blocks(n, image, width, pad), ratio)


def _classifier(n: Any, image: Top, width: Any, ratio: float, filler: Any, size: int) -> Top:
    n["pool5/7x7_s1"] = L.Pooling(
        add_blocks(n, image, width, filler=filler),
        pool=P.Pooling.AVE,
        kernel_size=map_size(size),
        stride=1,
    )
    return dropout(n, "pool5/drop_7x7_s1", n["pool5/7x7_s1"], ratio)


def map_size(size: int) -> int:
    """Return the height of inception_5b's output for images of `size` pixels: 7 for 224.

    Raises ValueError for a size that leaves no value.
    """
    height = (size - 1) // 2 + 1
    for _ in range(4):  # 3 x 3 poolings of stride 2; a window that reaches past the end counts
        height = -(-(height - 3) // 2) + 1
    if height < 1:
        raise ValueError(f"size is {size}, needs at least {SMALLEST} pixels in googlenet")
    return height


#: Named as in the published bvlc_googlenet. The average pooling covers the map of any `size`.
GOOGLENET = Classifier(
    "googlenet", "GoogLeNet", _classifier, "loss3/classifier", size=224, ratio=0.4
)
#: The skips are the last module of each stride.
TRUNK = Trunk(
    name="googlenet",
    build=build,
    stride=32,
    skips={16: Skip("4e", "inception_4e/output"), 8: Skip("3b", "inception_3b/output")},
    dropout=GOOGLENET.ratio,
    classifiers=(GOOGLENET,),
    classifier="googlenet",
    weights="bvlc_googlenet.caffemodel",
    cast="googlenet-fcn.caffemodel",
    title="GoogLeNet",
)
