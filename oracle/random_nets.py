"""Random nets, run by BVLC Caffe and by the engine: the numbers agree, or both refuse the net.

    python -m oracle.random_nets --count 2000 --seed 0

Net number i of a seed is always the same. Two of three are valid by construction; the third is a
valid one with something changed, which mostly makes it one to refuse. What has to agree is every
blob and parameter, data and gradient, to 1e-5 of the largest value of its array. Where a net
itself is more sensitive than that (a difference of nearly equal numbers, a maximum that is nearly
a tie, a value next to a kink), the engine runs the net again with weights and inputs off by a few
roundings, and the error may be up to FACTOR times the largest change that makes. The summary says
how many nets needed that.
"""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import argparse
import copy
import functools
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from oracle.cases.case import layer
from oracle.deliberate import deliberate
from oracle.run_nets import RAN_OUT, run_in_fork, run_net

Shape = Tuple[int, ...]
FACTOR, RUNS = 4, 8
#: A gradient as small as what exp(-50) leaves is what one engine rounds to 0 and another does not.
NOTHING = 1e-20
CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


#: Stages that rules name; a net's own text may add the last.
STAGES = ("a", "b", "c")


class Draft:
    """A net in the making: its text, and the shapes of the blobs that a layer may read."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.text: List[str] = []
        self.shapes: Dict[str, Shape] = {}
        self.inputs: Dict[str, str] = {}
        #: Blobs whose maker reads them, or their maker's own bottom, in its backward: a layer in
        #: place over them would change the gradient that BVLC Caffe computes.
        self.kept: set = set()
        #: Blobs that some layer reads; Caffe refuses a layer in place over a blob with two readers.
        self.read: set = set()
        #: Tops of unrolled nets, which get no gradient where BVLC Caffe shares their memory.
        self.unrolled: set = set()
        #: Blobs that are never negative.
        self.positive: set = set()
        self.made = 0
        self.force_backward = self.chance(0.6)
        #: What the net is built for, which rules of layers ask after.
        self.phase, self.level = self.size(0, 1), self.random.choice((0, 0, 1, 3))
        self.stages = [s for s in STAGES if self.chance(0.3)]
        #: Fields of the net itself.
        self.head = "force_backward: true\n" if self.force_backward else ""
        self.head += self.random.choice(("", "", "", "state { stage: 'c' level: 2 }\n"))
        #: Every input's shape, whoever may read it.
        self.all_inputs: Dict[str, Shape] = {}
        #: Parameters with a name: (name, shape).
        self.named: List[Tuple[str, Shape]] = []

    def chance(self, p: float) -> bool:
        return self.random.random() < p

    def name(self, prefix: str) -> str:
        self.made += 1
        return "%s%d" % (prefix, self.made)

    def size(self, low: int = 1, high: int = 5) -> int:
        return self.random.randint(low, high)

    def shape(self, axes: Optional[int] = None) -> Shape:
        axes = axes or self.random.choice((1, 2, 2, 3, 4, 4, 4, 4, 5))
        return tuple(self.size(2 if i > 1 else 1, 7 if i > 1 else 4) for i in range(axes))

    def input(self, shape: Shape, kind: str = "normal", prefix: str = "in") -> str:
        """A new input blob; one with labels, or the like, is not offered to other layers."""
        blob = self.name(prefix)
        dims = " ".join("dim: %d" % n for n in shape)
        if self.chance(0.06):
            self.head += "input: '%s' input_shape { %s }\n" % (blob, dims)
        else:
            self.text.append(layer("Input", "", blob, "input_param { shape { %s } }" % dims))
        self.all_inputs[blob] = shape
        if kind != "normal":
            self.inputs[blob] = kind
        if kind in ("normal", "positive"):
            self.shapes[blob] = shape
            self.positive |= {blob} if kind == "positive" else set()
        return blob

    def pick(self, *axes: int, positive: bool = False) -> str:
        """A blob with one of these numbers of axes, or any."""
        fit = [
            b
            for b, shape in self.shapes.items()
            if (len(shape) in axes or (not axes and shape)) and (b in self.positive or not positive)
        ]
        # The newest are likelier, for depth.
        if fit and self.chance(0.9):
            return self.random.choice(fit[-3:] if self.chance(0.7) else fit)
        return self.input(
            self.shape(self.random.choice(axes) if axes else None),
            "positive" if positive else "normal",
        )

    def axis(self, shape: Sequence[int], low: int = 0) -> Tuple[int, str]:
        """An axis not before `low`, and how it is written: from the front or from the end."""
        axis = self.random.randrange(low, len(shape))
        return axis, "axis: %d" % (axis - len(shape) if self.chance(0.3) else axis)

    def params(self, *shapes: Shape) -> str:
        """Learning rates for some of a layer's parameters, or names to share them by."""
        if self.chance(0.25):
            words: List[str] = []
            for shape in shapes:
                words.append(self.shared(shape, " ".join(words)))
            return "".join(words)
        if self.chance(0.8):
            return ""
        rates = [self.random.choice((0, 1, 2)) for _ in range(self.random.randint(1, len(shapes)))]
        return "".join("param { lr_mult: %d } " % rate for rate in rates)

    def shared(self, shape: Shape, taken: str) -> str:
        """A name for a parameter: one that other layers have, if one fits, or a new one.

        taken: what the layer's own parameters before this one are called.
        """
        named = [pair for pair in self.named if "'%s'" % pair[0] not in taken]
        fit = [name for name, other in named if other == shape]
        if fit and self.chance(0.7):
            return "param { name: '%s' } " % self.random.choice(fit)
        fit = [name for name, other in named if math.prod(other) == math.prod(shape)]
        if fit and self.chance(0.5):
            return "param { name: '%s' share_mode: PERMISSIVE } " % self.random.choice(fit)
        if self.chance(0.3):
            return "param { } "
        name = self.name("w")
        self.named.append((name, shape))
        return "param { name: '%s' } " % name

    def rules(self, holds: bool) -> str:
        """Rules by which a layer is in the net, or is not."""
        stages = {*self.stages, *(["c"] if "stage: 'c'" in self.head else [])}
        while True:
            kind, texts, met = self.random.choice(("include", "exclude")), "", False
            for _ in range(self.size(1, 2)):
                rule, words = True, ""
                if self.chance(0.4):
                    phase = self.size(0, 1)
                    words += " phase: %s" % ("TRAIN", "TEST")[phase]
                    rule &= phase == self.phase
                for field, sign in (("min_level", 1), ("max_level", -1)):
                    if self.chance(0.2):
                        level = self.size(0, 3)
                        words += " %s: %d" % (field, level)
                        rule &= sign * (self.level - level) >= 0
                for stage in STAGES:
                    if self.chance(0.25):
                        has = self.chance(0.5)
                        words += " %s: '%s'" % ("stage" if has else "not_stage", stage)
                        rule &= has == (stage in stages)
                texts += " %s {%s }" % (kind, words)
                met |= rule
            if (met == (kind == "include")) == holds:
                return texts

    def add(
        self,
        type_: str,
        bottoms: Sequence[str],
        shapes: Sequence[Shape],
        rest: str = "",
        in_place: float = 0,
        kept: bool = False,
        chained: bool = False,
        positive: bool = False,
        loss: bool = False,
        hidden: bool = False,
        gradient: bool = True,
    ) -> List[str]:
        """Appends a layer; returns the names of its tops.

        in_place: the chance that it writes over its first bottom, where it may. kept: see the
        field. chained: in place, another layer may be in place over it. hidden: no other layer is
        to read its tops. gradient: a loss weight on it makes sense.
        """
        tops = [self.name("loss" if loss else "b") for _ in shapes]
        if (
            in_place
            and self.chance(in_place)
            and bottoms[0] not in self.kept | self.read
            and bottoms[0] not in bottoms[1:]
        ):
            tops = [bottoms[0]]
        if gradient and len(tops) == 1 and (self.chance(0.3) if loss else self.chance(0.06)):
            rest += " loss_weight: %s" % self.random.choice((1, 0.5, 3, -0.7, 0))
        elif gradient and len(tops) > 1 and self.chance(0.06):
            weights = [self.random.choice((1, 0, -0.5)) for _ in tops]
            rest += "".join(" loss_weight: %s" % weight for weight in weights)
        if bottoms and self.chance(0.06) and gradient and not loss:
            rest += "".join(" propagate_down: %s" % self.flag() for _ in bottoms)
        elif loss and self.chance(0.06):
            rest += " propagate_down: %s" % self.flag()
            rest += " propagate_down: false" * (len(bottoms) - 1)
        rest += self.rules(True) if self.chance(0.06) else ""
        name = self.name(type_.lower())
        self.text.append(layer(type_, " ".join(bottoms), " ".join(tops), rest, name))
        if tops[:1] != list(bottoms[:1]):
            self.read |= set(bottoms)
        for top, shape in zip(tops, shapes):
            self.positive.discard(top)
            if not hidden and not loss:
                self.shapes.pop(top, None)
                self.shapes[top] = tuple(shape)
            if positive:
                self.positive.add(top)
            if kept or (tops[0] in bottoms and not chained):
                self.kept.add(top)
        return tops

    def flag(self, p: float = 0.5) -> str:
        return "true" if self.chance(p) else "false"

    def number(self, *values: float) -> str:
        return "%g" % self.random.choice(values)


