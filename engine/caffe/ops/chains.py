"""Convolutions of the C library that follow each other, in one call of the library.

During a convolution, Python's own code and data leave the cache. Fetching them again for the next
call takes as long as a tenth of a small convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ..native import library
from ..native.structures import CALL, WORDS
from . import jobs, prepared

#: What arranges a map as the C library reads it.
Reader = Callable[[torch.Tensor], torch.Tensor]
#: The values of a pass by number; None where a value is not computed yet, or not needed any more.
Values = list[Any]


class Link(NamedTuple):
    """One call of a pass.

    inputs, outputs: the numbers of the values that it reads and gives. unused: those of the values
    that no later call needs.
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


class Chain:
    """Several links whose calls are convolutions of the C library of maps of one type."""

    def __init__(self, links: Sequence[Link], convolutions: Sequence[jobs.Convolution]) -> None:
        self._links, self._convolutions = links, convolutions
        outputs = {link.outputs[0] for link in links}
        #: The values that other links give, and how the first convolution that has each reads it.
        self._sources: list[tuple[int, Reader]] = []
        for link, convolution in zip(links, convolutions):
            for i, read in zip(link.inputs, (convolution.bottom, convolution.addend)):
                if i not in outputs and i not in [source for source, _ in self._sources]:
                    self._sources.append((i, read))
        self._unused = [value for link in links for value in link.unused]
        self._threads = 0

    def run(self, values: Values) -> None:
        """Compute the values that the links give."""
        if self._threads != torch.get_num_threads():
            self._bind()
        maps = [read(values[i]) for i, read in self._sources]
        for link, convolution in zip(self._links, self._convolutions):
            values[link.outputs[0]] = top = convolution.empty_top()
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
        """Put the jobs of all convolutions one behind the other, and note where addresses belong.

        The addresses are those of the sources and of the outputs.
        """
        native = library.load()
        assert native is not None
        self._threads = torch.get_num_threads()
        self._run = native.run_calls
        tables = [convolution.jobs() for convolution in self._convolutions]
        self._scratch_values = max(c.scratch_values for c in self._convolutions)
        self._words = np.concatenate([table.view(np.uint64) for table in tables])
        self._calls = np.zeros(len(tables), CALL)
        numbers = {value: i for i, value in enumerate(source for source, _ in self._sources)}
        places: list[tuple[int, int, int]] = []
        start = 0
        for i, (link, table) in enumerate(zip(self._links, tables)):
            y = numbers[link.outputs[0]] = len(self._sources) + i
            maps = dict(zip(("x", "other"), [numbers[value] for value in link.inputs]), y=y)
            jobs_address = self._words.ctypes.data + 8 * start
            self._calls[i] = self._convolutions[i].function, jobs_address, len(table)
            for job in range(len(table)):
                offsets = {"x": int(self._convolutions[i].x_offsets[job])}
                places += [(start + WORDS[k], n, offsets.get(k, 0)) for k, n in maps.items()]
                start += table.itemsize // 8
        self._places, self._numbers, bytes_on = np.array(places).T
        self._offsets = bytes_on.astype(np.uint64)


def joined(links: Sequence[Link]) -> list[Link | Chain]:
    """Return the links in their order, with convolutions of the C library in a row as chains."""
    result: list[Link | Chain] = []
    row: list[tuple[Link, jobs.Convolution]] = []

    def end_row() -> None:
        if len(row) > 1:
            result.append(Chain([link for link, _ in row], [convolution for _, convolution in row]))
        else:
            result.extend(link for link, _ in row)
        row.clear()

    for link in links:
        convolution = prepared.fused(link.call)
        if convolution is None or (row and row[0][1].dtype != convolution.dtype):
            end_row()
        if convolution is None:
            result.append(link)
        else:
            row.append((link, convolution))
    end_row()
    return result
