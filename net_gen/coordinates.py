"""Where the pixels of the image lie in the blobs of a NetSpec, and the Crop layers that follow.

`net_gen.geometry` works out the same for a NetParameter, in fractions.
"""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np
from caffe.coord_map import coord_map
from caffe.net_spec import Top
from caffe.net_spec import layers as L

from .pointwise import POINTWISE


def coordinates(top: Top) -> Tuple[float, float]:
    """Return (scale, shift): what lies at x in the image lies at scale * x + shift in `top`.

    The maps of `caffe.coord_map` are composed along the first bottoms. Unlike `coord_map_from_to`
    of BVLC Caffe, this function passes Concat, whose bottoms all lie at one place.

    Raises what `coord_map` raises for a layer that keeps no places.
    """
    scale, shift = 1.0, 0.0
    while top.fn.inputs:
        if top.fn.type_name not in POINTWISE:
            _, layer_scale, layer_shift = coord_map(top.fn)
            shift += scale * _first_number(layer_shift)
            scale *= _first_number(layer_scale)
        top = top.fn.inputs[0]
    return scale, shift


def _first_number(value: Any) -> float:
    return float(np.ravel(value)[0])


def offset(top_from: Top, top_to: Top) -> float:
    """Return where in `top_from` the first value of `top_to` lies.

    A Crop can align the two only if this is an integer from 0 on.

    Raises ValueError if the two have different strides.
    """
    (scale, shift), (to_scale, to_shift) = coordinates(top_from), coordinates(top_to)
    if scale != to_scale:
        raise ValueError(
            f"crop of a blob of stride {1 / scale:g} to one of stride {1 / to_scale:g}, needs the "
            "same stride"
        )
    return shift - to_shift


def cropped(top_from: Top, top_to: Top) -> Top:
    """Return a Crop layer that cuts `top_from` to the height, width and place of `top_to`.

    Raises ValueError if the offset is negative or not an integer.
    """
    start = offset(top_from, top_to)
    if start < 0 or start != int(start):
        raise ValueError(f"crop offset is {start:g}, needs an integer of at least 0")
    return L.Crop(top_from, top_to, crop_param={"axis": 2, "offset": [int(start)]})
