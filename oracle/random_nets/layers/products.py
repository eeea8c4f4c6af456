"""Layers that multiply by weights, and layers that normalize."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import math

from oracle.random_nets.draft import Draft, Shape
from oracle.random_nets.layers.activations import add_pointwise


def InnerProduct(d: Draft) -> None:
    """Add an InnerProduct, or two with the same weights."""
    bottom = d.pick()
    shape = d.shapes[bottom]
    axis, text = d.axis(shape, min(1, len(shape) - 1))
    outputs, bias = d.size(1, 5), d.chance(0.7)
    fields = "num_output: %d " % outputs + (text if axis != 1 or d.chance(0.3) else "")
    fields += "" if bias else " bias_term: false"
    fields += " transpose: true" if d.chance(0.2) else ""
    if d.chance(0.2):
        # The same layer again, on another blob, with the same weights.
        name = d.name("w")
        params = "param { name: '%sw' }" % name + (" param { name: '%sb' }" % name if bias else "")
        others = [b for b in d.shapes if d.shapes[b] == shape and b != bottom] or [d.input(shape)]
        params += " inner_product_param { %s }" % fields
        for blob in (bottom, d.random.choice(others)):
            d.add("InnerProduct", [blob], [(*shape[:axis], outputs)], params)
        return
    inputs = math.prod(shape[axis:])
    weights = (inputs, outputs) if "transpose" in fields else (outputs, inputs)
    params = d.params(*[weights, (outputs,)][: 1 + bias])
    fields = params + "inner_product_param { %s }" % fields
    d.add("InnerProduct", [bottom], [(*shape[:axis], outputs)], fields)


def Embed(d: Draft) -> None:
    """Add an Embed over an input of indices."""
    words = d.size(1, 5)
    shape = d.shape(d.size(1, 3))
    index = d.input(shape, "label %d" % words, "index")
    outputs = d.size(1, 4)
    fields = "input_dim: %d num_output: %d" % (words, outputs)
    fields += "" if d.chance(0.7) else " bias_term: false"
    fields = "embed_param { %s } propagate_down: false" % fields
    d.add("Embed", [index], [(*shape, outputs)], fields, gradient=False)


def add_broadcast(d: Draft, type_: str, message: str, bias: bool) -> None:
    """Add a Scale or Bias, whose factors are a second bottom or a parameter."""
    bottom = d.pick()
    shape = d.shapes[bottom]
    bias_text = "bias_term: true" if bias else ""
    if d.chance(0.35) or len(shape) == 1:
        axis, text = d.axis(shape)
        end = d.random.randint(axis, len(shape))
        second = d.input(shape[axis:end] or (1,)) if end > axis else None
        if second:
            fields = "%s { %s %s }" % (message, text, bias_text)
            d.add(type_, [bottom, second], [shape], fields, protected=True)
            return
    axis, text = d.axis(shape)
    axes = d.random.choice([-1, *range(0, len(shape) - axis + 1)])
    fields = "%s num_axes: %d %s" % (text, axes, bias_text)
    factors = shape[axis:] if axes < 0 else shape[axis : axis + axes]
    fields = d.params(*[factors] * (1 + bias)) + "%s { %s }" % (message, fields)
    d.add(type_, [bottom], [shape], fields, in_place=0.4, chained=True)


def Scale(d: Draft) -> None:
    """Add a Scale."""
    add_broadcast(d, "Scale", "scale_param", d.chance(0.4))


def Bias(d: Draft) -> None:
    """Add a Bias."""
    add_broadcast(d, "Bias", "bias_param", False)


def BatchNorm(d: Draft) -> None:
    """Add a BatchNorm."""
    fields = "eps: %s" % d.number(1e-5, 1e-2)
    stats = " use_global_stats: %s" % d.flag() if d.chance(0.5) else ""
    fields += " moving_average_fraction: 0.9" if d.chance(0.3) else ""
    rates = d.random.choice(("", " param { lr_mult: 0 }" * 3))
    bottom = d.pick(2, 3, 4, 5)
    fields += global_statistics(d.shapes[bottom]) or stats
    fields = "batch_norm_param { %s }" % fields + rates
    d.add("BatchNorm", [bottom], [d.shapes[bottom]], fields, in_place=0.4, chained=True)


def global_statistics(shape: Shape) -> str:
    """Return a field that makes BatchNorm read stored statistics where channels have few values.

    With fewer than three values in a channel, the gradient through the batch's own statistics is
    zero but for roundings.
    """
    values = math.prod(shape) // shape[1]
    return " use_global_stats: true" if values < 3 else ""


def LRN(d: Draft) -> None:
    """Add an LRN across or within channels."""
    fields = "local_size: %s alpha: %s beta: %s" % (
        d.number(1, 3, 5),
        d.number(1, 0.1, 2),
        d.number(0.75, 0.5, 1),
    )
    fields += " norm_region: WITHIN_CHANNEL" if d.chance(0.4) else " k: %s" % d.number(1, 2)
    add_pointwise(d, "LRN", "lrn_param { %s }" % fields, (4,), in_place=0)


def MVN(d: Draft) -> None:
    """Add an MVN."""
    # Never in place, for Power's reason. A row of one value has no variance: its values across
    # channels are normalized, as only roundings would be compared otherwise.
    bottom = d.pick(4, 4, 3)
    shape = d.shapes[bottom]
    across = math.prod((*shape[2:], 1)) < 2 or d.chance(0.3)
    fields = "across_channels: %s normalize_variance: %s" % (str(across).lower(), d.flag(0.7))
    shape = (*shape, *[1] * (4 - len(shape)))
    d.add("MVN", [bottom], [shape], "mvn_param { %s }" % fields, protected=True)


MAKERS = (InnerProduct, Embed, Scale, Bias, BatchNorm, LRN, MVN)
