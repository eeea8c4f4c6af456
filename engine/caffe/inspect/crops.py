"""Offsets for Crop layers that name none, from the coordinate maps."""

from __future__ import annotations

from typing import Any

from ..proto import caffe_pb2
from .build import Part
from .inputs import Inputs
from .report import Report, crop_needs, inspect_net


def fix_crops(report: Report) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Return the net with the missing offsets of its Crop layers, and these offsets by layer.

    The first is the whole NetParameter, with the layers of every phase. A Crop whose maps need no
    integer from 0 on stays as it is. One Crop moves the blobs behind it, so that offsets are
    written one after another.
    """
    net = caffe_pb2.NetParameter()
    net.CopyFrom(report.param)
    net.ClearField("state")
    offsets: dict[str, tuple[int, ...]] = {}
    while True:
        current = caffe_pb2.NetParameter()
        current.CopyFrom(net)
        current.state.CopyFrom(report.param.state)
        shapes = {blob.name: blob.shape for blob in report.net.blobs if blob.shape is not None}
        sources = {top.name for part in report.net.sources() for top in part.tops}
        inputs = {name: shape for name, shape in shapes.items() if name in sources}
        again = inspect_net(current, Inputs(shapes=inputs))
        missing = [(part, _missing_offset(part, again)) for part in again.net.parts]
        todo = [(part, offset) for part, offset in missing if offset]
        if not todo:
            return net, offsets
        part, offset = todo[0]
        offsets[part.name] = offset
        for layer in net.layer:
            if (layer.name, layer.type) == (part.name, "Crop") and layer.top == part.param.top:
                layer.crop_param.offset.extend(offset)


def _missing_offset(part: Part, report: Report) -> tuple[int, ...]:
    """Return the offset that a Crop needs and does not name; () where nothing is to be written."""
    if part.type != "Crop" or part.param.crop_param.offset:
        return ()
    first = part.param.crop_param.axis - 2
    needed = crop_needs(part, report.places)[max(0, first) :]
    values = [int(n) for n in needed if n is not None and n == int(n) and n >= 0]
    if len(values) < len(needed) or not any(values) or first < 0:
        return ()
    return tuple(values[:1] if len(set(values)) == 1 else values)
