"""A classifier's NetParameter as a fully convolutional one, and the same without padding.

These functions rewrite messages. `surgery.transplant` brings the weights over.
"""

from __future__ import annotations

from typing import Any, List, Set, Tuple

from net_gen.geometry import Geometry
from net_gen.pointwise import JOINING
from net_gen.windows import clear_setting
from surgery.shapes import shape_text
from surgery.subnet import copy_layer, without_layers


def convolutional(classifier: Any, net: Any) -> Any:
    """Return the NetParameter with each InnerProduct as the Convolution that computes the same.

    classifier: a NetParameter. net: the caffe.Net built from it, whose blobs tell the N x C x S x S
    blob under each layer; S is the kernel size (Long et al., arXiv 1411.4038, section 3.1). Layers
    and blobs keep their names.

    Raises ValueError for an InnerProduct that is not a convolution: one with transposed weights,
    with another axis than 1, over a window that is not square, or over a flattened blob.
    """
    cast = type(classifier)()
    cast.CopyFrom(classifier)
    flat: Set[str] = set()
    for layer in cast.layer:
        if layer.type == "InnerProduct":
            bottom = tuple(net.blobs[layer.bottom[0]].data.shape)
            if len(bottom) == 2 and layer.bottom[0] in flat:
                bottom += (1, 1)
            _to_convolution(layer, bottom)
            flat.update(layer.top)
        elif flat.intersection(layer.bottom):
            flat.update(layer.top)
    return cast


def _to_convolution(layer: Any, bottom: Tuple[int, ...]) -> None:
    """Turn an InnerProduct LayerParameter over a bottom of this shape into a Convolution."""
    old, new = layer.inner_product_param, layer.convolution_param
    if old.transpose or old.axis != 1:
        raise ValueError(
            f"layer {layer.name}: has axis {old.axis}{', transposed' * old.transpose}, needs "
            "axis 1, not transposed, to be a convolution"
        )
    if len(bottom) != 4 or bottom[2] != bottom[3]:
        raise ValueError(
            f"layer {layer.name}: its bottom is {shape_text(bottom)}, needs a square map N x C x S "
            "x S or the top of another InnerProduct"
        )
    new.num_output, new.bias_term = old.num_output, old.bias_term
    new.kernel_size.append(bottom[2])
    for name in ("weight_filler", "bias_filler"):
        if old.HasField(name):
            getattr(new, name).CopyFrom(getattr(old, name))
    layer.type = "Convolution"
    layer.ClearField("inner_product_param")


def without_padding(net: Any) -> Any:
    """Return the NetParameter with every Convolution and Pooling at pad 0, for the same weights.

    If the bottoms of a Concat or Eltwise then have different extents, the larger ones are cropped
    to the extents of the smallest, so that one position still stands for one place.
    """
    bare = without_layers(net)
    for layer in net.layer:
        bottoms = _cropped(bare, layer) if layer.type in JOINING else list(layer.bottom)
        copy = copy_layer(bare, layer)
        copy.bottom[:] = bottoms
        if layer.type in ("Convolution", "Pooling"):
            clear_setting(copy, "pad")
    return bare


def _cropped(net: Any, join: Any) -> List[str]:
    """Add to `net` a Crop for each bottom of `join` that is too large, and return the new bottoms.

    The smallest bottom is the one whose first position lies furthest inside the image.
    """
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
