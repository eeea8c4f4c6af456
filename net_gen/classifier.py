"""The VGG16 classifier (Simonyan & Zisserman, arXiv 1409.1556), as surgery reads it."""

from __future__ import annotations

from typing import Any, Optional, Union

from caffe.net_spec import NetSpec
from caffe.net_spec import layers as L

from . import data as sources
from .arguments import one_of, scaled, share, whole
from .fcn import SPLITS
from .layers import dropout as drop
from .layers import inner_product, relu
from .trunks import FC_CHANNELS, vgg16_blocks


def vgg16(
    split: str,
    classes: int = 1000,
    width: Any = 1,
    channels: int = 3,
    size: int = 224,
    data: Optional[sources.PythonData] = None,
    dropout: float = 0.5,
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
    pools = vgg16_blocks(n, source.add(n), width, filler=fill)
    top = pools[max(pools)]
    for number in "67":
        top = inner_product(n, f"fc{number}", top, scaled(FC_CHANNELS, width), fill)
        top = drop(n, f"drop{number}", relu(n, number, top), ratio)
    top = inner_product(n, "fc8", top, classes, fill)
    if split == "deploy":
        n.prob = L.Softmax(top)
    else:
        n.loss = L.SoftmaxWithLoss(top, n.label)
    if split == "val":
        n.accuracy = L.Accuracy(top, n.label)
    return n.to_proto()
