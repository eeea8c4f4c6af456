"""A classifier's NetParameter as a fully convolutional one, and the same without padding.

Message to message: the weights follow by `surgery.transplant`.
"""

from __future__ import annotations

from typing import Any, Set, Tuple

JOINS = ("Concat", "Eltwise")
_PARAM = {"Convolution": "convolution_param", "Pooling": "pooling_param"}


def convolutional(classifier: Any, net: Any) -> Any:
    """The NetParameter with each InnerProduct as the Convolution that computes the same.

    classifier: a NetParameter. net: the caffe.Net built from it, which tells the C x S x S blob
    under each layer; S is the kernel (Long et al., arXiv 1411.4038, section 3.1). The names of
    layers and blobs stay, so `surgery.transplant` brings the weights over.

    Raises ValueError for an InnerProduct that is no convolution: one with transposed weights, with
    another axis than 1, over a window that is not square, or over a flattened blob.
    """
    cast = type(classifier)()
    cast.CopyFrom(classifier)
    flat: Set[str] = set()
    for layer in cast.layer:
        if layer.type == "InnerProduct":
            bottom = tuple(net.blobs[layer.bottom[0]].data.shape)
            if len(bottom) == 2 and layer.bottom[0] in flat:
                bottom += (1, 1)
            _as_convolution(layer, bottom)
            flat.update(layer.top)
        elif flat.intersection(layer.bottom):
            flat.update(layer.top)
    return cast


def _as_convolution(layer: Any, bottom: Tuple[int, ...]) -> None:
    old, new = layer.inner_product_param, layer.convolution_param
    if old.transpose or old.axis != 1:
        raise ValueError(
            f"layer {layer.name}: found axis {old.axis}{', transposed' * old.transpose}, needed "
            "axis 1, not transposed, to be a convolution"
        )
    if len(bottom) != 4 or bottom[2] != bottom[3]:
        raise ValueError(
            f"layer {layer.name}: found a bottom of {' x '.join(map(str, bottom))}, needed a "
            "square map N x C x S x S, or what another InnerProduct gives"
        )
    new.num_output, new.bias_term = old.num_output, old.bias_term
    new.kernel_size.append(bottom[2])
    for name in ("weight_filler", "bias_filler"):
        if old.HasField(name):
            getattr(new, name).CopyFrom(getattr(old, name))
    layer.type = "Convolution"
    layer.ClearField("inner_product_param")


def without_padding(net: Any) -> Any:
    """The NetParameter with the pad of every Convolution and Pooling at 0, for the same weights.

    Where the branches that a Concat or Eltwise joins then differ in extent, the larger ones are
    cropped to what all have, so that a position still looks at one place.
    """
    bare = type(net)()
    bare.CopyFrom(net)
    bare.ClearField("layer")
    for layer in net.layer:
        bottoms = _cropped(bare, layer) if layer.type in JOINS else None
        last = bare.layer.add()
        last.CopyFrom(layer)
        if bottoms:
            last.bottom[:] = bottoms
        if layer.type in _PARAM:
            for field in ("pad", "pad_h", "pad_w"):
                getattr(last, _PARAM[layer.type]).ClearField(field)
    return bare


def _cropped(net: Any, join: Any) -> list:
    """Adds to `net` a Crop for each bottom of `join` that is larger than the smallest; the bottoms.

    The smallest, around which the others are cropped, is the one whose first position lies
    furthest into the image.
    """
    from net_gen.padding import Geometry

    maps = Geometry(net).maps
    smallest = min(join.bottom, key=lambda bottom: maps[bottom][2])
    bottoms = []
    for bottom in join.bottom:
        offset = int(maps[bottom][2] - maps[smallest][2])
        bottoms.append(f"{bottom}_crop" if offset else bottom)
        if offset:
            crop = net.layer.add(name=bottoms[-1], type="Crop", bottom=[bottom, smallest])
            crop.top.append(crop.name)
            crop.crop_param.axis = 2
            crop.crop_param.offset.append(offset)
    return bottoms
