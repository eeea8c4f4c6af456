"""Layers that compute each value of the top from one value of the bottom."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from typing import Any, Sequence

from oracle.random_nets.draft import Draft


def add_pointwise(
    d: Draft, type_: str, fields: str = "", axes: Sequence[int] = (), **options: Any
) -> None:
    """Add a layer whose top has its bottom's shape, in place in 40 % of the cases where it may."""
    bottom = d.pick(*axes)
    options.setdefault("in_place", 0.4)
    options.setdefault("protected", True)
    d.add(type_, [bottom], [d.shapes[bottom]], fields, **options)


def ReLU(d: Draft) -> None:
    """Add a ReLU, with or without a negative slope."""
    slope = d.number(0, 0, 0.1, -0.2)
    add_pointwise(
        d,
        "ReLU",
        "relu_param { negative_slope: %s }" % slope,
        positive=slope in ("0", "-0.2"),
        # In place, a negative slope loses the sign that backward reads.
        in_place=0.4 * (slope != "-0.2"),
    )


def PReLU(d: Draft) -> None:
    """Add a PReLU with one slope, or one a channel."""
    bottom = d.pick(2, 3, 4, 5)
    shape, shared = d.shapes[bottom], d.chance(0.3)
    fields = d.params(() if shared else (shape[1],))
    fields += "prelu_param { channel_shared: %s }" % str(shared).lower()
    d.add("PReLU", [bottom], [shape], fields, in_place=0.4, protected=True)


def ELU(d: Draft) -> None:
    """Add an ELU."""
    add_pointwise(d, "ELU", "elu_param { alpha: %s }" % d.number(1, 0.5, 1.5))


def Sigmoid(d: Draft) -> None:
    """Add a Sigmoid."""
    add_pointwise(d, "Sigmoid", positive=True)


def TanH(d: Draft) -> None:
    """Add a TanH."""
    add_pointwise(d, "TanH")


def Swish(d: Draft) -> None:
    """Add a Swish."""
    add_pointwise(d, "Swish", "swish_param { beta: %s }" % d.number(1, 0.5, 2, -1), in_place=0)


def AbsVal(d: Draft) -> None:
    """Add an AbsVal."""
    add_pointwise(d, "AbsVal", in_place=0, positive=True)


def BNLL(d: Draft) -> None:
    """Add a BNLL."""
    add_pointwise(d, "BNLL", positive=True)


def Clip(d: Draft) -> None:
    """Add a Clip."""
    limits = d.number(-1, -0.3), d.number(0.5, 1)
    add_pointwise(d, "Clip", "clip_param { min: %s max: %s }" % limits)


def Threshold(d: Draft) -> None:
    """Add a Threshold, which has no gradient."""
    add_pointwise(
        d,
        "Threshold",
        "threshold_param { threshold: %s } propagate_down: false" % d.number(0, 0.3, -0.4),
        positive=True,
        gradient=False,
    )


def Dropout(d: Draft) -> None:
    """Add a Dropout in the TEST phase."""
    # Two engines drop different values in the TRAIN phase.
    add_pointwise(
        d,
        "Dropout",
        "dropout_param { dropout_ratio: %s } phase: TEST" % d.number(0.5, 0.3, 0),
        protected=False,
        chained=True,
    )


def Power(d: Draft) -> None:
    """Add a Power whose results are finite."""
    power = d.random.choice((1, 2, 3, 0, 0.5, -1, 1.7))
    integral = power in (1, 2, 3, 0)
    bottom = d.pick(positive=not integral)
    fields = "power: %g scale: %s shift: %s" % (
        power,
        d.number(1, 0.5, *((-0.7, 0) if integral else ())),
        d.number(*((0, 0, -0.4) if integral else ()), 0.6, 1),
    )
    # In place, BVLC Caffe overwrites the top's gradient before it has used that gradient.
    d.add("Power", [bottom], [d.shapes[bottom]], "power_param { %s }" % fields, protected=True)


def Exp(d: Draft) -> None:
    """Add an Exp."""
    add_pointwise(
        d,
        "Exp",
        "exp_param { base: %s scale: %s shift: %s }"
        % (d.number(-1, -1, 2, 0.7), d.number(0.3, 0.5, -0.2, 0), d.number(0, 0.4, -0.3)),
        positive=True,
    )


def Log(d: Draft) -> None:
    """Add a Log of positive values."""
    bottom = d.pick(positive=True)
    fields = "base: %s scale: %s shift: %s" % (
        d.number(-1, -1, 2, 10, 0.5),
        d.number(1, 0.5),
        d.number(0.6, 1, 2),
    )
    # Never in place, for Power's reason.
    d.add("Log", [bottom], [d.shapes[bottom]], "log_param { %s }" % fields, protected=True)


MAKERS = (
    *(ReLU, PReLU, ELU, Sigmoid, TanH, Swish, AbsVal, BNLL),
    *(Clip, Threshold, Dropout, Power, Exp, Log),
)
