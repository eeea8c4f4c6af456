"""The fully convolutional nets of Long, Shelhamer and Darrell (arXiv 1411.4038)."""

from __future__ import annotations

from typing import Any, List, Optional, Union

from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L

from .arguments import check_choice, check_integer, check_ratio
from .data import SPLITS, Input, PythonData
from .heads import HeadBuilder
from .layers import Names
from .trunks import PAD, TRUNKS, Features
from .variants import Branch, Head, Variant, resolve_variant

#: Height and width in pixels of the input of a deploy net, until it is reshaped.
DEPLOY_SIZE = 500


def fcn(
    variant: Union[str, Variant],
    split: str,
    classes: Optional[int] = None,
    width: Any = 1,
    channels: Optional[int] = None,
    dropout: Optional[float] = None,
    data: Optional[PythonData] = None,
    pad: int = PAD,
    train_split: Optional[str] = None,
    val_split: Optional[str] = None,
    **settings: Any,
) -> Any:
    """Return the NetParameter of one split of a variant; the defaults give the published net.

    variant: a key of `VARIANTS`, or a `Variant`.
    split: "train" and "val" read images and end in a loss; "deploy" has an Input layer, no
        Dropout, and ends in `score`, N x classes x H x W.
    classes: number of classes with the background; labels are 0 to classes - 1, or the data set's
        ignored label. None is the data set's number.
    width: fraction of every channel count but the classes, such as 1/8.
    channels: of the image; None is the number of the data set's images.
    dropout: ratio of the Dropout layers; None is the classifier's, 0 leaves the layers out.
    data: another Python layer in place of the data set's.
    pad: pixels around the image, in the first layer.
    train_split, val_split: names of the data set's splits to read in place of the published ones.
    settings: further keys of the data layer's param_str, such as voc_dir, sbdd_dir, seed and mean.

    Raises ValueError for an argument that makes no net.
    """
    variant = resolve_variant(variant)
    check_choice("split", split, SPLITS)
    pad = check_integer("pad", pad, least=0)
    trunk = TRUNKS[variant.trunk]
    ratio = check_ratio("dropout", trunk.dropout if dropout is None else dropout)
    counts = [_classes(variant, head, classes) for head in variant.heads]
    shapes = _input_shapes(variant, channels)
    n = NetSpec()
    if split == "deploy":
        Input(shapes).add(n)
        ratio = 0.0
    elif data is not None:
        PythonData(*data).add(n)
    else:
        name = train_split if split == "train" else val_split
        _published_data(variant, split, name, counts, shapes, settings).add(n)
    branches: List[Features] = []
    for branch in variant.branches:
        names = Names(n, branch.suffix, branch.renamed)
        branches.append(trunk(names, _image(n, branch), width, pad, ratio))
    image = _image(n, variant.branches[0])
    for head, count in zip(variant.heads, counts):
        builder = HeadBuilder(n, branches, image, count, variant.at_once, head.suffix)
        scores = builder.add_scores(variant.stride)
        if split != "deploy":
            _add_loss(n, variant, head, scores)
    return n.to_proto()


def _classes(variant: Variant, head: Head, classes: Optional[int]) -> int:
    """Return the number of classes of a head."""
    if classes is None:
        return len(_labels(variant, head).classes)
    if len(variant.heads) > 1:
        raise ValueError(
            f"classes is {classes!r}, needs None for a net with {len(variant.heads)} heads"
        )
    return check_integer("classes", classes)
