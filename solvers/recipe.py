"""The solver of a stage on a user's own pictures: rates as in the papers, counts by the set."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Dict, NamedTuple, Optional

from net_gen import VARIANTS, Variant
from net_gen.solver import PUBLISHED

#: Pixels of a photograph of PASCAL VOC, over which the published loss is summed (375 x 500).
PUBLISHED_PIXELS = 375 * 500
#: The demo's rates for nets of 1/8 the width: the loss is summed over about 180 x 240 pixels.
NARROW_PIXELS = 180 * 240
NARROW_LR = {32: 4e-7, 16: 3e-7, 8: 3e-7}
NARROW_CLIP = 40000.0
#: Passes over the training pictures in a stage; the papers have 12 over 8,498 pictures.
EPOCHS = 100
LEAST_ITERATIONS = 1000
#: Snapshots, each with a scoring, in a stage.
SNAPSHOTS = 5
DISPLAYS = 50


class SetSize(NamedTuple):
    """How large a data set is: passes over the training pictures, pictures to score, and pixels.

    train: training pictures, divided by those in a pass. pixels: of a picture as it is trained on.
    """

    train: float
    val: int
    pixels: float


def solver_fields(
    variant: Variant,
    size: SetSize,
    width: Fraction,
    pretrained: bool,
    iters: Optional[int] = None,
    lr: Optional[float] = None,
) -> Dict[str, Any]:
    """Return the fields of a stage's solver that differ from the published ones.

    width: of the net. pretrained: whether the trunk has trained weights. iters, lr: in place of
    the computed ones; lr is that of the first stage, and later stages keep their ratio to it.

    A full-width net with trained weights has the papers' learning rate and momentum. The papers'
    loss is summed over the pixels, so the rate is multiplied by 187,500 and divided by the pixels
    of these pictures. Narrow or untrained nets do not train with momentum 0.99; they have the
    demo's momentum, rates and bound on the gradients, scaled in the same way.
    """
    passes = math.ceil(EPOCHS * size.train)
    count = iters or min(max(passes, LEAST_ITERATIONS), PUBLISHED["max_iter"])
    fields: Dict[str, Any] = {
        "test_iter": [size.val],
        "max_iter": count,
        "snapshot": max(1, min(PUBLISHED["snapshot"], -(-count // SNAPSHOTS))),
        "display": max(1, min(PUBLISHED["display"], count // DISPLAYS)),
    }
    pixels = max(size.pixels, 1.0)
    if width == 1 and pretrained:
        scale = 1.0 if variant.normalize else PUBLISHED_PIXELS / pixels
        rate, first = variant.base_lr * scale, first_rate(variant) * scale
    else:
        scale = NARROW_PIXELS if variant.normalize else NARROW_PIXELS / pixels
        rate = NARROW_LR[variant.stride] * scale
        first = NARROW_LR[32] * scale
        clip = NARROW_CLIP / NARROW_PIXELS * (1 if variant.normalize else pixels)
        fields.update(momentum=0.9, lr_policy="poly", power=1.0, clip_gradients=clip)
    fields["base_lr"] = rate if lr is None else lr * rate / first
    return fields


def first_rate(variant: Variant) -> float:
    """Return the published learning rate of the first stage before a variant."""
    while variant.init:
        variant = VARIANTS[variant.init]
    return variant.base_lr