# The layers. Each adds itself to the draft with parameters that suit the blob it picks.
MAKERS: Dict[str, Callable[[Draft], object]] = {}


def maker(function: Callable[[Draft], object]) -> Callable[[Draft], object]:
    MAKERS[function.__name__] = function
    return function


def pointwise(d: Draft, type_: str, rest: str = "", axes: Sequence[int] = (), **kwargs) -> None:
    bottom = d.pick(*axes)
    kwargs.setdefault("in_place", 0.4)
    kwargs.setdefault("kept", True)
    d.add(type_, [bottom], [d.shapes[bottom]], rest, **kwargs)


@maker
def ReLU(d: Draft) -> None:
    slope = d.number(0, 0, 0.1, -0.2)
    positive = slope in ("0", "-0.2")
    pointwise(
        d,
        "ReLU",
        "relu_param { negative_slope: %s }" % slope,
        positive=positive,
        # In place, a negative slope loses the sign that backward goes by.
        in_place=0.4 * (slope != "-0.2"),
    )


@maker
def PReLU(d: Draft) -> None:
    bottom = d.pick(2, 3, 4, 5)
    shape, shared = d.shapes[bottom], d.chance(0.3)
    rest = d.params(() if shared else (shape[1],))
    rest += "prelu_param { channel_shared: %s }" % str(shared).lower()
    d.add("PReLU", [bottom], [shape], rest, in_place=0.4, kept=True)


@maker
def ELU(d: Draft) -> None:
    pointwise(d, "ELU", "elu_param { alpha: %s }" % d.number(1, 0.5, 1.5))


@maker
def Sigmoid(d: Draft) -> None:
    pointwise(d, "Sigmoid", positive=True)


@maker
def TanH(d: Draft) -> None:
    pointwise(d, "TanH")


@maker
def Swish(d: Draft) -> None:
    pointwise(d, "Swish", "swish_param { beta: %s }" % d.number(1, 0.5, 2, -1), in_place=0)


@maker
def AbsVal(d: Draft) -> None:
    pointwise(d, "AbsVal", in_place=0, positive=True)


@maker
def BNLL(d: Draft) -> None:
    pointwise(d, "BNLL", positive=True)


@maker
def Clip(d: Draft) -> None:
    pointwise(d, "Clip", "clip_param { min: %s max: %s }" % (d.number(-1, -0.3), d.number(0.5, 1)))


@maker
def Threshold(d: Draft) -> None:
    pointwise(
        d,
        "Threshold",
        "threshold_param { threshold: %s } propagate_down: false" % d.number(0, 0.3, -0.4),
        positive=True,
        gradient=False,
    )


@maker
def Dropout(d: Draft) -> None:
    # Which values are dropped in TRAIN is not BVLC Caffe's choice here.
    pointwise(
        d,
        "Dropout",
        "dropout_param { dropout_ratio: %s } phase: TEST" % d.number(0.5, 0.3, 0),
        kept=False,
        chained=True,
    )


@maker
def Power(d: Draft) -> None:
    power = d.random.choice((1, 2, 3, 0, 0.5, -1, 1.7))
    whole = power in (1, 2, 3, 0)
    bottom = d.pick(positive=not whole)
    rest = "power: %g scale: %s shift: %s" % (
        power,
        d.number(1, 0.5, *((-0.7, 0) if whole else ())),
        d.number(*((0, 0, -0.4) if whole else ()), 0.6, 1),
    )
    # In place, BVLC Caffe computes the gradient over the one that it comes from.
    d.add("Power", [bottom], [d.shapes[bottom]], "power_param { %s }" % rest, kept=True)


@maker
def Exp(d: Draft) -> None:
    pointwise(
        d,
        "Exp",
        "exp_param { base: %s scale: %s shift: %s }"
        % (d.number(-1, -1, 2, 0.7), d.number(0.3, 0.5, -0.2, 0), d.number(0, 0.4, -0.3)),
        positive=True,
    )


@maker
def Log(d: Draft) -> None:
    bottom = d.pick(positive=True)
    rest = "base: %s scale: %s shift: %s" % (
        d.number(-1, -1, 2, 10, 0.5),
        d.number(1, 0.5),
        d.number(0.6, 1, 2),
    )
    # In place as Power.
    d.add("Log", [bottom], [d.shapes[bottom]], "log_param { %s }" % rest, kept=True)


#: Longer axes have the smallest window alone, so that nets stay small.
LONGEST = 16


def window(d: Draft, sizes: Sequence[int], transposed: bool = False) -> List[List[int]]:
    """(kernel, stride, pad, dilation) for each spatial axis, with room for at least one place."""
    found = []
    for n in sizes:
        while True:
            if n >= LONGEST:
                k, s, p, dilation = 1, 1, 0, 1
                break
            k, s = d.size(1, 4), d.random.choice((1, 1, 2, 3))
            p, dilation = d.random.choice((0, 0, 1, 2)), d.random.choice((1, 1, 1, 2))
            reach = dilation * (k - 1) + 1
            if transposed and s * (n - 1) + reach - 2 * p >= 1 and s * n + reach <= LONGEST + 1:
                break
            if not transposed and n + 2 * p >= reach:
                break
        found.append([k, s, p, dilation])
    return found


