"""VGG16 (Simonyan & Zisserman, arXiv 1409.1556)."""

from __future__ import annotations

from typing import Any, Optional

from caffe.net_spec import Top

from ..arguments import scale_channels
from ..classifier import Classifier
from ..fully_connected import add_convolutions, add_inner_products
from ..layers import conv_relu, max_pool
from .base import Skip, Trunk

#: Convolutions and channels of each block (the paper's table 1, column D).
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def add_blocks(
    n: Any, image: Top, width: Any = 1, pad: int = 1, filler: Optional[str] = None
) -> Top:
    """Add conv1_1 to pool5, with `pad` around conv1_1, and return pool5."""
    top = image
    for block, (convolutions, channels) in enumerate(BLOCKS, 1):
        for number in range(1, convolutions + 1):
            name, around = f"conv{block}_{number}", pad if (block, number) == (1, 1) else 1
            count = scale_channels(channels, width)
            top = conv_relu(n, name, top, count, pad=around, filler=filler)
        top = max_pool(n, f"pool{block}", top)
    return top


def build(n: Any, image: Top, width: Any, pad: int, ratio: float) -> Top:
    """Add the trunk: fc6 and fc7 are convolutions (Long et al., arXiv 1411.4038, section 4.1)."""
    return add_convolutions(n, add_blocks(n, image, width, pad), width, ratio, kernel_size=7)


def _classifier(n: Any, image: Top, width: Any, ratio: float, filler: Any, size: int) -> Top:
    return add_inner_products(n, add_blocks(n, image, width, filler=filler), width, ratio, filler)


#: Named as in the published VGG_ILSVRC_16_layers.
VGG16 = Classifier("vgg16", "VGG16", _classifier, "fc8", size=224, ratio=0.5)
TRUNK = Trunk(
    name="vgg16",
    build=build,
    stride=32,
    skips={2**block: Skip(f"pool{block}", f"pool{block}") for block in range(1, 5)},
    dropout=VGG16.ratio,
    classifiers=(VGG16,),
    classifier="vgg16",
    weights="VGG_ILSVRC_16_layers.caffemodel",
    cast="vgg16-fcn.caffemodel",
    title="",
)
