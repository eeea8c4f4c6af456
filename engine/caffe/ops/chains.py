"""Successive calls of the C library, such as convolutions, made by one call of the library.

A convolution displaces Python's code and data from the cache. To fetch them again for the next call
takes a tenth of the time of a small convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from .. import heap
from ..native import library
from ..native.structures import CALL
from . import bands, graphs, jobs, prepared
from .rooms import Rooms

#: Bytes of a block up to which the chains of a thread, which run one after the other, share it.
LARGE_BLOCK = 16 << 20
#: A function that returns a map in the layout and the type that the C library reads.
Reader = Callable[[torch.Tensor], torch.Tensor]
#: The values of a pass by number; None where a value is not computed yet, or not needed any more.
Values = list[Any]


class Link(NamedTuple):
    """One call of a pass.

    inputs, outputs: the numbers of the values that the call reads and computes. unused: the numbers
    of the values that no later call reads.
    """

    call: Callable[..., Any]
    inputs: Sequence[int]
    outputs: Sequence[int]
    unused: Sequence[int]

    def layouts(self, value: int) -> set[torch.memory_format | None]:
        """Return the layouts in which the call reads a map; None stands for any."""
        if value not in self.inputs:
            return set()
        operation = prepared.fused(self.call)
        if operation is not None:
            return {layout for i, layout, _ in _inputs(self, operation) if i == value}
        return {torch.channels_last if isinstance(self.call, graphs.Graph) else None}

    def run(self, values: Values) -> None:
        """Compute the values that the call gives."""
        y = self.call(*[values[i] for i in self.inputs])
        if isinstance(y, torch.Tensor):
            values[self.outputs[0]] = y
        else:
            for value, top in zip(self.outputs, y):
                values[value] = top
        for value in self.unused:
            values[value] = None


def _inputs(link: Link, call: jobs.Operation) -> list[tuple[int, torch.memory_format, Reader]]:
    """Return the values that a link reads, their layouts, and what arranges them so."""
    layouts, readers = (call.layout, torch.channels_last), (call.bottom, call.addend)
    return list(zip(link.inputs, layouts, readers))


class Place(NamedTuple):
    """The bytes that a value has in a block of memory."""

    start: int
    end: int


def places(links: Sequence[Link], sizes: Sequence[int]) -> dict[int, Place]:
    """Return places in one block for the values that links give and that no later call reads.

    sizes: the bytes of each link's result. A result gets the first place that is free while the
    result is needed, so that results share memory, but never with what their call reads.
    """
    last = {value: i for i, link in enumerate(links) for value in link.unused}
    result: dict[int, Place] = {}
    ends: list[tuple[int, Place]] = []
    for i, (link, size) in enumerate(zip(links, sizes)):
        (value,) = link.outputs
        if value not in last:
            continue
        start = 0
        for other in sorted(place for end, place in ends if end >= i):
            if other.start - start >= size:
                break
            start = max(start, other.end)
        result[value] = Place(start, start + math.ceil(size / heap.ALIGNMENT) * heap.ALIGNMENT)
        ends.append((last[value], result[value]))
    return result


_rooms = Rooms()


class Chain:
    """Successive links that the C library computes, on maps of one type.

    Values that no later call reads are in one block of memory, where they take the places of values
    that are not needed any more. So the maps stay in the cache. Autograd does not see the calls.
    """

    def __init__(self, links: Sequence[Link], calls: Sequence[jobs.Operation]) -> None:
        self._links, self._native = links, calls
        outputs = {link.outputs[0] for link in links}
        #: The values that other links give, by number and layout, and how they are read.
        self._sources: dict[tuple[int, torch.memory_format], Reader] = {}
        for link, call in zip(links, calls):
            for i, layout, read in _inputs(link, call):
                if i not in outputs:
                    self._sources.setdefault((i, layout), read)
        self._readers = [(i, read) for (i, _), read in self._sources.items()]
        unused = [value for link in links for value in link.unused]
        self._dropped = [value for value in unused if value not in outputs]
        self._inner = places(links, [call.top_bytes for call in calls])
        self._size = max((place.end for place in self._inner.values()), default=0)
        #: The values that later calls read, and what allocates them.
        self._kept = [
            (link.outputs[0], call.empty_top)
            for link, call in zip(links, calls)
            if link.outputs[0] not in self._inner
        ]
        #: The values that the chain leaves.
        self.results = frozenset(value for value, _ in self._kept)
        self._threads = 0
        #: Where the block and the maps of the last pass were, to which the jobs refer.
        self._starts: list[int] = []

    def layouts(self, value: int) -> set[torch.memory_format | None]:
        """Return the layouts in which the links read a map that they do not compute."""
        return {layout for i, layout in self._sources if i == value}

    def run(self, values: Values) -> bool:
        """Compute the values that the links give, but not those that no later call reads.

        A value that is there already, from an earlier run, is replaced in its memory. Return False
        where a result was not finite: then all values are new.
        """
        if self._threads != torch.get_num_threads():
            self._bind()
        maps = [read(values[i]) for i, read in self._readers]
        for value, empty_top in self._kept:
            if values[value] is None:
                values[value] = empty_top()
            maps.append(values[value])
        if self._size > LARGE_BLOCK:
            block = heap.empty((self._size,), torch.uint8, torch.contiguous_format)
            start = block.data_ptr()
        else:
            start = _rooms.address("block", self._size // torch.float32.itemsize)
        starts = [start, *[x.data_ptr() for x in maps]]
        if starts != self._starts:
            self._move(starts)
        team = jobs.team(self._threads, self._scratch_values)
        if self._run(self._address, self._count, team) < self._count:
            with torch.no_grad():
                for link in self._links:
                    link.run(values)
            return False
        for value in self._dropped:
            values[value] = None
        return True

    def _move(self, starts: list[int]) -> None:
        """Write the addresses of the block and of the maps that have moved to the jobs."""
        for start, before, (words, offsets) in zip(starts, self._starts, self._uses):
            if start != before:
                self._words[words] = offsets + np.uint64(start)
        self._starts = starts

    def _numbered(self) -> dict[tuple[int, torch.memory_format], tuple[int, int]]:
        """Return the address at which a value lies: its number in `run`, and the bytes from it."""
        result = {source: (i, 0) for i, source in enumerate(self._sources, 1)}
        for i, (value, _) in enumerate(self._kept, len(self._sources) + 1):
            result[value, torch.channels_last] = i, 0
        for value, place in self._inner.items():
            result[value, torch.channels_last] = 0, place.start
        return result

    def _bind(self) -> None:
        """Concatenate the jobs of all links, and record the words that hold addresses of maps."""
        self._threads = torch.get_num_threads()
        self._run = library.required().run_calls
        tables = [call.jobs() for call in self._native]
        self._scratch_values = max(call.scratch_values for call in self._native)
        self._words = np.concatenate([table.view(np.uint64) for table in tables])
        self._calls = np.zeros(len(tables), CALL)
        self._address, self._count = self._calls.ctypes.data, len(tables)
        numbers, targets = self._numbered(), []
        start = 0
        for i, (link, call, table) in enumerate(zip(self._links, self._native, tables)):
            words = {name: field[1] // 8 for name, field in (table.dtype.fields or {}).items()}
            inputs = [numbers[value, layout] for value, layout, _ in _inputs(link, call)]
            maps = dict(
                zip(("x", "other"), inputs), y=numbers[link.outputs[0], torch.channels_last]
            )
            jobs_address = self._words.ctypes.data + 8 * start
            self._calls[i] = call.function, jobs_address, len(table)
            for job in range(len(table)):
                group = 0 if call.x_offsets is None else int(call.x_offsets[job])
                for name, (number, offset) in maps.items():
                    begin = offset + group if name == "x" else offset
                    targets.append((start + words[name], number, begin))
                start += table.itemsize // 8
        places, of, offsets = np.array(targets).T
        count = 1 + len(self._sources) + len(self._kept)
        #: For the block and each map: the words that hold an address in it, and the bytes from it.
        self._uses = [
            (places[of == number], offsets[of == number].astype(np.uint64))
            for number in range(count)
        ]
        self._starts = [-1] * count


def banded(
    links: Sequence[Link], calls: Sequence[jobs.Operation]
) -> tuple[list[Link], list[jobs.Operation]]:
    """Return links and their calls, with convolutions in a row as one where bands are faster."""
    result: list[tuple[Link, jobs.Operation]] = []
    row: list[tuple[Link, bands.Stage]] = []

    def end_row() -> None:
        stages = [stage for _, stage in row]
        if len(row) > 1 and bands.pays(stages):
            band = bands.Band(stages)
            result.append((_as_one([link for link, _ in row], band), band))
        else:
            result.extend(row)
        row.clear()

    for link, call in zip(links, calls):
        if row and not _follows(link, row[-1][0]):
            end_row()
        stage = bands.stage(call, not row)
        if stage is None or bands.is_long([*(before for _, before in row), stage]):
            end_row()
            stage = bands.stage(call, True)
        if stage is None:
            result.append((link, call))
        else:
            row.append((link, stage))
    end_row()
    return [link for link, _ in result], [call for _, call in result]


def _follows(link: Link, before: Link) -> bool:
    """Return whether a band can have a link after another, whose result only the link reads.

    The link reads the result once: no complete map of the result exists that the link could add.
    Only the last link of a band may add a value.
    """
    (value,) = before.outputs
    reads_once = link.inputs[0] == value and value not in link.inputs[1:]
    return len(before.inputs) == 1 and reads_once and value in link.unused


def _as_one(links: Sequence[Link], call: Callable[..., Any]) -> Link:
    """Return the link of a call that computes what successive links compute."""
    inputs = [links[0].inputs[0], *links[-1].inputs[1:]]
    unused = [value for link in links for value in link.unused if value in inputs]
    return Link(call, inputs, links[-1].outputs, unused)


def _continues(
    row: Sequence[tuple[Link, jobs.Operation]], link: Link, call: jobs.Operation
) -> bool:
    """Return whether a call may be in a chain after others, whose results have channels last."""
    results = [before.outputs[0] for before, _ in row]
    fits = call.layout == torch.channels_last or link.inputs[0] not in results
    return fits and row[0][1].dtype == call.dtype


def joined(links: Sequence[Link]) -> list[Link | Chain]:
    """Return the links in their order, with successive links of the C library as one chain."""
    result: list[Link | Chain] = []
    row: list[tuple[Link, jobs.Operation]] = []

    def end_row() -> None:
        if len(row) > 1:
            result.append(Chain(*banded([link for link, _ in row], [call for _, call in row])))
        else:
            result.extend(link for link, _ in row)
        row.clear()

    for link in links:
        call = prepared.fused(link.call)
        if call is None or (row and not _continues(row, link, call)):
            end_row()
        if call is None:
            result.append(link)
        else:
            row.append((link, call))
    end_row()
    return result
