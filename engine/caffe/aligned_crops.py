"""Offsets of Crop layers that follow from the layers between their bottoms.

In the Caffe of Long et al. 2015 (longjon/caffe, branch future), of U-Net and of HED, Crop has no
settings: it puts its first bottom onto its second, by the coordinate maps of the layers between
them (section 3.2 of the paper). V1's type CROP is that layer. BVLC Caffe's Crop without crop_param
cuts at offset 0, so that a present `type: "Crop"` has two meanings; `set_fork("hed")` and
`set_fork("longjon")` decide.
"""

from __future__ import annotations

from typing import Any

from . import glog
from .coord_map import AxisMismatchException, CropError, UndefinedMapException, crop
from .errors import NetError
from .forks import current_fork
from .net_spec import Function, Top


def _aligned(layer: Any) -> bool:
    """Return whether the offset of a Crop follows from the other layers."""
    p = layer.crop_param
    unset = not layer.HasField("crop_param") and current_fork() in ("hed", "longjon")
    return layer.type == "Crop" and (p.align or unset)


def place_crops(net: Any) -> None:
    """Set axis and offset of the Crop layers that place themselves, in an upgraded net, in place.

    Raises NetError where no offset puts the first bottom onto the second.
    """
    if not any(map(_aligned, net.layer)):
        return
    tops: dict[str, Top] = {}
    for layer in net.layer:
        if _aligned(layer):
            settings = _settings(layer, tops)
            layer.crop_param.CopyFrom(settings)
            glog.write("crop_layer.cpp:60", f"Crop {layer.name} cuts at {list(settings.offset)}")
        _add_tops(layer, tops)


def warn_of_crops(net: Any) -> None:
    """Log each Crop without settings that cuts elsewhere than its bottoms lie."""
    if not any(layer.type == "Crop" for layer in net.layer):
        return
    tops: dict[str, Top] = {}
    for layer in net.layer:
        if layer.type == "Crop" and not layer.HasField("crop_param"):
            _warn(layer, tops)
        _add_tops(layer, tops)


def _warn(layer: Any, tops: dict[str, Top]) -> None:
    try:
        offsets = list(_settings(layer, tops).offset)
    except NetError:
        return
    if any(offsets):
        message = (
            f"Crop {layer.name} has no crop_param and cuts at offset 0, as in BVLC Caffe; the "
            f"layers between its bottoms ask for {offsets}. For a net of longjon/caffe or U-Net, "
            'call caffe.set_fork("longjon") or set CAFFE_FORK=longjon; for HED, "hed"'
        )
        glog.write("crop_layer.cpp:60", message, 1)


def _add_tops(layer: Any, tops: dict[str, Top]) -> None:
    """Add the tops of a layer to those by name; in place, a top replaces its bottom."""
    inputs = [tops[name] for name in layer.bottom if name in tops]
    settings = {field.name: value for field, value in layer.ListFields()}
    function = Function(layer.type, inputs, {**settings, "ntop": len(layer.top)})
    tops.update(zip(layer.top, function.tops))


def _settings(layer: Any, tops: dict[str, Top]) -> Any:
    """Return the CropParameter that puts the first bottom onto the second. Raises NetError."""
    where = f"Crop layer {layer.name}"
    try:
        source, target = (tops[name] for name in layer.bottom)
        placed = crop(source, target)
    except CropError as error:
        raise NetError(f"{where}: {error}") from None
    except (KeyError, ValueError, RuntimeError, AxisMismatchException, UndefinedMapException):
        raise NetError(
            f"{where}: no layers with positions connect its two bottoms; set axis and offset of "
            "crop_param"
        ) from None
    result = type(layer)()
    placed.fn.fill(result)
    return result.crop_param
