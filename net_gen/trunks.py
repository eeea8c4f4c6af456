"""The classifiers that the fully convolutional nets are cast from, up to what is scored."""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L

from .arguments import scaled
from .layers import LEARNED, conv_relu, dropout, lrn, max_pool

# Simonyan & Zisserman, arXiv 1409.1556, table 1, column D: convolutions and channels of a block.
VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# Krizhevsky et al. 2012, section 3.5: channels, and what the convolution has beside them.
ALEXNET_CONVOLUTIONS = (
    (96, {"kernel_size": 11, "stride": 4}),
    (256, {"kernel_size": 5, "pad": 2, "group": 2}),
    (384, {"kernel_size": 3, "pad": 1}),
    (384, {"kernel_size": 3, "pad": 1, "group": 2}),
    (256, {"kernel_size": 3, "pad": 1, "group": 2}),
)
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
FC_CHANNELS = 4096
# The first layer's, in the published nets: the crop offset is then 0 or more at any input size.
PAD = 100


class NamedTop(NamedTuple):
    """A blob, and its name in those of the layers that score it."""

    name: str
    top: Top


class Trunk(NamedTuple):
    """The blob that is scored, `stride` input pixels apart, and by stride those of the skips.

    pad: around the image, in the first layer.
    """

    name: str
    pad: int
    top: Top
    stride: int
    skips: Dict[int, NamedTop]


def vgg16_blocks(
    n: NetSpec, data: Top, width: Any = 1, pad: int = 1, filler: Optional[str] = None
) -> Dict[int, NamedTop]:
    """Adds conv1_1 to pool5, `pad` around conv1_1; gives the pooled blob of each stride."""
    pools = {}
    top, stride = data, 1
    for block, (convolutions, channels) in enumerate(VGG16_BLOCKS, 1):
        for number in range(1, convolutions + 1):
            around = pad if (block, number) == (1, 1) else 1
            name = f"conv{block}_{number}"
            top = conv_relu(n, name, top, scaled(channels, width), pad=around, filler=filler)
        stride *= 2
        top = max_pool(n, f"pool{block}", top)
        pools[stride] = NamedTop(f"pool{block}", top)
    return pools


def alexnet_blocks(
    n: NetSpec,
    data: Top,
    width: Any = 1,
    pad: int = 0,
    filler: Optional[str] = None,
    pool_first: bool = True,
    param: Any = LEARNED,
) -> Dict[int, NamedTop]:
    """Adds conv1 to pool5, `pad` around conv1; gives the pooled blob of each stride.

    pool_first: pools before it normalizes, as CaffeNet does; AlexNet does after.
    """
    pools = {}
    top, stride = data, 4
    for number, (channels, fields) in enumerate(ALEXNET_CONVOLUTIONS, 1):
        settings: Dict[str, Any] = {"pad": pad, "group": 1, **fields}
        # Every convolution's channels are split in two, by itself or by the one that reads them.
        count = scaled(channels, width, groups=2)
        top = conv_relu(n, f"conv{number}", top, count, filler=filler, param=param, **settings)
        if number in (3, 4):
            continue
        stride *= 2
        if number < 5 and not pool_first:
            top = lrn(n, f"norm{number}", top)
        top = max_pool(n, f"pool{number}", top, kernel_size=3)
        pools[stride] = NamedTop(f"pool{number}", top)
        if number < 5 and pool_first:
            top = lrn(n, f"norm{number}", top)
    return pools


