"""Successive calls of the C library, such as convolutions, made by one call of the library.

A convolution displaces Python's code and data from the cache. To fetch them again for the next call
takes a tenth of the time of a small convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ..native import library
from ..native.structures import CALL
from . import jobs, prepared

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


class Chain:
    """Successive links that the C library computes, on maps of one type."""

    def __init__(self, links: Sequence[Link], calls: Sequence[jobs.Operation]) -> None:
        self._links, self._native = links, calls
        outputs = {link.outputs[0] for link in links}
        #: The values that other links give, by number and layout, and how they are read.
        self._sources: dict[tuple[int, torch.memory_format], Reader] = {}
        for link, call in zip(links, calls):
            for i, layout, read in _inputs(link, call):
                if i not in outputs:
                    self._sources.setdefault((i, layout), read)
        self._unused = [value for link in links for value in link.unused]
        self._threads = 0

    def run(self, values: Values) -> None:
        """Compute the values that the links give."""
        if self._threads != torch.get_num_threads():
            self._bind()
        maps = [read(values[i]) for (i, _), read in self._sources.items()]
        for link, call in zip(self._links, self._native):
            values[link.outputs[0]] = top = call.empty_top()
            maps.append(top)
        addresses = np.array([x.data_ptr() for x in maps], np.uint64)
        self._words[self._places] = addresses[self._numbers] + self._offsets
        team = jobs.team(self._threads, self._scratch_values)
        if self._run(self._calls.ctypes.data, len(self._calls), team) < len(self._calls):
            # A result is not finite.
            for link in self._links:
                link.run(values)
            return
        for value in self._unused:
            values[value] = None

    def _bind(self) -> None:
        """Concatenate the jobs of all links, and record the words that hold addresses of maps."""
        self._threads = torch.get_num_threads()
        self._run = library.required().run_calls
        tables = [call.jobs() for call in self._native]
        self._scratch_values = max(call.scratch_values for call in self._native)
        self._words = np.concatenate([table.view(np.uint64) for table in tables])
        self._calls = np.zeros(len(tables), CALL)
        numbers = {source: i for i, source in enumerate(self._sources)}
        places: list[tuple[int, int, int]] = []
        start = 0
        for i, (link, call, table) in enumerate(zip(self._links, self._native, tables)):
            words = {name: field[1] // 8 for name, field in (table.dtype.fields or {}).items()}
            inputs = [numbers[value, layout] for value, layout, _ in _inputs(link, call)]
            y = numbers[link.outputs[0], torch.channels_last] = len(self._sources) + i
            maps = dict(zip(("x", "other"), inputs), y=y)
            jobs_address = self._words.ctypes.data + 8 * start
            self._calls[i] = call.function, jobs_address, len(table)
            for job in range(len(table)):
                offsets = {"x": 0 if call.x_offsets is None else int(call.x_offsets[job])}
                places += [(start + words[k], n, offsets.get(k, 0)) for k, n in maps.items()]
                start += table.itemsize // 8
        self._places, self._numbers, bytes_on = np.array(places).T
        self._offsets = bytes_on.astype(np.uint64)


def joined(links: Sequence[Link]) -> list[Link | Chain]:
    """Return the links in their order, with successive links of the C library as one chain."""
    result: list[Link | Chain] = []
    row: list[tuple[Link, jobs.Operation]] = []

    def end_row() -> None:
        if len(row) > 1:
            result.append(Chain([link for link, _ in row], [call for _, call in row]))
        else:
            result.extend(link for link, _ in row)
        row.clear()

    for link in links:
        call = prepared.fused(link.call)
        if call is None or (row and row[0][1].dtype != call.dtype):
            end_row()
        if call is None:
            result.append(link)
        else:
            row.append((link, call))
    end_row()
    return result
