"""The fully convolutional nets of Long, Shelhamer and Darrell (arXiv 1411.4038)."""

from __future__ import annotations

from collections import OrderedDict
from types import MappingProxyType
from typing import Any, Mapping, NamedTuple, Optional, Sequence, Union

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

    stride: of its last upsampling, in pixels; a smaller one than the trunk's takes skips.
    base_lr: the learning rate.
    init: the variant whose weights it starts from; None for the classifier's.
    data: the folder of the data in the prototxts, as seen from the variant's own.
    trunk: a key of `TRUNKS`.
    at_once: trained in one stage, the blobs of the skips scaled.
    normalize: the loss is the mean over the pixels, not the sum.
    solver: what differs from the published solver of FCN-32s, beside the learning rate.
    """

    stride: int
    base_lr: float
    init: Optional[str]
    data: str = "../data"
    trunk: str = "vgg16"
    at_once: bool = False
    normalize: bool = False
    solver: Mapping[str, Any] = MappingProxyType({})


STAGES = OrderedDict(
    [
        ("voc-fcn32s", Variant(32, 1e-10, None)),
        # One folder further up than the others: the published files of 16s say so.
        ("voc-fcn16s", Variant(16, 1e-12, "voc-fcn32s", "../../data")),
        ("voc-fcn8s", Variant(8, 1e-14, "voc-fcn16s")),
    ]
)
#: The published nets, then those of GoogLeNet. The papers' rates for a loss averaged over the
#: pixels of 20 images are 1e-4 for VGG16 and 5e-5, half of it, for GoogLeNet (arXiv 1411.4038,
#: section 4.3); so each stage takes half of the rate that VGG16's takes for the summed loss.
VARIANTS = OrderedDict(
    [
        *STAGES.items(),
        ("voc-fcn8s-atonce", Variant(8, 1e-10, None, at_once=True, solver={"max_iter": 300000})),
        (
            "voc-fcn-alexnet",
            Variant(
                *(32, 1e-4, None),
                trunk="alexnet",
                normalize=True,
                solver={"momentum": 0.9, "iter_size": 20},
            ),
        ),
        ("voc-fcn-googlenet", Variant(32, 5e-11, None, trunk="googlenet")),
        ("voc-fcn-googlenet16s", Variant(16, 5e-13, "voc-fcn-googlenet", trunk="googlenet")),
        ("voc-fcn-googlenet8s", Variant(8, 5e-15, "voc-fcn-googlenet16s", trunk="googlenet")),
    ]
)


def known(variant: Union[str, Variant]) -> Variant:
    """The variant of a name, or the one given.

    Raises ValueError for a name that is not in `VARIANTS`, or a trunk that is not in `TRUNKS`.
    """
    if isinstance(variant, str):
        one_of("variant", variant, VARIANTS)
        return VARIANTS[variant]
    one_of("trunk", variant.trunk, trunks.TRUNKS)
    return variant


def fcn(
    variant: Union[str, Variant],
    split: str,
    classes: int = sources.CLASSES,
    width: Any = 1,
    channels: int = 3,
    sbdd_dir: Optional[str] = None,
    voc_dir: Optional[str] = None,
    seed: int = 1337,
    mean: Sequence[float] = sources.MEAN,
    dropout: Optional[float] = None,
    train_split: str = "train",
    val_split: str = "seg11valid",
    data: Optional[sources.PythonData] = None,
    pad: int = trunks.PAD,
) -> Any:
    """The NetParameter of one split of a variant; the defaults give the published net.

    variant: a key of `VARIANTS`, or a `Variant`.
    split: "train" and "val" read images and end in a loss; "deploy" has an Input layer, no
        Dropout, and ends in `score`, N x classes x H x W.
    classes: with the background; labels are 0 to classes - 1, or 255 where they do not count.
    width: a fraction of every channel count but the classes, such as 1/8.
    channels: of the input.
    sbdd_dir, voc_dir, seed, mean, train_split, val_split: what the data layers are told;
        folders left at None are the published ones.
    dropout: the ratio, after fc6 and fc7 or before `score_fr`; None is the classifier's, 0 leaves
        the layers out.
    data: another Python layer in place of the VOC ones.
    pad: pixels around the image, in the first layer.

    Raises ValueError for an argument that makes no net.
    """
    what = known(variant)
    one_of("split", split, SPLITS)
    classes, channels = whole("classes", classes), whole("channels", channels)
    pad = whole("pad", pad, least=0)
    ratio = share("dropout", trunks.DROPOUT[what.trunk] if dropout is None else dropout)
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
            sbdd_dir=sbdd_dir or f"{what.data}/{sources.SBDD_DIR}",
            voc_dir=voc_dir or f"{what.data}/{sources.VOC_DIR}",
            seed=seed,
            mean=mean,
            train_split=train_split,
            val_split=val_split,
            classes=classes,
        )
    image = source.add(n)
    trunk = trunks.TRUNKS[what.trunk](n, image, width, pad, ratio)
    heads.pixelwise(n, trunk, image, what.stride, classes, what.at_once)
    if split != "deploy":
        how = {"normalize": what.normalize, "ignore_label": IGNORE_LABEL}
        n.loss = L.SoftmaxWithLoss(n.score, n.label, loss_param=how)
    return n.to_proto()
