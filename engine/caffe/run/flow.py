"""How values flow through a run of pure layers, and which layers become one call.

A layer that works in place gives its blob another value. `Flow` numbers the values, so that each is
computed once; `groups` finds the layers that a convolution can compute on the way: a BatchNorm and
a Scale in inference, which multiply each channel and add to it, the sum with another map, a ReLU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..layers import Function
from ..layers.activation import ReLU
from ..layers.convolution import Convolution
from ..layers.join import Eltwise
from ..layers.views import View
from ..memory import Memory, MemoryView
from .wiring import Node, Wiring

AnyMemory = Memory | MemoryView
#: The least groups in a row that become one. A graph of two convolutions saves less than 0.1 ms.
LEAST_JOINED = 3


class Flow:
    """The values that a run of layers reads and computes, by number.

    nodes: the layers, without those whose tops are their bottom under other names. inputs, outputs:
    for each of them, the values of its bottoms and of its tops. sources: the blobs that are read
    and not computed before, with their values. count: the number of values.
    readers: for each value, the layers that read it, by place in `nodes`. maker: for each value,
    the layer that computes it; sources have none.
    final: for each memory that is written, its last value; a view's memory is that of its bottom.
    blobs: for each such value, the blobs that have it.
    """

    def __init__(self, wiring: Wiring, nodes: Sequence[Node]) -> None:
        self.nodes: list[Node] = []
        self.inputs: list[tuple[int, ...]] = []
        self.outputs: list[tuple[int, ...]] = []
        self.sources: list[tuple[int, int]] = []
        self.readers: list[list[int]] = []
        self.maker: dict[int, int] = {}
        self.final: dict[AnyMemory, int] = {}
        self.blobs: dict[int, set[int]] = {}
        self._wiring = wiring
        present: dict[AnyMemory, int] = {}
        for node in nodes:
            if node.copies:
                continue
            place = len(self.nodes)
            self.nodes.append(node)
            self.inputs.append(tuple(self._read(b, place, present) for b in node.bottoms))
            self.outputs.append(tuple(self._write(t, place, present) for t in node.tops))
        for node in nodes:
            for b in (*node.bottoms, *node.tops):
                value = self.final.get(self._memory(b))
                if value is not None:
                    self.blobs.setdefault(value, set()).add(b)

    @property
    def count(self) -> int:
        """The number of values."""
        return len(self.readers)

    def _memory(self, blob: int) -> AnyMemory:
        return self._wiring.blobs[blob].values

    def _new_value(self) -> int:
        self.readers.append([])
        return self.count - 1

    def _read(self, blob: int, place: int, present: dict[AnyMemory, int]) -> int:
        memory = self._memory(blob)
        if memory not in present:
            present[memory] = self._new_value()
            self.sources.append((present[memory], blob))
        value = present[memory]
        self.readers[value].append(place)
        return value

    def _write(self, blob: int, place: int, present: dict[AnyMemory, int]) -> int:
        value = self._new_value()
        present[self._memory(blob)] = value
        if not isinstance(self.nodes[place].layer, View):
            self.final[self._memory(blob)] = value
        self.maker[value] = place
        return value

    def is_final(self, value: int) -> bool:
        """Return whether a blob has this value when all layers have run."""
        return value in self.blobs

    def only_reader(self, value: int) -> int | None:
        """Return the place of the one layer that reads a value, None for more or fewer."""
        readers = self.readers[value]
        return readers[0] if len(readers) == 1 else None


class Group(NamedTuple):
    """Layers that one call computes.

    places: of the layers in the flow, in order. inputs, outputs: the values that the call reads and
    computes. hidden: values of blobs that the call leaves out, each with the number of the group's
    first layers that compute it. parts: the groups that are joined, none for other groups.
    is_graph: whether a graph of oneDNN computes the parts; else the C library does, in one call.
    """

    places: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    hidden: tuple[tuple[int, int], ...] = ()
    parts: tuple[Group, ...] = ()
    is_graph: bool = False


def groups(flow: Flow, keeps: Callable[[int], bool], fuses: Callable[[Node], bool]) -> list[Group]:
    """Return the layers of a flow in groups, in the order in which they run.

    keeps: whether a value is needed, because somebody holds its blob or has asked for it.
    fuses: whether a layer may be computed together with others.
    """
    result: list[Group] = []
    used: set[int] = set()
    for place, node in enumerate(flow.nodes):
        if place in used:
            continue
        chain = Chain(flow, place)
        if isinstance(node.layer, Convolution) and len(node.tops) == 1 and fuses(node):
            while chain.extend(keeps, fuses):
                pass
        used.update(chain.places)
        result.append(chain.group())
    return result


def join(
    flow: Flow,
    groups: Sequence[Group],
    keeps: Callable[[int], bool],
    joins: Callable[[Group], bool],
    pays: Callable[[Group], bool] | None = None,
) -> list[Group]:
    """Return the groups, with those in a row that one call can compute as one group.

    keeps: as in `groups`. joins: whether one call can compute a group with others. pays: whether a
    graph is the fastest way to compute a group, if the call is one of a graph; a row has such a
    group.
    """
    result: list[Group] = []
    row: list[Group] = []

    def end_row() -> None:
        joined = len(row) >= LEAST_JOINED and (pays is None or any(pays(group) for group in row))
        result.extend([_joined(flow, row, keeps, pays is not None)] if joined else row)
        row.clear()

    for group in groups:
        if not group.parts and joins(group):
            row.append(group)
            continue
        end_row()
        result.append(group)
    end_row()
    return result


def _joined(
    flow: Flow, row: Sequence[Group], keeps: Callable[[int], bool], is_graph: bool
) -> Group:
    """Return several groups as one, which computes only the values that others need."""
    computed = {value for group in row for value in group.outputs}
    inside = {place for group in row for place in group.places}
    inputs = dict.fromkeys(v for group in row for v in group.inputs if v not in computed)
    places: list[int] = []
    outputs: list[int] = []
    hidden: list[tuple[int, int]] = []
    for group in row:
        hidden.extend((value, len(places) + count) for value, count in group.hidden)
        places.extend(group.places)
        for value in group.outputs:
            readers = flow.readers[value]
            if keeps(value) or not readers or not inside.issuperset(readers):
                outputs.append(value)
            elif flow.is_final(value):
                hidden.append((value, len(places)))
    values = tuple(inputs), tuple(outputs), tuple(hidden)
    return Group(tuple(places), *values, tuple(row), is_graph)


class Chain:
    """A layer and those that follow it into one group."""

    def __init__(self, flow: Flow, place: int) -> None:
        self._flow, self._place = flow, place
        self.places = [place]
        self._inputs, self._outputs = list(flow.inputs[place]), flow.outputs[place]
        self._hidden: list[tuple[int, int]] = []
        self._adds = False

    def group(self) -> Group:
        """Return the group as far as it has been extended."""
        return Group(tuple(self.places), tuple(self._inputs), self._outputs, tuple(self._hidden))

    def extend(self, keeps: Callable[[int], bool], fuses: Callable[[Node], bool]) -> bool:
        """Add the next layer if it can be computed with the group; return whether it was added.

        A group ends with its first ReLU.
        """
        flow, (value,) = self._flow, self._outputs
        reader = flow.only_reader(value)
        if isinstance(flow.nodes[self.places[-1]].layer, ReLU) or reader is None or keeps(value):
            return False
        if not fuses(flow.nodes[reader]) or not self._takes(reader, value):
            return False
        if flow.is_final(value):
            self._hidden.append((value, len(self.places)))
        self.places.append(reader)
        self._outputs = flow.outputs[reader]
        return True

    def _takes(self, reader: int, value: int) -> bool:
        """Return whether the convolution can compute this reader; note the map that a sum adds."""
        flow = self._flow
        layer = flow.nodes[reader].layer
        if isinstance(layer, ReLU):
            return True
        if isinstance(layer, Eltwise):
            others = [v for v in flow.inputs[reader] if v != value]
            if not layer.is_sum() or len(others) != 1 or self._adds:
                return False
            if flow.maker.get(others[0], -1) >= self._place:
                return False
            self._inputs += others
            self._adds = True
            return True
        if self._adds or not isinstance(layer, Function) or len(flow.inputs[reader]) != 1:
            return False
        return layer.channel_affine((1, layer_channels(flow.nodes[self._place]), 1, 1)) is not None


def layer_channels(node: Node) -> int:
    """Return the channels of a convolution's top."""
    return int(node.param.convolution_param.num_output)
