"""The classifiers that the fully convolutional nets are cast from."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional

from caffe.net_spec import NetSpec, Top

from .arguments import scaled
from .layers import conv_relu, dropout, max_pool

# Simonyan & Zisserman, arXiv 1409.1556, table 1, column D: convolutions and channels of a block.
VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
FC_CHANNELS = 4096
# The first layer's, in the published nets: the crop offset is then 0 or more at any input size.
PAD = 100


class Trunk(NamedTuple):
    """The blob that is scored, `stride` input pixels apart, and the blobs that skips start from.

    skips: stride -> pooled blob.
    """

    top: Top
    stride: int
    skips: Dict[int, Top]


def vgg16_blocks(
    n: NetSpec, data: Top, width: Any = 1, pad: int = 1, filler: Optional[str] = None
) -> Dict[int, Top]:
    """Adds conv1_1 to pool5, `pad` around conv1_1; gives the pooled blob of each stride."""
    pools = {}
    top, stride = data, 1
    for block, (convolutions, channels) in enumerate(VGG16_BLOCKS, 1):
        for number in range(1, convolutions + 1):
            around = pad if (block, number) == (1, 1) else 1
            name = f"conv{block}_{number}"
            top = conv_relu(n, name, top, scaled(channels, width), pad=around, filler=filler)
        stride *= 2
        pools[stride] = top = max_pool(n, f"pool{block}", top)
    return pools


def vgg16(n: NetSpec, data: Top, width: Any = 1, dropout_ratio: float = 0.5) -> Trunk:
    """VGG16 with fc6 and fc7 as convolutions (Long et al., arXiv 1411.4038, section 4.1)."""
    skips = vgg16_blocks(n, data, width, pad=PAD)
    stride = max(skips)
    top, channels = skips.pop(stride), scaled(FC_CHANNELS, width)
    for number, kernel_size in ((6, 7), (7, 1)):
        top = conv_relu(n, f"fc{number}", top, channels, kernel_size=kernel_size, pad=0)
        top = dropout(n, f"drop{number}", top, dropout_ratio)
    return Trunk(top, stride, skips)
