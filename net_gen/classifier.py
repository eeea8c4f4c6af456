"""The classifiers that the nets are cast from, as surgery reads them.

VGG16 (Simonyan & Zisserman, arXiv 1409.1556), AlexNet (Krizhevsky et al. 2012), CaffeNet, which
pools before it normalizes, and GoogLeNet (Szegedy et al., arXiv 1409.4842).
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Union

from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L
from caffe.net_spec import params as P

from . import data as sources
from .arguments import one_of, scaled, share, whole
from .fcn import SPLITS
from .layers import dropout as drop
from .layers import inner_product, relu
from .trunks import (
    DROPOUT,
    FC_CHANNELS,
    alexnet_blocks,
    googlenet_blocks,
    vgg16_blocks,
)

# (net, data, width, dropout ratio, filler, size) -> the blob that is scored
Body = Callable[[NetSpec, Top, Any, float, Optional[str], int], Top]


def _classifier(
    body: Body,
    last: str,
    split: str,
    classes: int,
    width: Any,
    channels: int,
    size: int,
    data: Optional[sources.PythonData],
    dropout: float,
    batch: int,
    filler: str,
) -> Any:
    one_of("split", split, SPLITS)
    classes, channels = whole("classes", classes), whole("channels", channels)
    size, batch = whole("size", size), whole("batch", batch)
    ratio = share("dropout", dropout)
    source: Union[sources.Input, sources.PythonData]
    fill: Optional[str]
    if split == "deploy":
        source, ratio, fill = sources.Input((batch, channels, size, size)), 0.0, None
    elif data is None:
        raise ValueError(f"data None: the {split} net needs a Python layer (module, layer, text)")
    else:
        source, fill = sources.PythonData(*data), filler
    n = NetSpec()
    top = body(n, source.add(n), width, ratio, fill, size)
    top = inner_product(n, last, top, classes, fill)
    if split == "deploy":
        n.prob = L.Softmax(top)
    else:
        n.loss = L.SoftmaxWithLoss(top, n.label)
    if split == "val":
        n.accuracy = L.Accuracy(top, n.label)
    return n.to_proto()


def _fully_connected(n: NetSpec, top: Top, width: Any, ratio: float, fill: Optional[str]) -> Top:
    for number in "67":
        top = inner_product(n, f"fc{number}", top, scaled(FC_CHANNELS, width), fill)
        top = drop(n, f"drop{number}", relu(n, f"relu{number}", top), ratio)
    return top


def _vgg16(n: NetSpec, data: Top, width: Any, ratio: float, fill: Any, size: int) -> Top:
    pools = vgg16_blocks(n, data, width, filler=fill)
    return _fully_connected(n, pools[max(pools)].top, width, ratio, fill)


def _alexnet(n: NetSpec, data: Top, width: Any, ratio: float, fill: Any, size: int) -> Top:
    pools = alexnet_blocks(n, data, width, filler=fill, pool_first=False)
    return _fully_connected(n, pools[max(pools)].top, width, ratio, fill)


def _caffenet(n: NetSpec, data: Top, width: Any, ratio: float, fill: Any, size: int) -> Top:
    pools = alexnet_blocks(n, data, width, filler=fill)
    return _fully_connected(n, pools[max(pools)].top, width, ratio, fill)


def _googlenet(n: NetSpec, data: Top, width: Any, ratio: float, fill: Any, size: int) -> Top:
    outputs = googlenet_blocks(n, data, width, filler=fill)
    n["pool5/7x7_s1"] = L.Pooling(
        outputs[max(outputs)].top, pool=P.Pooling.AVE, kernel_size=googlenet_map(size), stride=1
    )
    return drop(n, "pool5/drop_7x7_s1", n["pool5/7x7_s1"], ratio)


def googlenet_map(size: int) -> int:
    """The height of inception_5b's output for images of `size` pixels: 7 for 224, 3 for 96.

    Raises ValueError for a size of which nothing is left, under 31.
    """
    height = (size - 1) // 2 + 1
    for _ in range(4):  # 3 x 3 of stride 2; a window that reaches over the border counts
        height = -(-(height - 3) // 2) + 1
    if height < 1:
        raise ValueError(f"size {size}: nothing is left of it in googlenet, 31 or more is needed")
    return height


def vgg16(
    split: str,
    classes: int = 1000,
    width: Any = 1,
    channels: int = 3,
    size: int = 224,
    data: Optional[sources.PythonData] = None,
    dropout: float = DROPOUT["vgg16"],
    batch: int = 1,
    filler: str = "msra",
) -> Any:
    """The NetParameter of one split, named as in the published VGG_ILSVRC_16_layers.

    split: "train" and "val" read from `data`, fill the weights by `filler` and end in `loss`, val
        in `accuracy` too; "deploy" has an Input layer of batch x channels x size x size, no
        Dropout, and ends in `prob`.
    width: a fraction of every channel count but the classes, such as 1/8.
    data: the Python layer that makes `data` (N x channels x size x size) and `label` (N).
    dropout: the ratio after fc6 and fc7; 0 leaves the layers out.

    Raises ValueError for an argument that makes no net.
    """
    return _classifier(
        _vgg16, "fc8", split, classes, width, channels, size, data, dropout, batch, filler
    )


def alexnet(
    split: str,
    classes: int = 1000,
    width: Any = 1,
    channels: int = 3,
    size: int = 227,
    data: Optional[sources.PythonData] = None,
    dropout: float = DROPOUT["alexnet"],
    batch: int = 1,
    filler: str = "msra",
) -> Any:
    """The NetParameter of one split, named as in bvlc_alexnet; arguments as of `vgg16`."""
    return _classifier(
        _alexnet, "fc8", split, classes, width, channels, size, data, dropout, batch, filler
    )


def caffenet(
    split: str,
    classes: int = 1000,
    width: Any = 1,
    channels: int = 3,
    size: int = 227,
    data: Optional[sources.PythonData] = None,
    dropout: float = DROPOUT["alexnet"],
    batch: int = 1,
    filler: str = "msra",
) -> Any:
    """The NetParameter of one split, named as in bvlc_reference_caffenet; arguments as of `vgg16`.

    The trunk of FCN-AlexNet is this one.
    """
    return _classifier(
        _caffenet, "fc8", split, classes, width, channels, size, data, dropout, batch, filler
    )


def googlenet(
    split: str,
    classes: int = 1000,
    width: Any = 1,
    channels: int = 3,
    size: int = 224,
    data: Optional[sources.PythonData] = None,
    dropout: float = DROPOUT["googlenet"],
    batch: int = 1,
    filler: str = "msra",
) -> Any:
    """The NetParameter of one split, named as in bvlc_googlenet; arguments as of `vgg16`.

    The final average pooling, `pool5/7x7_s1`, covers the whole map, 7 x 7 at the default size, and
    the ratio of `dropout` is that behind it. There are no auxiliary classifiers.
    """
    name = "loss3/classifier"
    return _classifier(
        _googlenet, name, split, classes, width, channels, size, data, dropout, batch, filler
    )


CLASSIFIERS: Dict[str, Callable[..., Any]] = {
    "vgg16": vgg16,
    "alexnet": alexnet,
    "caffenet": caffenet,
    "googlenet": googlenet,
}
