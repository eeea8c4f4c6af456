"""Maps between the spatial coordinates of blobs, derived from the layers between the blobs.

The map of a layer is a triple (axis, scale, shift): the point at x in the bottom lies at scale * x
+ shift in the top, along every axis from `axis` on. `axis` counts as `Convolution.axis` does: 1 is
the channels, so that the spatial axes are the ones after it. A map with the axis None applies to
every axis. Scale and shift are numbers, or arrays with one entry for all spatial axes or one for
each. All other maps are compositions and inverses of layers' maps.
"""

from __future__ import annotations, division  # noqa: UP010  (a name of pycaffe's module)

from typing import Any, Dict, Optional, Tuple

import numpy as np

from .layers.registry import pointwise_types
from .layers.windows import read_window, set_fields, window_settings
from .net_spec import Function, Top
from .net_spec import layers as L

CoordMap = Tuple[Optional[int], Any, Any]

IDENTITY: CoordMap = (None, 1, 0)

#: The layer types whose tops have the coordinates of their bottoms.
PASS_THROUGH_LAYERS = pointwise_types()


class CropError(ValueError, AssertionError):
    """Raised for a crop that no offset gives. pycaffe raises an AssertionError."""


class UndefinedMapException(Exception):  # noqa: N818
    """Raised for a layer that keeps no correspondence of positions, such as InnerProduct."""


class AxisMismatchException(Exception):  # noqa: N818
    """Raised where maps that begin at different axes are composed."""


def conv_params(fn: Function) -> Tuple[int, Any, Any, Any]:
    """Return (axis, stride, kernel size with dilation, pad) of a layer that slides a window.

    fn: a Convolution, Deconvolution, Pooling or Im2col. The last three values are arrays with one
        entry for all spatial axes or one for each.

    Raises ValueError for a layer without a kernel size.
    """
    where = f"{fn.type_name} layer with {fn.params}"
    try:
        window = read_window(fn.type_name, fn.params)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if window is None:
        raise ValueError(f"{where}: global_pooling has no kernel_size; it needs one")
    kernel, stride, pad, dilation = (np.array(extent) for extent in window[:4])
    axis = window_settings(fn.type_name, fn.params).get("axis", 1)
    return axis, stride, (kernel - 1) * dilation + 1, pad


def crop_params(fn: Function) -> Tuple[int, Any]:
    """Return (axis, offset) of a Crop layer; offset is an array."""
    settings = dict(fn.params)
    settings.update(set_fields(settings.pop("crop_param", {})))
    return settings.get("axis", 2), np.array(settings.get("offset", 0), ndmin=1, dtype=np.int64)


def coord_map(fn: Function) -> CoordMap:
    """Return the map of one layer, from its bottom to its top.

    Raises UndefinedMapException for a layer without a map.
    """
    if fn.type_name in PASS_THROUGH_LAYERS:
        return IDENTITY
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset
    if fn.type_name in ("Convolution", "Pooling", "Im2col") and _has_fixed_window(fn):
        axis, stride, kernel, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (kernel - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, kernel, pad = conv_params(fn)
        return axis, stride, (kernel - 1) / 2 - pad
    raise UndefinedMapException(f"{fn.type_name} layers have no map of coordinates")


def _has_fixed_window(fn: Function) -> bool:
    """Return whether the layer slides a window, unlike a Pooling over the whole bottom."""
    return not window_settings(fn.type_name, fn.params).get("global_pooling")


def compose(base_map: CoordMap, next_map: CoordMap) -> CoordMap:
    """Return the map that applies `next_map` first and then `base_map`.

    Raises AxisMismatchException for maps that begin at different axes.
    """
    axis, scale, shift = base_map
    next_axis, next_scale, next_shift = next_map
    if None not in (axis, next_axis) and axis != next_axis:
        raise AxisMismatchException(f"maps from axis {axis} on and from axis {next_axis} on")
    return next_axis if axis is None else axis, scale * next_scale, scale * next_shift + shift


def inverse(coord_map: CoordMap) -> CoordMap:
    """Return the map in the other direction."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def _mapped_bottoms(top: Top) -> Tuple[Top, ...]:
    """Return the bottoms whose coordinates the map of the top's layer starts from."""
    # The second bottom of a Crop gives the size of the top, not its coordinates.
    return top.fn.inputs[:1] if top.fn.type_name == "Crop" else top.fn.inputs


def _maps_from(start: Top) -> Dict[Top, CoordMap]:
    """Return the map to `start` from every blob it is computed from, along the shortest path."""
    maps = {start: IDENTITY}
    frontier = [start]
    for top in frontier:
        if not top.fn.inputs:
            continue
        try:
            step = coord_map(top.fn)
        except UndefinedMapException:
            continue
        for bottom in _mapped_bottoms(top):
            if bottom not in maps:
                maps[bottom] = compose(maps[top], step)
                frontier.append(bottom)
    return maps


def coord_map_from_to(top_from: Top, top_to: Top) -> CoordMap:
    """Return the map from the coordinates of `top_from` to those of `top_to`.

    The map leads through a blob from which both are computed, which may be one of the two.

    Raises RuntimeError where no such blob exists, and AxisMismatchException where the layers
    between the blobs begin at different axes.
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
    """Return a Crop layer that cuts `top_from` to the size and the position of `top_to`.

    Raises CropError for scales that differ and for an offset that is negative or no integer, and
    the exceptions of `coord_map_from_to`.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    scale, offset = np.atleast_1d(scale), -np.atleast_1d(shift).astype(float)
    where = f"crop of a top of {top_from.fn.type_name} to one of {top_to.fn.type_name}"
    if not np.allclose(scale, 1, rtol=1e-9):
        raise CropError(f"{where}: scale {scale.tolist()}, 1 is needed")
    if not np.allclose(offset, np.round(offset), rtol=0, atol=1e-6):
        raise CropError(f"{where}: offset {offset.tolist()}, a whole number is needed")
    if (np.round(offset) < 0).any():
        raise CropError(f"{where}: offset {offset.tolist()}, 0 or more is needed; pad earlier")
    offsets = [int(value) for value in np.round(offset)]
    return L.Crop(top_from, top_to, crop_param={"axis": (axis or 1) + 1, "offset": offsets})
