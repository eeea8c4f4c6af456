"""Which default boxes a PriorBox layer makes, told by the convolutions beside it.

TextBoxes and FaceBoxes make more boxes than SSD from the same settings. The codes and scores of a
map come from convolutions over the map, whose num_output is a multiple of the number of boxes.
"""

from __future__ import annotations

import math
from typing import Any

#: The sides of FaceBoxes' boxes, and how many lie along each axis of a position (Zhang et al. 2017,
#: "FaceBoxes", section 3.3).
DENSITIES = {32: 4, 64: 2, 128: 1}


def ratios(p: Any) -> list[float]:
    """Return the aspect ratios of a PriorBoxParameter, from 1 on."""
    values = [1.0]
    for ratio in p.aspect_ratio:
        if all(abs(ratio - other) >= 1e-6 for other in values):
            values += [ratio, 1 / ratio if ratio else math.inf] if p.flip else [ratio]
    return values


def counts(p: Any) -> dict[int, int]:
    """Return the number of boxes at a position by the layout of a PriorBoxParameter."""
    plain = len(p.min_size) * (len(ratios(p)) + bool(p.max_size))
    numbers = {p.SSD: plain, p.TEXTBOXES: 2 * plain}
    if p.min_size and all(size in DENSITIES for size in p.min_size):
        numbers[p.FACEBOXES] = sum(DENSITIES[int(size)] ** 2 for size in p.min_size)
    return numbers


def _classes(net: Any) -> set[int]:
    """Return the numbers of classes that the net's detections and their losses have."""
    numbers = {
        "DetectionOutput": lambda layer: layer.detection_output_param.num_classes,
        "MultiBoxLoss": lambda layer: layer.multibox_loss_param.num_classes,
    }
    return {numbers[layer.type](layer) for layer in net.layer if layer.type in numbers}


def _layouts(net: Any) -> list[tuple[Any, int]]:
    """Return the PriorBox layers whose convolutions ask for another layout than SSD's."""
    outputs: dict[str, set[int]] = {}
    for layer in net.layer:
        if layer.type == "Convolution" and len(layer.bottom) == 1:
            outputs.setdefault(layer.bottom[0], set()).add(layer.convolution_param.num_output)
    classes = _classes(net)
    layouts = []
    for layer in net.layer:
        p = layer.prior_box_param
        if layer.type != "PriorBox" or p.HasField("layout") or not layer.bottom:
            continue
        sizes = outputs.get(layer.bottom[0], set())
        fitting = {layout: n for layout, n in counts(p).items() if 4 * n in sizes}
        # Scores of few classes look like codes: those of 2 classes and 14 boxes are as many as the
        # codes of 7 boxes.
        scored = [layout for layout, n in fitting.items() if {c * n for c in classes} & sizes]
        choices = scored or list(fitting)
        if choices and p.SSD not in choices:
            layouts.append((layer, choices[-1]))
    return layouts


def has_other_layouts(net: Any) -> bool:
    """Return whether a net has PriorBox layers with the boxes of TextBoxes or FaceBoxes."""
    return bool(_layouts(net))


def upgrade_layouts(net: Any) -> list[str]:
    """Set the layouts of PriorBox layers, in place; nothing is left out."""
    for layer, layout in _layouts(net):
        layer.prior_box_param.layout = layout
    return []
