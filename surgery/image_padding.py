"""NetParameters whose padding is moved to the first layer, or made larger there."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

from net_gen.geometry import first_convolution
from net_gen.pointwise import check_pointwise
from net_gen.windows import (
    Pair,
    add_pairs,
    layer_error,
    multiply_pairs,
    read_window,
    write_setting,
)
from surgery.subnet import copy_layer, layers_to, without_layers


def gather_padding(net: Any, top: Optional[str] = None, extra: int = 0) -> Any:
    """Return the NetParameter in which the first layer alone pads, for all layers up to `top`.

    A pad of p behind the stride s becomes a pad of s * p pixels around the image. Positions and the
    places that they stand for stay, and so do all values that no padding influences. At the border
    a layer now reads what the layers before it compute from an empty image, in place of zeros. So
    the map of a shifted image is the shifted map.

    net: a NetParameter; it is not changed. top: a blob; None is the last one. extra: further pixels
    on every side.

    Raises ValueError, with the layer's name, if paths of different padding meet, and for a layer
    that keeps no positions.
    """
    layers, _ = layers_to(net, top)
    gathered = without_layers(net)
    # Blob -> (stride, padding) in pixels from the image to the blob.
    paths: Dict[str, Tuple[Pair, Pair]] = {name: ((1, 1), (0, 0)) for name in net.input}
    total = (0, 0)
    for old in layers:
        layer = copy_layer(gathered, old)
        bottoms = {paths[name] for name in old.bottom}
        if len(bottoms) > 1:
            raise layer_error(
                old, "its bottoms were padded differently, needs a chain of layers without branches"
            )
        stride, pad = bottoms.pop() if bottoms else ((1, 1), (0, 0))
        if old.type in ("Convolution", "Pooling"):
            window = read_window(old)
            pad = add_pairs(pad, multiply_pairs(window.pad, stride))
            stride = multiply_pairs(stride, window.stride)
            write_setting(layer, "pad", (0, 0))
        elif old.bottom:
            check_pointwise(old)
        total = max(total[0], pad[0]), max(total[1], pad[1])
        paths.update((name, (stride, pad)) for name in old.top)
    write_setting(first_convolution(gathered), "pad", add_pairs(total, (extra, extra)))
    return gathered


def add_padding(net: Any, extra: int) -> Any:
    """Return the NetParameter whose first convolution pads by `extra` more pixels on every side.

    Raises ValueError if that pad is negative.
    """
    padded = type(net)()
    padded.CopyFrom(net)
    first = first_convolution(padded)
    pad = add_pairs(read_window(first).pad, (extra, extra))
    if min(pad) < 0:
        raise layer_error(first, f"pad with {extra} more is {pad}, needs at least 0")
    write_setting(first, "pad", pad)
    return padded
