"""Layers that join, split, reshape, select and sum values, and layers without a bottom."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import math
from typing import List, Sequence

from oracle.random_nets.draft import Draft, Shape


def protect_memory(d: Draft, bottom: str, tops: Sequence[str]) -> None:
    """Protect the blobs of a layer whose tops are its bottom's memory."""
    d.protected |= {*tops, bottom}


def drop_axis(shape: Shape, axis: int) -> Shape:
    """Return the shape without one of its axes."""
    return shape[:axis] + shape[axis + 1 :]


def Concat(d: Draft) -> None:
    """Add a Concat of one to three blobs."""
    bottom = d.pick()
    shape = d.shapes[bottom]
    axis, text = d.axis(shape)
    bottoms = [bottom]
    for _ in range(d.size(0, 2)):
        fit = [b for b, s in d.shapes.items() if len(s) == len(shape) and b != bottom]
        fit = [b for b in fit if drop_axis(shape, axis) == drop_axis(d.shapes[b], axis)]
        other = (*shape[:axis], d.size(1, 4), *shape[axis + 1 :])
        bottoms.append(d.random.choice(fit) if fit and d.chance(0.7) else d.input(other))
    total = sum(d.shapes[b][axis] for b in bottoms)
    if axis == 1 and d.chance(0.3):
        text = d.random.choice(("", "concat_dim: 1"))
    top = (*shape[:axis], total, *shape[axis + 1 :])
    tops = d.add("Concat", bottoms, [top], "concat_param { %s }" % text)
    if len(bottoms) == 1:
        protect_memory(d, bottom, tops)


def Slice(d: Draft) -> None:
    """Add a Slice into equal parts, or at slice points."""
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
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    tops = d.add("Slice", [bottom], shapes, "slice_param { %s }" % text)
    if len(tops) == 1:
        protect_memory(d, bottom, tops)


def Split(d: Draft) -> None:
    """Add a Split."""
    bottom = d.pick()
    tops = d.add("Split", [bottom], [d.shapes[bottom]] * d.size(1, 3))
    protect_memory(d, bottom, tops)


def Tile(d: Draft) -> None:
    """Add a Tile."""
    bottom = d.pick()
    shape = d.shapes[bottom]
    axis, text = d.axis(shape)
    tiles = d.size(1, 3)
    top = (*shape[:axis], shape[axis] * tiles, *shape[axis + 1 :])
    d.add("Tile", [bottom], [top], "tile_param { %s tiles: %d }" % (text, tiles))


def Eltwise(d: Draft) -> None:
    """Add an Eltwise of two or three blobs."""
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
    fields = "eltwise_param { %s }" % fields
    d.add("Eltwise", bottoms, [shape], fields, protected=operation == "PROD")


