"""Additions of several layers: a block as in published nets, and layers that rules exclude."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import copy
from typing import Callable, Sequence

from oracle.random_nets.draft import Draft
from oracle.random_nets.layers.products import global_statistics
from oracle.random_nets.layers.windows import Convolution

CHAIN = (
    ("BatchNorm", ""),
    ("Scale", "scale_param { bias_term: true }"),
    ("Bias", ""),
    ("ReLU", ""),
    ("Dropout", "phase: TEST"),
    ("PReLU", ""),
    ("TanH", ""),
)


def add_block(d: Draft) -> None:
    """Add a convolution with the layers that published nets run in place over one."""
    Convolution(d)
    bottom = list(d.shapes)[-1]
    shape = d.shapes[bottom]
    start, rectified = d.size(0, 2), ""
    chain = [*CHAIN[start : d.size(start + 1, 5)], *d.random.sample(CHAIN[4:], d.size(0, 1))]
    for type_, fields in chain:
        if type_ == "BatchNorm":
            fields = "batch_norm_param { %s }" % global_statistics(shape)
        last = type_ in ("PReLU", "TanH")
        d.add(type_, [bottom], [shape], fields, in_place=1, protected=last, chained=not last)
        if type_ == "ReLU":
            rectified = bottom
    if rectified:
        # ReLU's backward reads signs, which the layers of this block keep and others may not.
        d.protected.add(rectified)


def add_excluded(d: Draft, makers: Sequence[Callable[[Draft], object]]) -> None:
    """Add what one of the makers adds, with rules by which the net's state excludes the layers."""
    other = copy.deepcopy(d)
    other.random = d.random
    before = len(other.text)
    d.random.choice(makers)(other)
    for text in other.text[before:]:
        if "clude {" not in text:
            d.text.append(text[: -len(" }\n")] + d.rules(False) + " }\n")
    d.name_count = other.name_count
