"""AlexNet (Krizhevsky et al. 2012), and CaffeNet, which pools before it normalizes."""

from __future__ import annotations

from typing import Any, Dict, Optional

from caffe.net_spec import Top

from ..arguments import scale_channels
from ..classifier import Classifier
from ..fully_connected import add_convolutions, add_inner_products
from ..layers import LEARNED, conv_relu, lrn, max_pool
from .base import Skip, Trunk

#: Channels and further fields of each convolution (the paper's section 3.5).
CONVOLUTIONS = (
    (96, {"kernel_size": 11, "stride": 4}),
    (256, {"kernel_size": 5, "pad": 2, "group": 2}),
    (384, {"kernel_size": 3, "pad": 1}),
    (384, {"kernel_size": 3, "pad": 1, "group": 2}),
    (256, {"kernel_size": 3, "pad": 1, "group": 2}),
)
#: Numbers of the convolutions that a pooling follows, and of those that an LRN follows.
POOLED, NORMALIZED = (1, 2, 5), (1, 2)


def add_blocks(
    n: Any,
    image: Top,
    width: Any = 1,
    pad: int = 0,
    filler: Optional[str] = None,
    pool_first: bool = True,
    param: Any = LEARNED,
) -> Top:
    """Add conv1 to pool5, with `pad` around conv1, and return pool5.

    pool_first: pool before the normalization, as CaffeNet does; AlexNet pools behind it.
    param: learning rates of the convolutions; None leaves them to the solver.
    """
    top = image
    for number, (channels, fields) in enumerate(CONVOLUTIONS, 1):
        settings: Dict[str, Any] = {"pad": pad, "group": 1, **fields}
        # The channels of every convolution are split into two groups: by the convolution itself or
        # by the next one.
        count = scale_channels(channels, width, groups=2)
        top = conv_relu(n, f"conv{number}", top, count, filler=filler, param=param, **settings)
        normalized = number in NORMALIZED
        if normalized and not pool_first:
            top = lrn(n, f"norm{number}", top)
        if number in POOLED:
            top = max_pool(n, f"pool{number}", top, kernel_size=3)
        if normalized and pool_first:
            top = lrn(n, f"norm{number}", top)
    return top


def build(n: Any, image: Top, width: Any, pad: int, ratio: float) -> Top:
    """Add CaffeNet with fc6 and fc7 as convolutions; the learning rates are the solver's."""
    top = add_blocks(n, image, width, pad, param=None)
    return add_convolutions(n, top, width, ratio, 6, stride=1, group=1, param=None)


def _alexnet(n: Any, image: Top, width: Any, ratio: float, filler: Any, size: int) -> Top:
    top = add_blocks(n, image, width, filler=filler, pool_first=False)
    return add_inner_products(n, top, width, ratio, filler)


def _caffenet(n: Any, image: Top, width: Any, ratio: float, filler: Any, size: int) -> Top:
    return add_inner_products(n, add_blocks(n, image, width, filler=filler), width, ratio, filler)


#: Named as in the published bvlc_alexnet and bvlc_reference_caffenet.
ALEXNET = Classifier("alexnet", "AlexNet", _alexnet, "fc8", size=227, ratio=0.5)
CAFFENET = Classifier("caffenet", "CaffeNet", _caffenet, "fc8", size=227, ratio=0.5)
TRUNK = Trunk(
    name="alexnet",
    build=build,
    stride=32,
    skips={16: Skip("pool2", "pool2"), 8: Skip("pool1", "pool1")},
    dropout=CAFFENET.ratio,
    classifiers=(ALEXNET, CAFFENET),
    classifier="caffenet",
    weights="bvlc_reference_caffenet.caffemodel",
    cast="caffenet-fcn.caffemodel",
    title="AlexNet",
)