def Flatten(d: Draft) -> None:
    """Add a Flatten, unless the bottom belongs to an unrolled net."""
    bottom = d.pick()
    if bottom in d.unrolled:
        return
    shape = d.shapes[bottom]
    first, text = d.axis(shape)
    last = d.random.randrange(first, len(shape))
    top = (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
    text += " end_axis: %d" % (last - len(shape) if d.chance(0.5) else last)
    tops = d.add("Flatten", [bottom], [top], "flatten_param { %s }" % text)
    protect_memory(d, bottom, tops)


def Reshape(d: Draft) -> None:
    """Add a Reshape, unless the bottom belongs to an unrolled net."""
    bottom = d.pick()
    if bottom in d.unrolled:
        return
    shape = d.shapes[bottom]
    axis, fields, replaced = 0, "", list(shape)
    if d.chance(0.3):
        axis = d.size(0, len(shape) - 1)
        replaced, fields = list(shape[axis:]), "axis: %d" % axis
    new = draw_factors(d, math.prod(replaced))
    dims = list(new)
    for i, n in enumerate(new):
        if i < len(replaced) and replaced[i] == n and d.chance(0.4):
            dims[i] = 0
    if d.chance(0.4):
        dims[d.random.randrange(len(dims))] = -1
    fields += " shape { %s }" % " ".join("dim: %d" % n for n in dims)
    top = (*shape[:axis], *new)
    tops = d.add("Reshape", [bottom], [top], "reshape_param { %s }" % fields)
    protect_memory(d, bottom, tops)


def draw_factors(d: Draft, count: int) -> List[int]:
    """Return up to five factors whose product is `count`."""
    factors: List[int] = []
    while count > 1 and len(factors) < 4:
        factor = d.random.choice([f for f in range(1, count + 1) if count % f == 0])
        factors, count = [*factors, factor], count // factor
    return factors + ([count] if count > 1 or not factors else [])


def Reduction(d: Draft) -> None:
    """Add a Reduction."""
    bottom = d.pick()
    shape = d.shapes[bottom]
    axis, text = d.axis(shape)
    operation = d.random.choice(("SUM", "ASUM", "SUMSQ", "MEAN"))
    fields = "%s operation: %s coeff: %s" % (text, operation, d.number(1, 1, 0.5, -2))
    d.add("Reduction", [bottom], [shape[:axis]], "reduction_param { %s }" % fields)


def Softmax(d: Draft) -> None:
    """Add a Softmax."""
    bottom = d.pick()
    shape = d.shapes[bottom]
    _, text = d.axis(shape)
    fields = "softmax_param { %s }" % text
    d.add("Softmax", [bottom], [shape], fields, in_place=0.4, protected=True, positive=True)


def ArgMax(d: Draft) -> None:
    """Add an ArgMax along an axis, or over all values of an item."""
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
    fields = "argmax_param { %s } propagate_down: false" % fields
    d.add("ArgMax", [bottom], [top], fields, hidden=True, gradient=False)


def BatchReindex(d: Draft) -> None:
    """Add a BatchReindex over an input of indices."""
    bottom = d.pick()
    shape = d.shapes[bottom]
    rows = d.size(1, 5)
    index = d.input((rows,), "label %d" % shape[0], "index")
    fields = "propagate_down: %s propagate_down: false" % d.flag(0.8)
    d.add("BatchReindex", [bottom, index], [(rows, *shape[1:])], fields, gradient=False)


def Filter(d: Draft) -> None:
    """Add a Filter of one or two blobs."""
    bottom = d.pick()
    shape = d.shapes[bottom]
    selector = d.input((shape[0],), "label 2", "selector")
    bottoms, tops = [bottom, selector], [shape]
    if d.chance(0.3):
        other = d.input((shape[0], *d.shape(2)))
        bottoms, tops = [bottom, other, selector], [shape, d.shapes[other]]
    fields = " ".join("propagate_down: %s" % f for f in ["true"] * len(tops) + ["false"])
    # The number of rows of the top is known only in forward.
    d.add("Filter", bottoms, tops, fields, hidden=True, gradient=False)


def Parameter(d: Draft) -> None:
    """Add a Parameter."""
    shape = d.shape()
    dims = " ".join("dim: %d" % n for n in shape)
    d.add("Parameter", [], [shape], "parameter_param { shape { %s } }" % dims, gradient=False)


def Silence(d: Draft) -> None:
    """Add a Silence of one or two blobs."""
    d.add("Silence", [d.pick() for _ in range(d.size(1, 2))], [], gradient=False)


def Python(d: Draft) -> None:
    """Add a layer of oracle.python_layers."""
    class_name = d.random.choice(("Cube", "Cube", "Affine", "EuclideanLoss"))
    bottoms = [d.pick()]
    shapes = [d.shapes[bottoms[0]]]
    fields = "python_param { module: 'oracle.python_layers' layer: '%s'" % class_name
    if class_name == "Affine":
        fields += ' param_str: \'{"a": 2, "b": -0.5}\' }' + d.params((1,), (1,))
    elif class_name == "EuclideanLoss":
        bottoms.append(d.input(shapes[0]))
        fields += " } loss_weight: 0.5"
        d.add("Python", bottoms, [(1,)], fields, hidden=True, gradient=False)
        return
    else:
        others = [b for b in d.shapes if b != bottoms[0] and d.shapes[b]]
        bottoms += d.random.sample(others, min(len(others), d.size(0, 1)))
        shapes, fields = [d.shapes[b] for b in bottoms], fields + " }"
    d.add("Python", bottoms, shapes, fields, protected=True)


def DummyData(d: Draft) -> None:
    """Add a DummyData with one or two tops."""
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
    d.add("DummyData", [], shapes, "dummy_data_param { %s }" % "".join(fields), gradient=False)


MAKERS = (
    *(Concat, Slice, Split, Tile, Eltwise, Flatten, Reshape, Reduction, Softmax, ArgMax),
    *(BatchReindex, Filter, Parameter, Silence, Python, DummyData),
)
