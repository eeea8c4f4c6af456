"""Where the pixels of one blob lie in another, worked out from the layers between them.

A layer is a map (axis, scale, shift): what lies at x in its bottom lies at scale * x + shift in its
top, along every axis from `axis` on, counted without the batch axis or, as `Convolution.axis` does,
from the channels (1); axis None stands for a map that holds whatever the axis. Scale and shift are
numbers or arrays with an entry for each spatial axis. All else is composing and inverting maps.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import numpy as np

from .net_spec import Function, Top
from .net_spec import layers as L

CoordMap = Tuple[Optional[int], Any, Any]

IDENTITY: CoordMap = (None, 1, 0)

PASS_THROUGH_LAYERS = [
    *("AbsVal", "BatchNorm", "Bias", "BNLL", "Clip", "Dropout", "Eltwise", "ELU", "Exp", "Log"),
    *("LRN", "MVN", "Power", "PReLU", "ReLU", "Scale", "Sigmoid", "Split", "Swish", "TanH"),
    "Threshold",
]


class UndefinedMapException(Exception):  # noqa: N818
    """Raised for layers that keep no correspondence of positions, such as InnerProduct."""


class AxisMismatchException(Exception):  # noqa: N818
    """Raised when maps that begin at different axes are composed."""


def _settings(fn: Function) -> Dict[str, Any]:
    """A layer's settings, whether given as they are or inside `<type>_param`."""
    settings = dict(fn.params)
    for name in ("convolution_param", "pooling_param", "crop_param"):
        settings.update(settings.pop(name, {}))
    return settings


def _extents(settings: Dict[str, Any], name: str, default: Any, stem: str = "") -> Optional[Any]:
    """Setting `name` as an array, from `<stem>_h` and `<stem>_w` where those are given."""
    h, w = (settings.get(f"{stem or name}_{side}") for side in "hw")
    if h is not None or w is not None:
        return np.array([default if h is None else h, default if w is None else w])
    value = settings.get(name, default)
    return None if value is None else np.array(value, ndmin=1)


def conv_params(fn: Function) -> Tuple[int, Any, Any, Any]:
    """(axis, stride, kernel size with dilation, pad) of a Convolution, Deconvolution or Pooling.

    Raises ValueError without a kernel size.
    """
    settings = _settings(fn)
    kernel = _extents(settings, "kernel_size", None, "kernel")
    if kernel is None or None in kernel:
        raise ValueError(f"{fn.type_name} layer with {fn.params}: it needs kernel_size")
    reach = (kernel - 1) * _extents(settings, "dilation", 1) + 1
    stride, pad = _extents(settings, "stride", 1), _extents(settings, "pad", 0)
    return settings.get("axis", 1), stride, reach, pad


def crop_params(fn: Function) -> Tuple[int, Any]:
    """(axis, offset) of a Crop layer."""
    settings = _settings(fn)
    return settings.get("axis", 2), np.array(settings.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> CoordMap:
    """The map of one layer, from its bottom to its top.

    Raises UndefinedMapException for a layer type that has none.
    """
    if fn.type_name in PASS_THROUGH_LAYERS:
        return IDENTITY
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset
    if fn.type_name in ("Convolution", "Pooling", "Im2col") and not fn.params.get("global_pooling"):
        axis, stride, kernel, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (kernel - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, kernel, pad = conv_params(fn)
        return axis, stride, (kernel - 1) / 2 - pad
    raise UndefinedMapException(f"{fn.type_name} layers keep no map of coordinates")


def compose(base_map: CoordMap, next_map: CoordMap) -> CoordMap:
    """The map that does `next_map` and then `base_map`.

    Raises AxisMismatchException if they begin at different axes.
    """
    axis, scale, shift = base_map
    next_axis, next_scale, next_shift = next_map
    if None not in (axis, next_axis) and axis != next_axis:
        raise AxisMismatchException(f"maps from axis {axis} on and from axis {next_axis} on")
    return next_axis if axis is None else axis, scale * next_scale, scale * next_shift + shift


def inverse(coord_map: CoordMap) -> CoordMap:
    """The map back."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def _bottoms(top: Top) -> Tuple[Top, ...]:
    # A Crop takes nothing but extents from its second bottom.
    return top.fn.inputs[:1] if top.fn.type_name == "Crop" else top.fn.inputs


def _maps_from(start: Top) -> Dict[Top, CoordMap]:
    """The map from every blob that `start` is made of to `start`, by the shortest way."""
    maps = {start: IDENTITY}
    frontier = [start]
    for top in frontier:
        if not top.fn.inputs:
            continue
        try:
            step = coord_map(top.fn)
        except UndefinedMapException:
            continue
        for bottom in _bottoms(top):
            if bottom not in maps:
                maps[bottom] = compose(maps[top], step)
                frontier.append(bottom)
    return maps


def coord_map_from_to(top_from: Top, top_to: Top) -> CoordMap:
    """The map from the coordinates of `top_from` to those of `top_to`.

    Goes by way of a blob that both are made of, or that one of them is.

    Raises RuntimeError where there is none, AxisMismatchException where the layers on the way count
    from different axes.
    """
    from_maps, to_maps = _maps_from(top_from), _maps_from(top_to)
    for top, to_map in to_maps.items():
        if top in from_maps:
            return compose(to_map, inverse(from_maps[top]))
    raise RuntimeError(
        f"no map between {top_from.fn.type_name} and {top_to.fn.type_name} layers: "
        "no layers with positions connect them"
    )


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop layer that cuts `top_from` to the extents and the place of `top_to`.

    Raises ValueError where scales differ, or the offset is negative or not whole, besides what
    `coord_map_from_to` raises.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    scale, offset = np.atleast_1d(scale), -np.atleast_1d(shift).astype(float)
    what = f"crop of a top of {top_from.fn.type_name} to one of {top_to.fn.type_name}"
    if not np.allclose(scale, 1, rtol=1e-9):
        raise ValueError(f"{what}: scale {scale.tolist()}, 1 is needed")
    if not np.allclose(offset, np.round(offset), rtol=0, atol=1e-6):
        raise ValueError(f"{what}: offset {offset.tolist()}, a whole number is needed")
    if (np.round(offset) < 0).any():
        raise ValueError(f"{what}: offset {offset.tolist()}, 0 or more is needed; pad earlier")
    offsets = [int(value) for value in np.round(offset)]
    return L.Crop(top_from, top_to, crop_param={"axis": (axis or 1) + 1, "offset": offsets})
