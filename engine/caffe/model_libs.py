"""Bodies and heads of detection nets, by the names of SSD's module caffe.model_libs.

SSD's scripts, those in examples/ssd, begin with `from caffe.model_libs import *` and
write their prototxts with these functions (Liu et al. 2016; weiliu89/caffe). Each function adds
named layers to a NetSpec. The names are those of SSD's published weights. The star also brings
`L`, `P`, `os` and `caffe_pb2`, which the scripts use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from . import files
from .model_bodies import (
    ConvBNLayer,
    ResBody,
    ResNet101Body,
    ResNet152Body,
    UnpackVariable,
    VGGNetBody,
)
from .net_spec import NetSpec, Top
from .net_spec import layers as L
from .net_spec import params as P
from .proto import caffe_pb2

__all__ = [
    "ConvBNLayer",
    "CreateAnnotatedDataLayer",
    "CreateMultiBoxHead",
    "L",
    "P",
    "ResBody",
    "ResNet101Body",
    "ResNet152Body",
    "UnpackVariable",
    "VGGNetBody",
    "caffe_pb2",
    "check_if_exist",
    "make_if_not_exist",
    "os",
]


def check_if_exist(path: str) -> bool:
    """Return whether a file or folder exists."""
    return os.path.exists(path)


def make_if_not_exist(path: str) -> None:
    """Make a folder, and those above it, unless it exists."""
    os.makedirs(files.writable(path), exist_ok=True)


def _values(var: Any) -> list[Any]:
    return list(var) if isinstance(var, (list, tuple)) else [var]


def CreateAnnotatedDataLayer(
    source: str,
    batch_size: int = 32,
    backend: int = caffe_pb2.DataParameter.LMDB,
    output_label: bool = True,
    train: bool = True,
    label_map_file: str = "",
    anno_type: int | None = None,
    transform_param: Mapping[str, Any] | None = None,
    batch_sampler: Sequence[Mapping[str, Any]] = ({},),
) -> Any:
    """Return the top, or the two tops, of an AnnotatedData layer for one phase."""
    annotated: dict[str, Any] = dict(
        label_map_file=label_map_file, batch_sampler=list(batch_sampler)
    )
    if anno_type is not None:
        annotated["anno_type"] = anno_type
    return L.AnnotatedData(
        name="data",
        annotated_data_param=annotated,
        data_param=dict(batch_size=batch_size, backend=backend, source=source),
        ntop=2 if output_label else 1,
        include=dict(phase=caffe_pb2.TRAIN if train else caffe_pb2.TEST),
        transform_param=dict(transform_param or {}),
    )


def CreateMultiBoxHead(
    net: NetSpec,
    data_layer: str = "data",
    num_classes: int = 0,
    from_layers: Sequence[str] = (),
    use_objectness: bool = False,
    normalizations: Sequence[float] = (),
    use_batchnorm: bool = True,
    lr_mult: float = 1,
    use_scale: bool = True,
    min_sizes: Sequence[Any] = (),
    max_sizes: Sequence[Any] = (),
    prior_variance: Sequence[float] = (0.1,),
    aspect_ratios: Sequence[Any] = (),
    steps: Sequence[float] = (),
    img_height: int = 0,
    img_width: int = 0,
    share_location: bool = True,
    flip: bool = True,
    clip: bool = True,
    offset: float = 0.5,
    inter_layer_depth: Sequence[int] = (),
    kernel_size: int = 1,
    pad: int = 0,
    conf_postfix: str = "",
    loc_postfix: str = "",
    **bn_param: Any,
) -> list[Top]:
    """Add a box head to each of `from_layers`; return mbox_loc, mbox_conf and mbox_priorbox.

    normalizations: the scale of a Normalize layer before a head, -1 for none. min_sizes, max_sizes,
    aspect_ratios, steps: of the boxes of each head. inter_layer_depth: the channels of a further
    convolution, 0 for none. Raises ValueError for numbers of values that do not fit.
    """
    lists = dict(min_sizes=min_sizes, max_sizes=max_sizes, steps=steps)
    _check_head(num_classes, from_layers, normalizations=normalizations, **lists)
    same: dict[str, Any] = dict(clip=clip, offset=offset, variance=list(prior_variance))
    same.update(_image_size(img_height, img_width))
    convolution = dict(use_bn=use_batchnorm, use_scale=use_scale, lr_mult=lr_mult, **bn_param)
    window = dict(kernel_size=kernel_size, pad=pad, stride=1, **convolution)
    places = 4 if share_location else 4 * num_classes
    of_each = {f"loc{loc_postfix}": places, f"conf{conf_postfix}": num_classes}
    if use_objectness:
        of_each["objectness"] = 2
    order = ("loc", "conf", "objectness", "priorbox")
    parts: dict[str, list[Top]] = {n: [] for n in order if use_objectness or n != "objectness"}
    for index, layer in enumerate(from_layers):
        values = {name: each[index] for name, each in lists.items() if each}
        ratios = _values(aspect_ratios[index]) if index < len(aspect_ratios) else []
        boxes, count = _boxes(layer, values, ratios, flip)
        if normalizations and normalizations[index] != -1:
            layer = _normalized(net, layer, normalizations[index])
        if inter_layer_depth and inter_layer_depth[index]:
            layer = _deepened(net, layer, inter_layer_depth[index], convolution)
        prior = L.PriorBox(net[layer], net[data_layer], **boxes, **same)
        tops = [*_scores(net, layer, count, of_each, window), prior]
        net[f"{layer}_mbox_priorbox"] = prior
        for of_part, top in zip(parts.values(), tops):
            of_part.append(top)
    return _joined(net, parts)


def _check_head(num_classes: int, from_layers: Sequence[str], **lists: Sequence[Any]) -> None:
    if num_classes <= 0:
        raise ValueError(f"num_classes is {num_classes}; it needs to be positive")
    for name, values in lists.items():
        if (values or name == "min_sizes") and len(values) != len(from_layers):
            raise ValueError(f"{name} has {len(values)} values for {len(from_layers)} from_layers")


def _image_size(height: int, width: int) -> dict[str, int]:
    if not (height and width):
        return {}
    return dict(img_size=height) if height == width else dict(img_h=height, img_w=width)


def _boxes(
    layer: str, values: Mapping[str, Any], ratios: list[float], flip: bool
) -> tuple[dict[str, Any], int]:
    """Return the settings of a PriorBox, and the number of its boxes at each position."""
    boxes: dict[str, Any] = {"min_size": _values(values["min_sizes"])}
    if largest := _values(values.get("max_sizes", [])):
        boxes["max_size"] = largest
        if len(largest) != len(boxes["min_size"]):
            raise ValueError(f"min_sizes and max_sizes of {layer} differ in number")
    if ratios:
        boxes.update(aspect_ratio=ratios, flip=flip)
    if step := values.get("steps"):
        boxes["step"] = step
    of_size = 1 + ("max_size" in boxes) + len(ratios) * (2 if flip else 1)
    return boxes, of_size * len(boxes["min_size"])


def _normalized(net: NetSpec, layer: str, scale: float) -> str:
    """Add a Normalize layer of that scale; return the name."""
    norm = f"{layer}_norm"
    filler = dict(type="constant", value=scale)
    net[norm] = L.Normalize(
        net[layer], scale_filler=filler, across_spatial=False, channel_shared=False
    )
    return norm


def _deepened(net: NetSpec, layer: str, depth: int, convolution: Mapping[str, Any]) -> str:
    """Add a 3 x 3 convolution of `depth` channels; return the name."""
    inter = f"{layer}_inter"
    window: dict[str, Any] = dict(num_output=depth, kernel_size=3, pad=1, stride=1)
    ConvBNLayer(net, layer, inter, use_relu=True, **window, **convolution)
    return inter


def _scores(
    net: NetSpec, layer: str, boxes: int, of_box: Mapping[str, int], window: Mapping[str, Any]
) -> list[Top]:
    """Add a convolution for each name in `of_box`; return their values, channels last, flat.

    boxes: the boxes at a position. of_box: name -> values of a box.
    """
    tops = []
    for name, number in of_box.items():
        top = f"{layer}_mbox_{name}"
        ConvBNLayer(net, layer, top, use_relu=False, num_output=boxes * number, **window)
        net[f"{top}_perm"] = L.Permute(net[top], order=[0, 2, 3, 1])
        net[f"{top}_flat"] = L.Flatten(net[f"{top}_perm"], axis=1)
        tops.append(net[f"{top}_flat"])
    return tops


def _joined(net: NetSpec, parts: Mapping[str, Sequence[Top]]) -> list[Top]:
    """Add the concatenation of each part over the heads; return the tops, objectness last."""
    tops = []
    for part in sorted(parts, key=lambda name: name == "objectness"):
        net[f"mbox_{part}"] = L.Concat(*parts[part], axis=2 if part == "priorbox" else 1)
        tops.append(net[f"mbox_{part}"])
    return tops
