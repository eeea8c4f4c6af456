"""Which axes of a net's inputs and blobs have no fixed size: found by reshaping the net."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import CaffeError
from ...layers import EngineLayer
from ...net import Net

Shapes = dict[str, tuple[int, ...]]
#: An axis of an input.
Axis = tuple[str, int]
#: Layer types with tops whose number of rows depends on the values, and the axis of the rows.
ROWS = {"Proposal": 0, "Filter": 0, "DetectionOutput": 2}


@dataclass
class Sizes:
    """The sizes that a net can have.

    axes: for each input, the size of each axis, or its name where it is free.
    trials: the shapes of the inputs at each set of sizes that was tried; the net's own come first.
    shapes: the shapes of all blobs at the first of these.
    free: for each blob, the axes whose sizes differ between the trials.
    """

    axes: dict[str, list[int | str]]
    trials: list[Shapes]
    shapes: Shapes
    free: dict[str, frozenset[int]]


def outputs_of(net: Net) -> list[str]:
    """Return a net's outputs, except inputs that no layer reads, which a model does not return."""
    read = {bottom for bottoms in net.bottom_names.values() for bottom in bottoms}
    return [top for top in net.outputs if top not in net.inputs or top in read]


def find_sizes(net: Net, fixed: bool = False) -> Sizes:
    """Return the sizes for which a net can be reshaped; with `fixed` its present ones alone.

    Heights and widths change together, then each axis by itself. The net has its own sizes again
    afterwards.
    """
    start = _shapes(net, net.inputs)
    free: list[list[Axis]] = []
    trials: list[tuple[Shapes, Shapes]] = []
    first = _shapes(net, net.blobs)
    for groups in () if fixed else _attempts(_groups(start)):
        free_now = [*free, *(group for group in groups if group not in free)]
        if len(free_now) > len(free):
            results = _reshape_to(net, start, free_now)
            if results:
                free, trials = free_now, results
    try_shape(net, start)
    names = {
        axis: _name(group, net.inputs[0], len(start[group[0][0]]))
        for group in free
        for axis in group
    }
    axes = {
        name: [names.get((name, i), n) for i, n in enumerate(shape)]
        for name, shape in start.items()
    }
    changes = {
        blob: {i for _, at in trials for i, n in enumerate(at[blob]) if shape[i] != n}
        for blob, shape in first.items()
    }
    _add_rows(net, changes)
    frozen = {blob: frozenset(axes) for blob, axes in changes.items()}
    return Sizes(axes, [start, *(inputs for inputs, _ in trials)], first, frozen)


def try_shape(net: Net, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Give the inputs these shapes and reshape the net; return whether all layers take them."""
    try:
        for name, shape in shapes.items():
            net.blobs[name].reshape(*shape)
        net.reshape()
    except CaffeError:
        return False
    return True


def _shapes(net: Net, names: Iterable[str]) -> Shapes:
    return {name: tuple(net.blobs[name].shape) for name in names}


def _groups(inputs: Shapes) -> list[list[Axis]]:
    """Return the axes that may be free. Axes with one number and one size are free together."""
    groups: dict[tuple[int, int], list[Axis]] = {}
    for name, shape in inputs.items():
        for i, size in enumerate(shape):
            if i == 0 or (i >= 2 and len(shape) >= 4):
                groups.setdefault((i, size), []).append((name, i))
    return list(groups.values())


def _attempts(groups: list[list[Axis]]) -> list[list[list[Axis]]]:
    """Return the groups to try: all, all heights and widths, then one at a time."""
    spatial = [group for group in groups if group[0][1] >= 2]
    return [groups, spatial, *([group] for group in groups)]


def _reshape_to(net: Net, start: Shapes, free: list[list[Axis]]) -> list[tuple[Shapes, Shapes]]:
    """Return the shapes of inputs and of all blobs at each set of sizes that the net takes."""
    results = []
    for change in range(3):
        shapes = {name: list(shape) for name, shape in start.items()}
        for name, axis in (axis for group in free for axis in group):
            size = start[name][axis]
            # Twice the size changes the smallest map, 32 keeps the remainders of most strides.
            grown = (size + 32, 2 * size, max(size - size // 4, 1))
            shapes[name][axis] = grown[change] if axis else size + 1
        if try_shape(net, shapes):
            results.append(({n: tuple(s) for n, s in shapes.items()}, _shapes(net, net.blobs)))
    return results


def _name(group: list[Axis], first: str, axes: int) -> str:
    """Return the name of a free axis: "batch", or the name of its first input with the axis.

    first: the net's first input. axes: the number of axes of the input.
    """
    blob, axis = group[0]
    if axis == 0:
        return "batch" if blob == first else f"{blob}_rows"
    names = {4: ("height", "width"), 5: ("length", "height", "width")}.get(axes, ())
    return f"{blob}_{names[axis - 2] if names else f'axis{axis}'}"


def type_of(layer: Any) -> str:
    """Return a layer's type; its class where the engine's own layer stands for a Python layer."""
    stands_in = layer.type == "Python" and isinstance(layer, EngineLayer)
    return type(layer).__name__ if stands_in else layer.type


def _add_rows(net: Net, free: dict[str, set[int]]) -> None:
    """Mark the axes whose sizes depend on values, and the first axis of all blobs behind them."""
    rows: set[str] = set()
    for name, layer in net.layer_dict.items():
        tops = net.top_names[name]
        layer_type = type_of(layer)
        if layer_type in ROWS:
            for top in tops:
                free[top].add(ROWS[layer_type])
        if layer_type in ("Proposal", "Filter") or rows & set(net.bottom_names[name]):
            rows.update(tops)
            for top in tops:
                if net.blobs[top].shape:
                    free[top].add(0)
