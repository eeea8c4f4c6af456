"""Where the pixels of the image lie in the blobs of a net."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np
from caffe.coord_map import coord_map
from caffe.net_spec import Top
from caffe.net_spec import layers as L


def coordinates(top: Top) -> Tuple[float, float]:
    """(scale, shift): what lies at x in the net's first blob lies at scale * x + shift in `top`.

    Composes the maps of `caffe.coord_map` along the first bottoms; unlike `coord_map_from_to`, also
    through Concat, which puts channels of one place together.
    """
    scale, shift = 1.0, 0.0
    while top.fn.inputs:
        if top.fn.type_name != "Concat":
            _, of_layer, offset = coord_map(top.fn)
            scale, shift = scale * _number(of_layer), scale * _number(offset) + shift
        top = top.fn.inputs[0]
    return scale, shift


def _number(value: Any) -> float:
    return float(np.ravel(value)[0])


def offset(top_from: Top, top_to: Top) -> float:
    """Where in `top_from` the first pixel of `top_to` lies; whole where a crop can align them.

    Raises ValueError where the two have different strides.
    """
    (scale, shift), (to_scale, to_shift) = coordinates(top_from), coordinates(top_to)
    if scale != to_scale:
        raise ValueError(
            f"crop of a blob of stride {1 / scale:g} to one of stride {1 / to_scale:g}: the same "
            "stride is needed"
        )
    return shift - to_shift


def cropped(top_from: Top, top_to: Top) -> Top:
    """A Crop layer that cuts `top_from` to the extents and the place of `top_to`.

    Raises ValueError where the offset is negative or not whole.
    """
    start = offset(top_from, top_to)
    if start < 0 or start != int(start):
        raise ValueError(f"crop offset {start:g}: a whole number from 0 on is needed")
    return L.Crop(top_from, top_to, crop_param={"axis": 2, "offset": [int(start)]})