def windows_text(d: Draft, found: Sequence[Sequence[int]]) -> str:
    words = []
    for i, (field, short, default) in enumerate(
        (
            ("kernel_size", "kernel", None),
            ("stride", "stride", 1),
            ("pad", "pad", 0),
            ("dilation", None, 1),
        )
    ):
        values = [one[i] for one in found]
        if set(values) == {default} and d.chance(0.7):
            continue
        if short and len(values) == 2 and d.chance(0.3):
            words += ["%s_h: %d %s_w: %d" % (short, values[0], short, values[1])]
        elif len(set(values)) == 1 and d.chance(0.7):
            words.append("%s: %d" % (field, values[0]))
        else:
            words += ["%s: %d" % (field, v) for v in values]
    return " ".join(words)


def convolving(d: Draft, type_: str, transposed: bool) -> None:
    bottom = d.pick(3, 4, 4, 4, 5)
    shape = d.shapes[bottom]
    # BVLC Caffe's own axes before the channels are one batch; at most three after them.
    axis = 1 if d.chance(0.85) else d.random.randrange(max(0, len(shape) - 4), len(shape) - 1)
    spatial, channels = shape[axis + 1 :], shape[axis]
    if not 1 <= len(spatial) <= 3 or axis == 0:
        axis, spatial, channels = 1, shape[2:], shape[1]
    found = window(d, spatial, transposed)
    group = d.random.choice([g for g in range(1, channels + 1) if channels % g == 0] + [1, 1])
    outputs = group * d.size(1, 3)
    if transposed:
        size = [s * (n - 1) + e * (k - 1) + 1 - 2 * p for n, (k, s, p, e) in zip(spatial, found)]
    else:
        size = [(n + 2 * p - e * (k - 1) - 1) // s + 1 for n, (k, s, p, e) in zip(spatial, found)]
    bias = d.chance(0.7)
    fields = "num_output: %d %s" % (outputs, windows_text(d, found))
    fields += " group: %d" % group if group > 1 or d.chance(0.1) else ""
    fields += "" if bias else " bias_term: false"
    fields += " axis: %d" % (axis - len(shape) if d.chance(0.3) else axis) if axis != 1 else ""
    fields += " force_nd_im2col: true" if d.chance(0.1) else ""
    first, second = (channels, outputs) if transposed else (outputs, channels)
    weights: List[Shape] = [(first, second // group, *(one[0] for one in found)), (outputs,)]
    bottoms = [bottom]
    if d.chance(0.1):
        bottoms += [d.input(shape)]
    d.add(
        type_,
        bottoms,
        [(*shape[:axis], outputs, *size)] * len(bottoms),
        d.params(*weights[: 1 + bias]) + "convolution_param { %s }" % fields,
    )


@maker
def Convolution(d: Draft) -> None:
    convolving(d, "Convolution", False)


@maker
def Deconvolution(d: Draft) -> None:
    convolving(d, "Deconvolution", True)


@maker
def Im2col(d: Draft) -> None:
    bottom = d.pick(3, 4, 4, 5)
    shape = d.shapes[bottom]
    found = window(d, shape[2:])
    size = [(n + 2 * p - e * (k - 1) - 1) // s + 1 for n, (k, s, p, e) in zip(shape[2:], found)]
    channels = shape[1] * math.prod(k for k, _, _, _ in found)
    fields = windows_text(d, found)
    d.add("Im2col", [bottom], [(shape[0], channels, *size)], "convolution_param { %s }" % fields)


@maker
def Pooling(d: Draft) -> None:
    bottom = d.pick(4)
    shape = d.shapes[bottom]
    kind = d.random.choice(("MAX", "AVE"))
    if d.chance(0.12):
        fields, size = "global_pooling: true", [1, 1]
    else:
        floor = d.chance(0.3)
        while True:
            found, size = window(d, shape[2:]), []
            for n, (k, s, p, _) in zip(shape[2:], found):
                places = (n + 2 * p - k) / s
                out = (math.floor(places) if floor else math.ceil(places)) + 1
                out -= bool(p and (out - 1) * s >= n + p)
                # A window wholly past the end reads out of bounds in BVLC Caffe.
                inside = p < k <= n + 2 * p and 0 <= (out - 1) * s - p < n
                size.append(out if inside else 0)
            if min(size) > 0:
                break
        fields = " ".join(
            "%s_h: %d %s_w: %d" % (w, found[0][i], w, found[1][i])
            for i, w in enumerate(("kernel", "stride", "pad"))
        )
        if found[0] == found[1] and d.chance(0.7):
            fields = "kernel_size: %d stride: %d pad: %d" % tuple(found[0][:3])
        fields += " round_mode: FLOOR" if floor else ""
    # The second top of MAX is where each largest value is, and has no gradient.
    masked = kind == "MAX" and d.chance(0.15)
    tops = d.add(
        "Pooling",
        [bottom],
        [(*shape[:2], *size)] * (1 + masked),
        "pooling_param { pool: %s %s }" % (kind, fields),
        gradient=not masked,
    )
    if masked:
        del d.shapes[tops[1]]


@maker
def SPP(d: Draft) -> None:
    bottom = d.pick(4)
    shape = d.shapes[bottom]
    height = 1 if min(shape[2:]) < 2 else d.random.choice((1, 2))
    bins = sum(4**i for i in range(height))
    top = (*shape[:2], 1, 1) if height == 1 else (shape[0], shape[1] * bins)
    kind = d.random.choice(("MAX", "AVE"))
    d.add("SPP", [bottom], [top], "spp_param { pyramid_height: %d pool: %s }" % (height, kind))


@maker
def Crop(d: Draft) -> None:
    bottom = d.pick(2, 3, 4)
    shape = d.shapes[bottom]
    axis, text = d.axis(shape)
    like = [n if i < axis else d.size(1, n) for i, n in enumerate(shape)]
    offsets = [d.size(0, shape[i] - like[i]) for i in range(axis, len(shape))]
    if d.chance(0.3):
        offset = min(shape[i] - like[i] for i in range(axis, len(shape)))
        offsets = [d.size(0, offset)]
    reference = d.input(tuple(like if d.chance(0.5) else [1] * axis + like[axis:]))
    text += "".join(" offset: %d" % n for n in offsets)
    d.add("Crop", [bottom, reference], [tuple(like)], "crop_param { %s }" % text)


@maker
def InnerProduct(d: Draft) -> None:
    bottom = d.pick()
    shape = d.shapes[bottom]
    axis, text = d.axis(shape, min(1, len(shape) - 1))
    outputs, bias = d.size(1, 5), d.chance(0.7)
    fields = "num_output: %d " % outputs + (text if axis != 1 or d.chance(0.3) else "")
    fields += "" if bias else " bias_term: false"
    fields += " transpose: true" if d.chance(0.2) else ""
    if d.chance(0.2):
        # The same layer again, on another blob, with the same weights.
        w = d.name("w")
        params = "param { name: '%sw' }" % w + (" param { name: '%sb' }" % w if bias else "")
        others = [b for b in d.shapes if d.shapes[b] == shape and b != bottom] or [d.input(shape)]
        params += " inner_product_param { %s }" % fields
        for one in (bottom, d.random.choice(others)):
            d.add("InnerProduct", [one], [(*shape[:axis], outputs)], params)
        return
    inputs = math.prod(shape[axis:])
    weights = (inputs, outputs) if "transpose" in fields else (outputs, inputs)
    rest = d.params(*[weights, (outputs,)][: 1 + bias]) + "inner_product_param { %s }" % fields
    d.add("InnerProduct", [bottom], [(*shape[:axis], outputs)], rest)


@maker
def Embed(d: Draft) -> None:
    words = d.size(1, 5)
    shape = d.shape(d.size(1, 3))
    index = d.input(shape, "label %d" % words, "index")
    fields = "input_dim: %d num_output: %d" % (words, d.size(1, 4))
    outputs = int(fields.split()[-1])
    fields += "" if d.chance(0.7) else " bias_term: false"
    rest = "embed_param { %s } propagate_down: false" % fields
    d.add("Embed", [index], [(*shape, outputs)], rest, gradient=False)


def spread(d: Draft, type_: str, field: str, bias: bool) -> None:
    bottom = d.pick()
    shape = d.shapes[bottom]
    if d.chance(0.35) or len(shape) == 1:
        axis, text = d.axis(shape)
        end = d.random.randint(axis, len(shape))
        second = d.input(shape[axis:end] or (1,)) if end > axis else None
        if second:
            rest = "%s { %s %s }" % (field, text, "bias_term: true" if bias else "")
            d.add(type_, [bottom, second], [shape], rest, kept=True)
            return
    axis, text = d.axis(shape)
    axes = d.random.choice([-1, *range(0, len(shape) - axis + 1)])
    fields = "%s num_axes: %d %s" % (text, axes, "bias_term: true" if bias else "")
    own = shape[axis:] if axes < 0 else shape[axis : axis + axes]
    rest = d.params(*[own] * (1 + bias)) + "%s { %s }" % (field, fields)
    d.add(type_, [bottom], [shape], rest, in_place=0.4, chained=True)


@maker
def Scale(d: Draft) -> None:
    spread(d, "Scale", "scale_param", d.chance(0.4))


@maker
def Bias(d: Draft) -> None:
    spread(d, "Bias", "bias_param", False)


@maker
def BatchNorm(d: Draft) -> None:
    fields = "eps: %s" % d.number(1e-5, 1e-2)
    stats = " use_global_stats: %s" % d.flag() if d.chance(0.5) else ""
    fields += " moving_average_fraction: 0.9" if d.chance(0.3) else ""
    rates = d.random.choice(("", " param { lr_mult: 0 }" * 3))
    bottom = d.pick(2, 3, 4, 5)
    fields += few_values(d.shapes[bottom]) or stats
    rest = "batch_norm_param { %s }" % fields + rates
    d.add("BatchNorm", [bottom], [d.shapes[bottom]], rest, in_place=0.4, chained=True)


def few_values(shape: Shape) -> str:
    """BatchNorm's statistics are given where the gradient through its own is zero but roundings."""
    values = math.prod(shape) // shape[1]
    return " use_global_stats: true" if values < 3 else ""


@maker
def LRN(d: Draft) -> None:
    fields = "local_size: %s alpha: %s beta: %s" % (
        d.number(1, 3, 5),
        d.number(1, 0.1, 2),
        d.number(0.75, 0.5, 1),
    )
    fields += " norm_region: WITHIN_CHANNEL" if d.chance(0.4) else " k: %s" % d.number(1, 2)
    pointwise(d, "LRN", "lrn_param { %s }" % fields, (4,), in_place=0)


@maker
def MVN(d: Draft) -> None:
    # In place as Power. One value a row has no variance, and only roundings would be compared.
    bottom = d.pick(4, 4, 3)
    shape = d.shapes[bottom]
    across = math.prod((*shape[2:], 1)) < 2 or d.chance(0.3)
    fields = "across_channels: %s normalize_variance: %s" % (str(across).lower(), d.flag(0.7))
    shape = (*shape, *[1] * (4 - len(shape)))
    d.add("MVN", [bottom], [shape], "mvn_param { %s }" % fields, kept=True)


@maker
def Concat(d: Draft) -> None:
    bottom = d.pick()
    shape = d.shapes[bottom]
    axis, text = d.axis(shape)
    bottoms = [bottom]
    for _ in range(d.size(0, 2)):
        fit = [b for b, s in d.shapes.items() if len(s) == len(shape) and b != bottom]
        fit = [b for b in fit if shape[:axis] + shape[axis + 1 :] == drop(d.shapes[b], axis)]
        other = (*shape[:axis], d.size(1, 4), *shape[axis + 1 :])
        bottoms.append(d.random.choice(fit) if fit and d.chance(0.7) else d.input(other))
    total = sum(d.shapes[b][axis] for b in bottoms)
    if axis == 1 and d.chance(0.3):
        text = d.random.choice(("", "concat_dim: 1"))
    top = (*shape[:axis], total, *shape[axis + 1 :])
    tops = d.add("Concat", bottoms, [top], "concat_param { %s }" % text)
    if len(bottoms) == 1:
        d.kept |= {*tops, bottom}  # as Flatten


def drop(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


@maker
def Slice(d: Draft) -> None:
    bottom = d.pick()
    shape = d.shapes[bottom]
    axis, text = d.axis(shape)
    n = shape[axis]
    parts = d.random.choice([p for p in range(1, n + 1) if n % p == 0])
    sizes = [n // parts] * parts
    if n > 1 and d.chance(0.5):
        points = sorted(d.random.sample(range(1, n), d.size(1, n - 1)))
        text += "".join(" slice_point: %d" % point for point in points)
        sizes = [b - a for a, b in zip([0, *points], [*points, n])]
    tops = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    names = d.add("Slice", [bottom], tops, "slice_param { %s }" % text)
    if len(names) == 1:
        d.kept |= {*names, bottom}  # as Flatten


@maker
def Split(d: Draft) -> None:
    bottom = d.pick()
    tops = d.add("Split", [bottom], [d.shapes[bottom]] * d.size(1, 3))
    d.kept |= {*tops, bottom}  # as Flatten


@maker
def Tile(d: Draft) -> None:
    bottom = d.pick()
    shape = d.shapes[bottom]
    axis, text = d.axis(shape)
    tiles = d.size(1, 3)
    top = (*shape[:axis], shape[axis] * tiles, *shape[axis + 1 :])
    d.add("Tile", [bottom], [top], "tile_param { %s tiles: %d }" % (text, tiles))


@maker
def Eltwise(d: Draft) -> None:
    bottom = d.pick()
    shape = d.shapes[bottom]
    bottoms = [bottom]
    for _ in range(d.size(1, 2)):
        fit = [b for b, s in d.shapes.items() if s == shape]
        bottoms.append(d.random.choice(fit) if d.chance(0.6) else d.input(shape))
    operation = d.random.choice(("SUM", "PROD", "MAX", "SUM"))
    fields = "operation: %s" % operation
    if operation == "SUM" and d.chance(0.5):
        fields += "".join(" coeff: %s" % d.number(1, -1, 0.5, 2) for _ in bottoms)
    # Without the stable gradient, PROD divides by the bottom.
    if operation == "PROD" and d.chance(0.3):
        fields += " stable_prod_grad: true"
    d.add("Eltwise", bottoms, [shape], "eltwise_param { %s }" % fields, kept=operation == "PROD")


@maker
def Flatten(d: Draft) -> None:
    bottom = d.pick()
    if bottom in d.unrolled:
        return
    shape = d.shapes[bottom]
    first, text = d.axis(shape)
    last = d.random.randrange(first, len(shape))
    top = (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
    text += " end_axis: %d" % (last - len(shape) if d.chance(0.5) else last)
    tops = d.add("Flatten", [bottom], [top], "flatten_param { %s }" % text)
    # Its top is its bottom's memory: what is kept of one is kept of the other.
    d.kept |= {*tops, bottom}


@maker
def Reshape(d: Draft) -> None:
    bottom = d.pick()
    if bottom in d.unrolled:
        return
    shape = d.shapes[bottom]
    axis, fields, middle = 0, "", list(shape)
    if d.chance(0.3):
        axis = d.size(0, len(shape) - 1)
        middle, fields = list(shape[axis:]), "axis: %d" % axis
    count = math.prod(middle)
    new: List[int] = []
    while count > 1 and len(new) < 4:
        factor = d.random.choice([f for f in range(1, count + 1) if count % f == 0])
        new, count = [*new, factor], count // factor
    new += [count] if count > 1 or not new else []
    words = list(new)
    for i, n in enumerate(new):
        if i < len(middle) and middle[i] == n and d.chance(0.4):
            words[i] = 0
    if d.chance(0.4):
        words[d.random.randrange(len(words))] = -1
    fields += " shape { %s }" % " ".join("dim: %d" % n for n in words)
    top = (*shape[:axis], *new)
    tops = d.add("Reshape", [bottom], [top], "reshape_param { %s }" % fields)
    d.kept |= {*tops, bottom}


@maker
def Reduction(d: Draft) -> None:
    bottom = d.pick()
    shape = d.shapes[bottom]
    axis, text = d.axis(shape)
    operation = d.random.choice(("SUM", "ASUM", "SUMSQ", "MEAN"))
    fields = "%s operation: %s coeff: %s" % (text, operation, d.number(1, 1, 0.5, -2))
    d.add("Reduction", [bottom], [shape[:axis]], "reduction_param { %s }" % fields)


@maker
def Softmax(d: Draft) -> None:
    bottom = d.pick()
    shape = d.shapes[bottom]
    _, text = d.axis(shape)
    rest = "softmax_param { %s }" % text
    d.add("Softmax", [bottom], [shape], rest, in_place=0.4, kept=True, positive=True)


@maker
def ArgMax(d: Draft) -> None:
    bottom = d.pick(2, 3, 4)
    shape = d.shapes[bottom]
    values = d.chance(0.4)
    if d.chance(0.5):
        axis, text = d.axis(shape)
        k = d.size(1, shape[axis])
        top = (*shape[:axis], k, *shape[axis + 1 :])
    else:
        text, k = "", d.size(1, math.prod(shape[1:]))
        top = (shape[0], 2 if values else 1, k, *[1] * (len(shape) - 3))
    fields = "%s top_k: %d out_max_val: %s" % (text, k, str(values).lower())
    rest = "argmax_param { %s } propagate_down: false" % fields
    d.add("ArgMax", [bottom], [top], rest, hidden=True, gradient=False)


@maker
def BatchReindex(d: Draft) -> None:
    bottom = d.pick()
    shape = d.shapes[bottom]
    rows = d.size(1, 5)
    index = d.input((rows,), "label %d" % shape[0], "index")
    rest = "propagate_down: %s propagate_down: false" % d.flag(0.8)
    d.add("BatchReindex", [bottom, index], [(rows, *shape[1:])], rest, gradient=False)


@maker
def Filter(d: Draft) -> None:
    bottom = d.pick()
    shape = d.shapes[bottom]
    selector = d.input((shape[0],), "label 2", "selector")
    bottoms, tops = [bottom, selector], [shape]
    if d.chance(0.3):
        other = d.input((shape[0], *d.shape(2)))
        bottoms, tops = [bottom, other, selector], [shape, d.shapes[other]]
    rest = " ".join("propagate_down: %s" % f for f in ["true"] * len(tops) + ["false"])
    # How many rows come out is known only in forward.
    d.add("Filter", bottoms, tops, rest, hidden=True, gradient=False)


@maker
def Parameter(d: Draft) -> None:
    shape = d.shape()
    dims = " ".join("dim: %d" % n for n in shape)
    d.add("Parameter", [], [shape], "parameter_param { shape { %s } }" % dims, gradient=False)


@maker
def Silence(d: Draft) -> None:
    d.add("Silence", [d.pick() for _ in range(d.size(1, 2))], [], gradient=False)


@maker
def Python(d: Draft) -> None:
    which = d.random.choice(("Cube", "Cube", "Affine", "EuclideanLoss"))
    bottoms = [d.pick()]
    shapes = [d.shapes[bottoms[0]]]
    rest = "python_param { module: 'oracle.python_layers' layer: '%s'" % which
    if which == "Affine":
        rest += ' param_str: \'{"a": 2, "b": -0.5}\' }' + d.params((1,), (1,))
    elif which == "EuclideanLoss":
        bottoms.append(d.input(shapes[0]))
        d.add("Python", bottoms, [(1,)], rest + " } loss_weight: 0.5", hidden=True, gradient=False)
        return
    else:
        others = [b for b in d.shapes if b != bottoms[0] and d.shapes[b]]
        bottoms += d.random.sample(others, min(len(others), d.size(0, 1)))
        shapes, rest = [d.shapes[b] for b in bottoms], rest + " }"
    d.add("Python", bottoms, shapes, rest, kept=True)


@maker
def DummyData(d: Draft) -> None:
    shapes = [d.shape(4) for _ in range(d.size(1, 2))]
    fields = [" shape { %s }" % " ".join("dim: %d" % n for n in shape) for shape in shapes]
    if d.chance(0.3):
        fields = [
            " num: %d channels: %d height: %d width: %d" % shape  # type: ignore[str-format]
            for shape in shapes
        ]
    if d.chance(0.3):
        fields, shapes = fields[:1], [shapes[0]] * len(shapes)
    fillers = [" data_filler { value: %s }" % d.number(1, 0.5, -2, 0) for _ in shapes]
    fields += d.random.choice((fillers, fillers[:1], []))
    rest = "dummy_data_param { %s }" % "".join(fields)
    d.add("DummyData", [], shapes, rest, gradient=False)


@maker
def Block(d: Draft) -> None:
    """A convolution with the layers that nets have in place over it."""
    Convolution(d)
    bottom = list(d.shapes)[-1]
    shape = d.shapes[bottom]
    chain = [
        ("BatchNorm", ""),
        ("Scale", "scale_param { bias_term: true }"),
        ("Bias", ""),
        ("ReLU", ""),
        ("Dropout", "phase: TEST"),
        ("PReLU", ""),
        ("TanH", ""),
    ]
    start, relu = d.size(0, 2), ""
    for type_, rest in chain[start : d.size(start + 1, 5)] + d.random.sample(
        chain[4:], d.size(0, 1)
    ):
        if type_ == "BatchNorm":
            rest = "batch_norm_param { %s }" % few_values(shape)
        last = type_ in ("PReLU", "TanH")
        d.add(type_, [bottom], [shape], rest, in_place=1, kept=last, chained=not last)
        if type_ == "ReLU":
            relu = bottom
    if relu:
        d.kept.add(relu)  # its backward goes by signs, which what follows here keeps


@maker
def LeftOut(d: Draft) -> None:
    """Layers that the net's state leaves out."""
    other = copy.deepcopy(d)
    other.random = d.random
    before = len(other.text)
    MAKERS[d.random.choice([name for name in MAKERS if name not in ("LeftOut", "Block")])](other)
    for text in other.text[before:]:
        if "clude {" not in text:
            d.text.append(text[: -len(" }\n")] + d.rules(False) + " }\n")
    d.made = other.made


def recurrent(d: Draft, type_: str, states: int) -> None:
    bottom = d.pick(3, 4)
    shape = d.shapes[bottom]
    steps, batch, outputs = shape[0], shape[1], d.size(1, 4)
    cont = d.input((steps, batch), "label 2", "cont")
    bottoms, tops = [bottom, cont], [(steps, batch, outputs)]
    fields = "num_output: %d" % outputs
    if d.chance(0.25):
        bottoms.append(d.input((batch, *d.shape(d.size(1, 2)))))
    if d.chance(0.25):
        bottoms += [d.input((1, batch, outputs)) for _ in range(states)]
        tops += [(1, batch, outputs)] * states
        fields += " expose_hidden: true"
    made = d.add(type_, bottoms, tops, "recurrent_param { %s }" % fields, kept=True, gradient=False)
    d.unrolled.update(made)


@maker
def RNN(d: Draft) -> None:
    recurrent(d, "RNN", 1)


@maker
def LSTM(d: Draft) -> None:
    recurrent(d, "LSTM", 2)


@maker
def LSTMUnit(d: Draft) -> None:
    batch, units = d.size(1, 4), d.size(1, 4)
    c, gates = d.input((1, batch, units)), d.input((1, batch, 4 * units))
    cont = d.input((1, batch), "label 2", "cont")
    d.add("LSTMUnit", [c, gates, cont], [(1, batch, units)] * 2, kept=True, gradient=False)


def loss_param(d: Draft, classes: int, normalize: bool = True) -> str:
    fields = []
    if d.chance(0.4):
        fields.append("ignore_label: %d" % d.random.choice((0, classes - 1, 255, -1)))
    if d.chance(0.5):
        fields.append(
            "normalization: %s" % d.random.choice(("FULL", "VALID", "BATCH_SIZE", "NONE"))
        )
    elif normalize and d.chance(0.3):
        fields.append("normalize: %s" % d.flag())
    return "loss_param { %s } " % " ".join(fields) if fields else ""


def labels(d: Draft, shape: Shape, axis: int, rest: str = "") -> str:
    """An input of labels for scores of `shape` with the classes along `axis`."""
    where = drop(shape, axis)
    if len(shape) == 4 and axis == 1 and d.chance(0.5):
        where = (shape[0], 1, *shape[2:])
    kind = "label %d" % shape[axis] + (" 255" if "ignore_label: 255" in rest else "")
    return d.input(where or (1,), kind, "label")


@maker
def SoftmaxWithLoss(d: Draft) -> None:
    bottom = d.pick(2, 3, 4)
    shape = d.shapes[bottom]
    axis, text = d.axis(shape, 0 if d.chance(0.03) else 1)
    rest = loss_param(d, shape[axis])
    label = labels(d, shape, axis, rest)
    rest += "softmax_param { %s }" % text
    d.add("SoftmaxWithLoss", [bottom, label], [()], rest, loss=True)


@maker
def InfogainLoss(d: Draft) -> None:
    bottom = d.pick(2, 3, 4)
    shape = d.shapes[bottom]
    axis, text = d.axis(shape, 0 if d.chance(0.03) else 1)
    rest = loss_param(d, shape[axis], normalize=False)
    label = labels(d, shape, axis, rest)
    matrix = d.input((1, 1, shape[axis], shape[axis]), "few 2", "matrix")
    rest += "infogain_loss_param { %s }" % text
    d.add("InfogainLoss", [bottom, label, matrix], [()], rest, loss=True)


@maker
def EuclideanLoss(d: Draft) -> None:
    bottom = d.pick(1, 2, 3, 4)
    shape = d.shapes[bottom]
    other = d.input(shape)
    d.add("EuclideanLoss", d.random.sample([bottom, other], 2), [()], loss=True)


@maker
def HingeLoss(d: Draft) -> None:
    bottom = d.pick(2, 3)
    shape = d.shapes[bottom]
    label = d.input((shape[0],), "label %d" % math.prod(shape[1:]), "label")
    rest = "hinge_loss_param { norm: L%s }" % d.number(1, 2)
    d.add("HingeLoss", [bottom, label], [()], rest, loss=True)


@maker
def MultinomialLogisticLoss(d: Draft) -> None:
    bottom = d.pick(2, 3, positive=True)
    shape = d.shapes[bottom]
    label = d.input((shape[0],), "label %d" % math.prod(shape[1:]), "label")
    d.add("MultinomialLogisticLoss", [bottom, label], [()], loss=True)


@maker
def SigmoidCrossEntropyLoss(d: Draft) -> None:
    bottom = d.pick()
    shape = d.shapes[bottom]
    rest = loss_param(d, 2)
    target = d.input(shape, "label 2", "target")
    d.add("SigmoidCrossEntropyLoss", [bottom, target], [()], rest, loss=True)


@maker
def ContrastiveLoss(d: Draft) -> None:
    bottom = d.pick(2)
    shape = d.shapes[bottom]
    bottoms = [bottom, d.input(shape), d.input(shape[:1], "label 2", "similar")]
    rest = "contrastive_loss_param { margin: %s legacy_version: %s }"
    d.add("ContrastiveLoss", bottoms, [()], rest % (d.number(1, 3), d.flag(0.3)), loss=True)


@maker
def Accuracy(d: Draft) -> None:
    bottom = d.pick(2, 3, 4)
    shape = d.shapes[bottom]
    axis, text = d.axis(shape)
    text += " top_k: %d" % d.size(1, shape[axis]) if d.chance(0.5) else ""
    ignore = " ignore_label: %d" % d.random.choice((0, 255)) if d.chance(0.3) else ""
    label = labels(d, shape, axis, ignore)
    tops = [(), (shape[axis],)] if d.chance(0.4) else [()]
    rest = "accuracy_param { %s } propagate_down: false propagate_down: false" % (text + ignore)
    d.add("Accuracy", [bottom, label], tops, rest, hidden=True, gradient=False)


#: Drawn more often than the others, as in nets that people write.
USUAL = (
    "Block",
    "Convolution",
    "InnerProduct",
    "ReLU",
    "Pooling",
    "Eltwise",
    "Concat",
    "SoftmaxWithLoss",
)
#: With force_backward a gradient is asked of them, whatever their propagate_down says.
NO_GRADIENT = ("Threshold", "ArgMax", "Accuracy", "Filter", "Embed", "BatchReindex", "InfogainLoss")


def valid(name: str) -> dict:
    """The net of this name, as oracle/run_nets.py takes it."""
    d = Draft(name)
    d.input(d.shape(4 if d.chance(0.5) else None))
    makers = [*MAKERS, *USUAL, *USUAL]
    if d.force_backward:
        makers = [name for name in makers if name not in NO_GRADIENT or d.chance(0.03)]
    for _ in range(d.size(1, 9)):
        MAKERS[d.random.choice(makers)](d)
    return {
        "name": name,
        "text": "name: 'random'\n" + d.head + "".join(d.text),
        "inputs": d.inputs,
        "phase": d.phase,
        "rounds": d.random.choice(([{}], [{}], [{}, {}], [{}, other_shapes(d)])),
        "backward": d.chance(0.9),
        "args": {"level": d.level, "stages": d.stages},
        "ranges": [[d.random.random() for _ in range(3)] for _ in range(d.size(0, 2))],
    }


def other_shapes(d: Draft) -> Dict[str, Shape]:
    """Shapes for inputs that many a net takes after its own."""
    first = next(iter(d.all_inputs.values()))
    what, new = d.random.choice(("batch", "batch", "image", "image", "one")), {}
    change = d.random.choice((-1, 1, 2))
    one = d.random.choice(list(d.all_inputs))
    for blob, shape in d.all_inputs.items():
        sizes = list(shape)
        if what == "batch" and sizes[0] == first[0]:
            sizes[0] += change
        elif what == "image" and len(sizes) == 4:
            sizes[2:] = [n + change for n in sizes[2:]]
        elif what == "one" and blob == one:
            sizes[d.random.randrange(len(sizes))] += change
        new[blob] = tuple(max(1, n) for n in sizes)
    return {blob: shape for blob, shape in new.items() if shape != d.all_inputs[blob]}


def scalars(message) -> List[tuple]:
    """(message, field) of every field that is set and is not itself a message, at any depth."""
    found = []
    for field, value in message.ListFields():
        if field.message_type is None:
            found.append((message, field))
        else:
            for one in value if field.is_repeated else [value]:
                found += scalars(one)
    return found


def change_field(r: random.Random, message, field) -> None:
    """Gives a field another value, or a repeated one more, fewer or other values."""
    old = getattr(message, field.name)
    values = list(old) if field.is_repeated else [old]
    i = r.randrange(len(values))
    new = values[i]
    if field.enum_type is not None:
        new = r.choice(field.enum_type.values).number
    elif isinstance(new, bool):
        new = not new
    elif isinstance(new, int):
        new = r.choice((0, 1, 2, 3, new + 1, new + 1, new - 1, -new, -1, -2, 7, 40))
        if field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
            new = abs(new)
    elif isinstance(new, float):
        new = r.choice((0, -new, -1, 1, 2, new / 2))
    else:
        new = r.choice((new + "x", ""))
    if not field.is_repeated:
        setattr(message, field.name, new)
        return
    what = r.random()
    values[i] = new
    if what < 0.25:
        del values[i]
    elif what < 0.5:
        values.insert(i, new)
    message.ClearField(field.name)
    getattr(message, field.name).extend(values)


def absent_field(r: random.Random, message) -> None:
    """Sets a field that is not set, of the layer's own parameters if it has any."""
    for field, value in message.ListFields():
        if field.name.endswith("_param") and not field.is_repeated and r.random() < 0.8:
            message = value
    fields = [f for f in message.DESCRIPTOR.fields if f.message_type is None]
    fields = [f for f in fields if f.name not in ("type", "name", "source", "engine")]
    if not fields:
        return
    field = r.choice(fields)
    new: object = r.choice((0, 1, 2, 3, -1, 5))
    if field.enum_type is not None:
        new = r.choice(field.enum_type.values).number
    elif field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
        new = r.choice((0, 1, 2, 3, 5))
    elif field.cpp_type == field.CPPTYPE_BOOL:
        new = r.random() < 0.5
    elif field.cpp_type == field.CPPTYPE_STRING:
        new = "other"
    if field.is_repeated:
        getattr(message, field.name).append(new)
    else:
        setattr(message, field.name, new)


def change_graph(r: random.Random, net) -> None:
    """Changes what a layer reads or makes, its type, or which layers there are."""
    from caffe import layer_type_list

    one, i = r.choice(net.layer), r.randrange(len(net.layer))
    blobs = [top for each in net.layer for top in each.top] + ["nowhere"]
    what = r.randrange(12)
    ends = one.bottom if what % 2 else one.top
    if what < 2 and ends:
        del ends[r.randrange(len(ends))]
    elif what < 4:
        ends.append(r.choice(blobs))
    elif what < 6 and ends:
        ends[r.randrange(len(ends))] = r.choice(blobs)
    elif what == 6:
        del net.layer[i]
    elif what == 7:
        net.layer.add().CopyFrom(one)
    elif what == 8:
        one.type = r.choice((one.type + "s", *layer_type_list()))
    elif what == 9:
        net.layer.add().CopyFrom(net.layer[i])
        del net.layer[i]
    elif what == 10:
        spec = one.param.add()
        spec.name = "shared"
        net.layer[i].param.add().name = "shared"
    else:
        one.bottom[:] = reversed(one.bottom)


def change_text(r: random.Random, text: str) -> str:
    """Writes something that is not, or hardly, a prototxt."""
    words = text.split(" ")
    i = r.randrange(len(words))
    what = r.randrange(5)
    if what == 0:
        del words[i]
    elif what == 1:
        words[i] = r.choice(("unknown: 1", "'", "{", "}", "#", ";", ",", "1.5", "-1", "MAX", "0x3"))
    elif what == 2:
        words.insert(i, words[r.randrange(len(words))])
    elif what == 3:
        words[i] = words[i] * 2
    else:
        words[i] = r.choice((words[i].upper(), words[i].replace(":", ""), words[i] + ","))
    return " ".join(words)


def near_valid(name: str) -> dict:
    """A valid net with one or two things changed."""
    from caffe.proto import caffe_pb2
    from google.protobuf import text_format

    net = valid(name)
    r = random.Random(name + " changed")
    if r.random() < 0.08:
        return {**net, "text": change_text(r, net["text"])}
    message = text_format.Parse(net["text"], caffe_pb2.NetParameter())
    for _ in range(r.choice((1, 1, 1, 2))):
        what = r.random()
        if what < 0.35 and message.layer:
            change_graph(r, message)
        elif what < 0.55 and message.layer:
            absent_field(r, r.choice(message.layer))
        else:
            layers = [one for one in message.layer if one.type != "Input" or r.random() < 0.3]
            fields = scalars(r.choice(layers or message.layer)) if message.layer else []
            fields = [pair for pair in fields if pair[1].name not in ("name", "module")]
            if fields:
                change_field(r, *r.choice(fields))
    return {**net, "text": text_format.MessageToString(message)}


def make(seed: int, i: int) -> dict:
    """Net number `i` of a seed."""
    name = "%d.%d" % (seed, i)
    net = near_valid(name) if i % 3 == 2 else valid(name)
    # See oracle/deliberate.py: what its forward leaves shows where a part of a net runs backward.
    return {**net, "ranges": []} if "HingeLoss" in net["text"] else net


def outcome(path: str):
    """(numbers, refusal) of one net, one of them None, as `run_in_fork` left them."""
    if os.path.exists(path + ".npz"):
        with np.load(path + ".npz") as numbers:
            return dict(numbers.items()), None
    with open(path + ".refused", errors="replace") as f:
        return None, f.read()


@functools.lru_cache(maxsize=1)
def warm_up() -> None:
    """Runs a net in this process, so that no fork has to import what PyTorch imports late.

    With one thread: a fork of a process whose OpenMP threads have started waits for them forever.
    """
    import torch

    torch.set_num_threads(1)
    shape = "input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } }"
    text = "force_backward: true\n" + layer("Input", "", "x", shape)
    text += layer("Convolution", "x", "y", "convolution_param { num_output: 2 kernel_size: 3 }")
    text += layer("Reduction", "y", "loss", "loss_weight: 1")
    net = {"name": "warm up", "text": text, "inputs": {}, "phase": 0, "rounds": [{}]}
    with tempfile.TemporaryDirectory() as folder:
        run_net({**net, "backward": True}, folder)


def ours(net: dict, folder: str, rounding: Optional[int] = None):
    """(numbers, refusal) of the engine: one of them."""
    warm_up()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = os.path.join(scratch, "ours")
        run_in_fork(net, path, scratch, rounding)
        return outcome(path)


#: Layers that compute in their first bottom's gradient, whether or not one is asked of them.
SCRATCH = ("HingeLoss", "Scale")


def without_scratch(mine: dict, yours: dict) -> dict:
    """BVLC Caffe's numbers with ours where it left what no backward meant to be a gradient.

    That is where the engine has no gradient at all (zeros), or has the one of the pass before, for
    the first bottom of such a layer.
    """
    said = json.loads(str(yours["meta"]))
    blobs = {
        said["bottoms"][name][0]
        for name, type_ in zip(said["layers"], said["types"])
        if type_ in SCRATCH
    }
    result, before = dict(yours), dict.fromkeys(blobs, np.zeros(0))
    for key, value in mine.items():
        blob = key.split("/diff/")[-1]
        if "/diff/" in key and blob in blobs:
            if not value.any() or np.array_equal(value, before[blob]):
                result[key] = value
            before[blob] = value
    return result


def beyond_rounding(net: dict, folder: str, mine: dict, yours: dict) -> List[str]:
    """The disagreements that are larger than what roundings do to the net itself."""
    from oracle.compare import disagreements

    wrong = disagreements(mine, yours)
    if not wrong or any(" off by " not in words for words in wrong):
        return wrong
    shaken = [ours(net, folder, i)[0] for i in range(RUNS)]
    left = []
    for words in wrong:
        key = words.split(": off by ")[0]
        error = np.abs(np.nan_to_num(mine[key] - yours[key].astype(np.float64), posinf=0, neginf=0))
        spread = max(
            np.abs(np.nan_to_num(one[key] - mine[key].astype(np.float64), posinf=0, neginf=0)).max()
            for one in shaken
            if one
        )
        if error.max() > max(FACTOR * spread, NOTHING):
            left.append("%s (roundings change it by %.2g)" % (words, spread))
    return left


#: An exception by its name; one of the engine's that is no CaffeError does not say what to change.
RAISED = re.compile(r"^(?!ModuleNotFound)\w+(Error|Exception|Exit): ", re.MULTILINE)


def is_defect(refusal: str) -> bool:
    """Whether the engine failed at a net, where it should have refused it in a line of its own."""
    return bool(
        refusal.startswith(RAN_OUT) or RAISED.match(refusal) or "ended by signal" in refusal
    )


#: What the C library says of memory that was written out of bounds, before it aborts.
CORRUPTED = re.compile(r"free\(\): |malloc\w*\(\): |corrupted|double free|munmap_chunk")


def is_crash(refusal: str) -> bool:
    """Whether BVLC Caffe did not refuse a net, but read or wrote out of bounds, or divided by 0."""
    if "ended by signal 6" in refusal:
        return bool(CORRUPTED.search(refusal)) and "Check failed" not in refusal
    return not re.search(r"^\w+(Error|Exception): ", refusal, re.MULTILINE)


class Tally:
    """What became of the nets."""

    def __init__(self) -> None:
        self.counts: Dict[str, int] = {}
        self.disagreements: List[Tuple[dict, str]] = []
        #: Nets that could not be compared, for BVLC Caffe ran out of time or memory, with words.
        self.uncompared: List[Tuple[dict, str]] = []

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def judge(self, net: dict, mine, yours, folder: str) -> None:
        """Counts one net, from (numbers, refusal) of the engine and of BVLC Caffe."""
        (numbers, refusal), (their_numbers, their_refusal) = mine, yours
        if refusal is None and their_refusal is None:
            from oracle.compare import disagreements

            their_numbers = without_scratch(numbers, their_numbers)
            wrong = disagreements(numbers, their_numbers)
            if wrong:
                left = beyond_rounding(net, folder, numbers, their_numbers)
                if left:
                    self.disagreements.append((net, "\n".join(left)))
                    return self.count("disagree")
                return self.count("agree within their own rounding")
            return self.count("agree")
        words = "the engine: %s\nBVLC Caffe: %s" % (
            refusal or "runs",
            (their_refusal or "runs")[-900:],
        )
        known = deliberate(net["text"], refusal, their_refusal)
        if known:
            return self.count("deliberately different (%s)" % known.name)
        # What a Python layer raises comes through either Caffe as it is.
        raised = [RAISED.search(one or "") for one in (refusal, their_refusal)]
        same = raised[0] and raised[1] and raised[0][0] == raised[1][0]
        defect = refusal is not None and is_defect(refusal) and not same
        if their_refusal is not None and their_refusal.startswith(RAN_OUT):
            if not defect or (refusal or "").startswith(RAN_OUT):
                self.uncompared.append((net, words))
                return self.count("not compared")
        elif their_refusal is not None and not defect:
            if is_crash(their_refusal):
                return self.count("BVLC Caffe crashes")
            if refusal is not None:
                return self.count("both refuse")
        self.disagreements.append((net, words))
        return self.count("disagree")

    def __str__(self) -> str:
        total = sum(self.counts.values())
        words = ", ".join("%d %s" % (n, what) for what, n in sorted(self.counts.items()))
        return "%d nets: %s" % (total, words)


def compare(nets: Sequence[dict], tally: Tally) -> None:
    """Runs the nets in both engines and counts how they compare."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "nets.json")
        with open(file, "w") as f:
            json.dump(list(nets), f)
        environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        command = [os.path.join(CHECKOUT, "oracle", "caffe-python"), "oracle/run_nets.py"]
        other = subprocess.Popen([*command, file, folder], env=environment, cwd=CHECKOUT)
        mine = [ours(net, folder) for net in nets]
        if other.wait():
            raise SystemExit("random_nets: BVLC Caffe could not be run; see above")
        for net, one in zip(nets, mine):
            tally.judge(net, one, outcome(os.path.join(folder, net["name"])), folder)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Compares random nets with BVLC Caffe.")
    parser.add_argument("--count", type=int, default=2000, help="how many nets (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="which nets (default 0)")
    parser.add_argument("--start", type=int, default=0, help="the first net's number (default 0)")
    args = parser.parse_args(arguments)
    # The engine says in the log what BVLC Caffe says; refusals come as exceptions.
    os.environ.setdefault("GLOG_minloglevel", "2")
    tally, told, untold = Tally(), 0, 0
    numbers = range(args.start, args.start + args.count)
    for i in range(0, args.count, 250):
        compare([make(args.seed, k) for k in numbers[i : i + 250]], tally)
        for net, words in tally.disagreements[told:]:
            print("--- net %s: %s\n%s" % (net["name"], words, net["text"]), flush=True)
        for net, words in tally.uncompared[untold:]:
            print("--- net %s is not compared: %s" % (net["name"], words), flush=True)
        told, untold = len(tally.disagreements), len(tally.uncompared)
    print("seed %d, %s" % (args.seed, tally))
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
