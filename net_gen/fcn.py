"""The fully convolutional nets of Long, Shelhamer and Darrell (arXiv 1411.4038)."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Tuple, Union

from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L
from caffe.net_spec import params as P

from fcn_data import Labels

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
    class_weights: Optional[str] = None,
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
    class_weights: .binaryproto file of a diagonal matrix that weighs the classes in "train".
    settings: further keys of the data layer's param_str, such as voc_dir, sbdd_dir, seed and mean.
    Raises ValueError for an argument that makes no net.
    """
    variant = resolve_variant(variant)
    _check_settings(variant, split, settings)
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
        _published_data(variant, split, name, classes, shapes, settings).add(n)
    image = _image(n, variant.branches[0])
    features: Dict[str, Features] = {}
    for head, count in zip(variant.heads, counts):
        builder = HeadBuilder(n, image, count, variant.at_once, head.suffix)
        for branch in variant.branches:
            if branch.suffix not in features:
                names = Names(n, branch.suffix, branch.renamed)
                features[branch.suffix] = trunk(names, _image(n, branch), width, pad, ratio)
            builder.add_branch(features[branch.suffix])
        scores = builder.add_scores(variant.stride)
        if split != "deploy":
            _add_loss(n, variant, head, scores, class_weights if split == "train" else None)
    return n.to_proto()


def _check_settings(variant: Variant, split: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError for an unknown split and for settings that no data layer of the set has.

    A misspelt setting is refused for every split, also for deploy, which has no data layer.
    """
    check_choice("split", split, SPLITS)
    variant.data.parameters("train", variant.data_root, **settings)


def _classes(variant: Variant, head: Head, classes: Optional[int]) -> int:
    """Return the number of classes of a head."""
    if classes is None:
        return len(_labels(variant, head).classes)
    if len(variant.heads) > 1:
        raise ValueError(
            f"classes is {classes!r}, needs None for a net with {len(variant.heads)} heads"
        )
    return check_integer("classes", classes)


def _labels(variant: Variant, head: Head) -> Labels:
    """Return the data set's record of the labels that a head learns."""
    labels = {record.name: record for record in variant.data.labels}
    check_choice("label", head.label, labels)
    return labels[head.label]


def _input_shapes(variant: Variant, channels: Optional[int]) -> Dict[str, Tuple[int, ...]]:
    """Return blob -> shape of the inputs of the deploy net."""
    if channels is not None:
        channels = check_integer("channels", channels)
        if len(variant.images) > 1:
            count = len(variant.images)
            raise ValueError(f"channels is {channels}, needs None for a net with {count} images")
    means = {record.name: record.mean for record in variant.data.inputs}
    shapes: Dict[str, Tuple[int, ...]] = {}
    for image in variant.images:
        check_choice("input", image.input, means)
        shapes[image.blob] = (1, channels or len(means[image.input]), DEPLOY_SIZE, DEPLOY_SIZE)
    return shapes


def _published_data(
    variant: Variant,
    split: str,
    name: Optional[str],
    classes: Optional[int],
    shapes: Mapping[str, Tuple[int, ...]],
    settings: Mapping[str, Any],
) -> PythonData:
    """Return the data layer of the variant's data set for one split, called `name` there."""
    data_set, record = variant.data, variant.data.splits[split]
    if name is not None:
        record = record._replace(name=name)
        data_set = data_set._replace(splits={**data_set.splits, split: record})
    if len(shapes) == 1:
        means = {record.name: record.mean for record in data_set.inputs}
        mean = tuple(settings.get("mean", means[variant.images[0].input]))
        channels = next(iter(shapes.values()))[1]
        if len(mean) != channels:
            raise ValueError(f"mean is {mean!r}, needs {channels} values, one for each channel")
        if "mean" in settings:
            settings = {**settings, "mean": mean}
    labels = [head.label for head in variant.heads]
    settings = {**settings, "tops": [*(image.input for image in variant.images), *labels]}
    if classes is not None:
        settings["classes"] = classes
    param = data_set.parameters(split, variant.data_root, **settings)
    return PythonData(record.module, record.layer, param, (*shapes, *labels))


def _image(n: NetSpec, branch: Branch) -> Top:
    """Return the blob that a trunk reads; join the images of the branch if there are several."""
    blobs = [n[image.blob] for image in branch.images]
    if len(blobs) == 1:
        return blobs[0]
    if "data" not in n.tops:
        n.data = L.Concat(*blobs)
    return n.data


def _add_loss(
    n: NetSpec, variant: Variant, head: Head, scores: Top, class_weights: Optional[str]
) -> None:
    """Add the loss of a head: softmax over the classes, summed or averaged over the pixels.

    class_weights: the file of the matrix that weighs the classes; None for the published loss.
    """
    ignored = {"ignore_label": _labels(variant, head).ignore_label}
    if class_weights is None:
        n[head.loss] = L.SoftmaxWithLoss(
            scores, n[head.label], loss_param={"normalize": variant.normalize, **ignored}
        )
        return
    # InfogainLoss refuses `normalize`, whose values mean these.
    normalization = P.Loss.VALID if variant.normalize else P.Loss.BATCH_SIZE
    n[head.loss] = L.InfogainLoss(
        scores,
        n[head.label],
        infogain_loss_param={"source": class_weights},
        loss_param={"normalization": normalization, **ignored},
    )
