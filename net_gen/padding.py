"""What the padding around the image decides: which inputs have scores, and crop offsets.

    padding.smallest_input("voc-fcn32s", 100)    # (1, 1): an image of any size has its scores
    padding.least_padding("voc-fcn32s")          # 97
    padding.coordinate_maps("voc-fcn32s")        # blob -> where the pixels of the image lie in it

A net is the name of a variant, a `Variant` or a NetParameter. All numbers are exact; they come from
the layers of the net (`net_gen.geometry`).
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from caffe.proto import caffe_pb2

from .arguments import check_integer
from .geometry import (
    IDENTITY,
    SIDES,
    CoordMap,
    EmptyBlobError,
    Geometry,
    Limits,
    as_message,
    first_convolution,
    first_convolutions,
    is_crop_offset,
)
from .windows import clear_setting, parameters

__all__ = [
    "IDENTITY",
    "SIDES",
    "CoordMap",
    "EmptyBlobError",
    "Geometry",
    "Limits",
    "coordinate_maps",
    "first_convolution",
    "first_convolutions",
    "least_padding",
    "limits",
    "rows",
    "smallest_input",
    "with_padding",
]


def limits(net: Any, pad: Optional[int] = None) -> Tuple[Limits, Limits]:
    """Return what a padding allows along the height and along the width; None is the net's own.

    Raises what `Geometry` raises.
    """
    height, width = (Geometry(net, pad, side).limits() for side in SIDES)
    return height, width


def smallest_input(net: Any, pad: Optional[int] = None) -> Tuple[int, int]:
    """Return the (height, width) in pixels from which on every image has a score for every pixel.

    `score` then has the size of the image, and pixel (y, x) of the one is pixel (y, x) of the
    other. The smallest square image has the larger of the two as its side.

    Raises ValueError, with the layer's name, if the padding does not align every larger size.
    """
    height, width = limits(net, pad)
    for side in (height, width):
        if side.fault:
            raise ValueError(f"pad {side.pad}: {side.fault}")
    return height.smallest, width.smallest


def least_padding(net: Any, smallest: Union[int, Tuple[int, int]] = 1) -> int:
    """Return the least padding with which every image from `smallest` on is aligned.

    Aligned means: each crop offset is an integer from 0 on, no blob is empty, and no crop reaches
    past its bottom. `score` then has the size of the image and lies pixel on pixel with it.

    smallest: (height, width) in pixels of the smallest image, or one number for both.

    Raises ValueError if no padding does.
    """
    pair = smallest if isinstance(smallest, tuple) else (smallest, smallest)
    sizes = [check_integer("smallest", size) for size in pair]
    net = as_message(net)
    unpadded = [Geometry(net, 0, side) for side in SIDES]
    # More padding than the field of the last blob changes nothing but the offsets.
    most = max(max(side.fields.values()) + side.period for side in unpadded)
    fault = ""
    for pad in range(_least_with_offsets(net, unpadded), most + 1):
        sides = [Geometry(net, pad, side) for side in SIDES]
        faults = (side.fault_from(size) for side, size in zip(sides, sizes))
        fault = next(filter(None, faults), "")
        if not fault:
            return pad
    raise ValueError(f"no padding up to {most} aligns every size; with pad {most}, {fault}")


def _least_with_offsets(net: Any, unpadded: Sequence[Geometry]) -> int:
    """Return the padding below which a crop offset is negative. Offsets are linear in the pad."""
    least = 0
    for zero, one in zip(unpadded, [Geometry(net, 1, side) for side in SIDES]):
        for name, offset in zero.offsets.items():
            slope = one.offsets[name] - offset
            if offset < 0 < slope:
                least = max(least, math.ceil(-offset / slope))
    return least


def with_padding(net: Any, pad: int) -> Any:
    """Return a copy of a net with `pad` around the image and crop offsets to match.

    Raises ValueError for an offset that is negative or not an integer.
    """
    message = caffe_pb2.NetParameter()
    message.CopyFrom(as_message(net))
    sides = [Geometry(message, pad, side) for side in SIDES]
    for side in sides:
        for name, offset in side.offsets.items():
            if not is_crop_offset(offset):
                raise ValueError(
                    f"pad {pad}: layer {name} (Crop) would have offset {offset}, needs a pad that "
                    "gives an integer of at least 0"
                )
    for layer in first_convolutions(message):
        clear_setting(layer, "pad")
        parameters(layer).pad.append(pad)
    for layer in message.layer:
        if layer.type == "Crop":
            offsets = [
                int(side.offsets[layer.name]) for side in sides if layer.name in side.offsets
            ]
            _set_offsets(layer.crop_param, offsets)
    return message


def _set_offsets(crop_param: Any, offsets: List[int]) -> None:
    """Set the offsets of a Crop along height and width; those along other axes stay."""
    before = list(crop_param.offset)[: max(0, 2 - crop_param.axis)]
    alike = not before and len(set(offsets)) == 1
    del crop_param.offset[:]
    crop_param.offset.extend(offsets[:1] if alike else before + offsets)


def coordinate_maps(
    net: Any, pad: Optional[int] = None, side: str = "height"
) -> Dict[str, CoordMap]:
    """Return blob -> (axis, scale, shift): pixel x of the image lies at scale * x + shift in it.

    Scale and shift are fractions. axis is 1 as in `caffe.coord_map`, or None if no layer before the
    blob moves a place. Raises what `Geometry` raises.
    """
    return Geometry(net, pad, side).maps


def rows(net: Any, pad: Optional[int] = None, side: str = "height") -> List[Tuple[str, ...]]:
    """Return (blob, axis, scale, shift, field in pixels) of every blob, as text."""
    geometry = Geometry(net, pad, side)
    return [
        (blob, "-" if axis is None else str(axis), *map(str, (scale, shift, geometry.fields[blob])))
        for blob, (axis, scale, shift) in geometry.maps.items()
    ]
