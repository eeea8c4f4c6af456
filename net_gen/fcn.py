"""The fully convolutional nets of Long, Shelhamer and Darrell (arXiv 1411.4038)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple, Optional, Sequence, Union

from caffe.net_spec import NetSpec
from caffe.net_spec import layers as L

from . import data as sources
from . import heads, trunks
from .arguments import one_of, share, whole

SPLITS = ("train", "val", "deploy")
IGNORE_LABEL = 255
DEPLOY_SIZE = 500


class Variant(NamedTuple):
    """A net of the family.

    stride: of its last upsampling, in pixels.
    base_lr: the published learning rate.
    init: the variant whose weights it starts from; None for the classifier's.
    data: the folder of the data in the published prototxts, as seen from the variant's own.
    """

    stride: int
    base_lr: float
    init: Optional[str]
    data: str = "../data"


VARIANTS = OrderedDict(
    [
        ("voc-fcn32s", Variant(32, 1e-10, None)),
        # One folder further up than the others: the published files of 16s say so.
        ("voc-fcn16s", Variant(16, 1e-12, "voc-fcn32s", "../../data")),
        ("voc-fcn8s", Variant(8, 1e-14, "voc-fcn16s")),
    ]
)


def fcn(
    variant: str,
    split: str,
    classes: int = sources.CLASSES,
    width: Any = 1,
    channels: int = 3,
    sbdd_dir: Optional[str] = None,
    voc_dir: Optional[str] = None,
    seed: int = 1337,
    mean: Sequence[float] = sources.MEAN,
    dropout: float = 0.5,
    train_split: str = "train",
    val_split: str = "seg11valid",
    data: Optional[sources.PythonData] = None,
) -> Any:
    """The NetParameter of one split of a variant; the defaults give the published net.

    variant: a key of `VARIANTS`.
    split: "train" and "val" read images and end in a loss; "deploy" has an Input layer, no
        Dropout, and ends in `score`, N x classes x H x W.
    classes: with the background; labels are 0 to classes - 1, or 255 where they do not count.
    width: a fraction of every channel count but the classes, such as 1/8.
    channels: of the input.
    sbdd_dir, voc_dir, seed, mean, train_split, val_split: what the data layers are told;
        folders left at None are the published ones.
    dropout: the ratio after fc6 and fc7; 0 leaves the layers out.
    data: another Python layer in place of the VOC ones.

    Raises ValueError for an argument that makes no net.
    """
    one_of("variant", variant, VARIANTS)
    one_of("split", split, SPLITS)
    classes, channels = whole("classes", classes), whole("channels", channels)
    ratio = share("dropout", dropout)
    source: Union[sources.Input, sources.PythonData]
    n = NetSpec()
    if split == "deploy":
        source, ratio = sources.Input((1, channels, DEPLOY_SIZE, DEPLOY_SIZE)), 0.0
    elif data is not None:
        source = sources.PythonData(*data)
    else:
        if len(mean) != channels:
            raise ValueError(f"mean {tuple(mean)!r}: {channels} values are needed, one a channel")
        source = sources.voc(
            split,
            sbdd_dir=sbdd_dir or f"{VARIANTS[variant].data}/{sources.SBDD_DIR}",
            voc_dir=voc_dir or f"{VARIANTS[variant].data}/{sources.VOC_DIR}",
            seed=seed,
            mean=mean,
            train_split=train_split,
            val_split=val_split,
            classes=classes,
        )
    image = source.add(n)
    trunk = trunks.vgg16(n, image, width, ratio)
    heads.pixelwise(n, trunk, image, VARIANTS[variant].stride, classes)
    if split != "deploy":
        how = {"normalize": False, "ignore_label": IGNORE_LABEL}
        n.loss = L.SoftmaxWithLoss(n.score, n.label, loss_param=how)
    return n.to_proto()
