"""Joins successive instructions into one call of the C library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from . import library
from .endings import ended
from .instructions import ZERO, Call, Instruction
from .library import Library
from .records import Record, UnencodableError, address, scratch_size, table

#: The addresses of values that are always 0.
ZEROS = frozenset({address(ZERO)})


class NativeRun:
    """Instructions as one call of the C library.

    If the library refuses the values of an instruction, such as a label that is not a class, the
    instruction's own calls compute it or raise the error. The library then continues with the next
    instruction.

    parts: the instructions, each with its records.
    """

    def __init__(self, library: Library, parts: Sequence[tuple[Instruction, list[Record]]]) -> None:
        self.parts = tuple(parts)
        records = [record for _, part in parts for record in part]
        #: The instruction of each record, which keeps alive the arrays that the record names.
        self._owners = [instruction for instruction, part in parts for _ in part]
        self._records = table(records)
        self._scratch = np.zeros(max(1, scratch_size(records)), np.float32)
        self._run, self._count = library.run, len(records)
        self._start, self._memory = self._records.ctypes.data, self._scratch.ctypes.data
        self._call = partial(self._run, self._start, self._count, self._memory)

    def __call__(self) -> None:
        """Run all instructions."""
        done = self._call()
        while done < self._count:
            owner = self._owners[done]
            with np.errstate(all="ignore"):
                owner()
            while done < self._count and self._owners[done] is owner:
                done += 1
            start = self._start + done * self._records.itemsize
            done += self._run(start, self._count - done, self._memory)


def join(calls: Sequence[Call]) -> NativeRun | None:
    """Return several calls of the C library as one; None if one of them is another call."""
    native = library.load()
    runs = [call for call in calls if isinstance(call, NativeRun)]
    if native is None or len(runs) < len(calls):
        return None
    return NativeRun(native, [part for run in runs for part in run.parts])


def link(calls: Iterable[Call | Instruction]) -> list[Call]:
    """Return equal calls in which successive instructions are one call of the C library."""
    native = library.load()
    result: list[Call] = []
    parts: list[tuple[Instruction, list[Record]]] = []

    def end_run() -> None:
        if native is not None and parts:
            result.append(NativeRun(native, _with_endings(parts)))
        parts.clear()

    for call in calls:
        if not isinstance(call, Instruction):
            end_run()
            result.append(call)
            continue
        records = None if native is None else _records(call)
        if records is None:
            end_run()
            result.extend(call.calls)
        else:
            parts.append((call, records))
    end_run()
    return result


def _with_endings(
    parts: Sequence[tuple[Instruction, list[Record]]],
) -> list[tuple[Instruction, list[Record]]]:
    """Return the instructions with products that include the operations of later instructions.

    A later instruction stays without records, because it keeps its arrays alive.
    """
    result: list[tuple[Instruction, list[Record]]] = []
    for instruction, records in parts:
        before = next((i for i in reversed(range(len(result))) if result[i][1]), None)
        if before is not None and len(records) == 1:
            owner, earlier = result[before]
            product = ended(earlier[-1], records[0], ZEROS)
            if product is not None:
                result[before], records = (owner, [*earlier[:-1], product]), []
        result.append((instruction, records))
    return result


def _records(instruction: Instruction) -> list[Record] | None:
    """Return the records of an instruction, None if there are none."""
    try:
        return instruction.encode()
    except UnencodableError:
        return None