def inception(
    n: NetSpec, name: str, bottom: Top, width: Any = 1, filler: Optional[str] = None
) -> Top:
    """Adds the module `inception_<name>`; gives its `output`, of the bottom's height and width."""
    prefix = f"inception_{name}/"
    one, reduce3, three, reduce5, five, projection = INCEPTIONS[name]

    def conv(kind: str, source: Top, channels: int, kernel_size: int = 1) -> Top:
        return conv_relu(
            n,
            prefix + kind,
            source,
            scaled(channels, width),
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


def googlenet_blocks(
    n: NetSpec, data: Top, width: Any = 1, pad: int = 3, filler: Optional[str] = None
) -> Dict[int, NamedTop]:
    """Adds conv1/7x7_s2 to inception_5b, `pad` around the first; gives the last of each stride."""

    def conv(name: str, source: Top, channels: int, relu_name: str, **fields: int) -> Top:
        count = scaled(channels, width)
        return conv_relu(n, name, source, count, filler=filler, relu_name=relu_name, **fields)

    first = {"kernel_size": 7, "stride": 2, "pad": pad}
    top = conv("conv1/7x7_s2", data, 64, "conv1/relu_7x7", **first)
    top = max_pool(n, "pool1/3x3_s2", top, kernel_size=3)
    top = lrn(n, "pool1/norm1", top)
    reduce = {"kernel_size": 1, "pad": 0}
    top = conv("conv2/3x3_reduce", top, 64, "conv2/relu_3x3_reduce", **reduce)
    top = conv("conv2/3x3", top, 192, "conv2/relu_3x3")
    top = lrn(n, "conv2/norm2", top)
    top = max_pool(n, "pool2/3x3_s2", top, kernel_size=3)
    outputs, stride = {}, 8
    for name in INCEPTIONS:
        if name in ("4a", "5a"):
            top = max_pool(n, f"pool{int(name[0]) - 1}/3x3_s2", top, kernel_size=3)
            stride *= 2
        top = inception(n, name, top, width, filler)
        outputs[stride] = NamedTop(name, top)
    return outputs


def vgg16(n: NetSpec, data: Top, width: Any = 1, pad: int = PAD, ratio: float = 0.5) -> Trunk:
    """VGG16 with fc6 and fc7 as convolutions (Long et al., arXiv 1411.4038, section 4.1)."""
    blobs = vgg16_blocks(n, data, width, pad)
    top, stride = _convolved(n, blobs, width, ratio, 7)
    return Trunk("vgg16", pad, top, stride, blobs)


def alexnet(n: NetSpec, data: Top, width: Any = 1, pad: int = PAD, ratio: float = 0.5) -> Trunk:
    """CaffeNet with fc6 and fc7 as convolutions, its learning rates left at the solver's."""
    blobs = alexnet_blocks(n, data, width, pad, param=None)
    top, stride = _convolved(n, blobs, width, ratio, 6, stride=1, group=1, param=None)
    return Trunk("alexnet", pad, top, stride, blobs)


def _convolved(
    n: NetSpec,
    blobs: Dict[int, NamedTop],
    width: Any,
    ratio: float,
    kernel_size: int,
    **fields: Any,
) -> Tuple[Top, int]:
    """Takes the coarsest of `blobs`, adds fc6, of `kernel_size`, and fc7; gives fc7, its stride."""
    stride = max(blobs)
    top, channels = blobs.pop(stride).top, scaled(FC_CHANNELS, width)
    for number, size in ((6, kernel_size), (7, 1)):
        top = conv_relu(n, f"fc{number}", top, channels, kernel_size=size, pad=0, **fields)
        top = dropout(n, f"drop{number}", top, ratio)
    return top, stride


def googlenet(n: NetSpec, data: Top, width: Any = 1, pad: int = PAD, ratio: float = 0.4) -> Trunk:
    """GoogLeNet up to inception_5b, without the final average pooling (Long et al., section 4.1).

    The skips start from the last module of each stride; the auxiliary classifiers are left out.
    """
    blobs = googlenet_blocks(n, data, width, pad)
    stride = max(blobs)
    top = dropout(n, "pool5/drop_7x7_s1", blobs.pop(stride).top, ratio)
    return Trunk("googlenet", pad, top, stride, blobs)


TRUNKS: Dict[str, Callable[..., Trunk]] = {
    "vgg16": vgg16,
    "alexnet": alexnet,
    "googlenet": googlenet,
}
# The ratio of a trunk's Dropout layers: Szegedy et al., section 5, for GoogLeNet.
DROPOUT = {"vgg16": 0.5, "alexnet": 0.5, "googlenet": 0.4}
