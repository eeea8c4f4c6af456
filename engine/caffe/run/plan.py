"""Plans: inference on the CPU with the decisions made once for the shapes of the inputs.

A plan cuts a net into segments. Layers that are functions of their bottoms and parameters, one
after the other, are a segment, which runs as a `Program`: a list of calls. All other layers, such
as data layers and layers in Python, run one by one between the segments.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch

from .. import lazy, mode
from ..layers import Function
from ..layers.source import Input
from ..layers.views import View
from ..memory import Memory, MemoryView
from . import single
from .arrays import MOST_VALUES, ArrayProgram, ArrayPrograms
from .program import Program
from .wiring import Node, Wiring

#: Programs of a segment that are kept, for inputs of different shapes.
PROGRAMS = 32
#: Passes with the same weights and shapes before the convolutions become graphs. Compiling takes as
#: long as 7 passes of ResNet-50 and saves 8 % of each pass; 13 and 27 % for MobileNet v2.
BEFORE_GRAPHS = 16
#: Values of all blobs of a pass up to which their memory is not freed before the next pass.
SMALL = 1 << 18


def is_small(values: Sequence[int | None]) -> bool:
    """Return whether segments are too small for freeing their values to pay.

    values: the number of values of each segment, None if unknown.
    """
    return bool(values) and None not in values and sum(filter(None, values)) < SMALL


class Rebuild(NamedTuple):
    """How a program is built anew. native: as for `Program`."""

    native: frozenset[tuple[int, ...]] | None = None


class Segment:
    """Layers, one after the other, that run as a program."""

    def __init__(self, wiring: Wiring, nodes: Sequence[Node], requested: set[int]) -> None:
        self.nodes = nodes
        self._wiring, self._requested = wiring, requested
        written: set[int] = set()
        sources: dict[int, None] = {}
        for node in nodes:
            sources.update(dict.fromkeys(b for b in node.bottoms if b not in written))
            written.update(node.tops)
        self._sources = [wiring.blobs[b] for b in sources]
        self._programs: OrderedDict[object, Program] = OrderedDict()
        has_views = any(isinstance(node.layer, View) for node in nodes)
        self._small = None if has_views else ArrayPrograms(wiring, nodes, learns=False)
        self.last: Program | ArrayProgram | None = None
        #: The places of the layers in graphs that cannot be used.
        self._refused: frozenset[int] = frozenset()
        #: The precision in which the programs compute.
        self._dtype = torch.float32

    def run(self) -> bool:
        """Run the layers; False, without a result, for values of a lower precision than the mode's.

        Small layers compute in float32 in any precision, which is faster.
        """
        key, dtype = tuple([blob.values.shape for blob in self._sources]), mode.low_dtype()
        if self._small is not None and self._is_for_small(dtype) and self._small.forward(key):
            self.last = self._small.last
            return True
        program = self._program(key, dtype)
        sources = program.sources()
        if dtype == torch.float32 and any(t.dtype != dtype for t in sources):
            return False
        program.run(sources)
        return True

    def _is_for_small(self, dtype: torch.dtype) -> bool:
        """Return whether to try bound calls: not for many weights in lower precision.

        Such weights are rounded while they are read from their file.
        """
        if dtype == torch.float32 or isinstance(self.last, ArrayProgram):
            return True
        most = lazy.LARGE // torch.float32.itemsize
        return all(b.count < most for node in self.nodes for b in node.layer.blobs)

    def _program(self, key: object, dtype: torch.dtype) -> Program:
        """Return the program for the present shapes, which are the key, precision and weights."""
        if dtype != self._dtype:  # the weights of the other precision need not stay in memory
            self.close()
            self.last = None
            self._programs.clear()
            self._dtype, self._refused = dtype, frozenset()
        rebuild = self._rebuild(key)
        self.last = self._programs[key] if rebuild is None else self._new_program(key, rebuild)
        return self.last

    def _rebuild(self, key: object) -> Rebuild | None:
        """Return how the program for a key is built anew; None if the present one is to run."""
        program = self._programs.get(key)
        if program is None or not program.fits() or not program.prepare():
            return Rebuild()
        if not _is_to_regroup(program):
            return None
        self._refused |= program.refused()
        return Rebuild(program.native())

    def _new_program(self, key: object, rebuild: Rebuild) -> Program:
        """Return a new program, ready to run, in place of the one for a key."""
        # The weights of the programs before are freed before the next ones are put in order.
        for earlier in (self._programs.pop(key, None), self.last):
            if earlier is not None:
                earlier.close()
        self.last = earlier = None
        while len(self._programs) >= PROGRAMS:
            self._programs.popitem(last=False)
        program = Program(self._wiring, self.nodes, self._requested, rebuild.native, self._refused)
        self._programs[key] = program
        program.prepare()
        return program

    def repeat(self) -> bool:
        """Make the last pass again, in the same memory; False, without effect, if that changed."""
        last = self.last
        if last is None or (isinstance(last, Program) and _is_to_regroup(last)):
            return False
        return last.repeat()

    def close(self) -> None:
        """End the last pass: its blobs are about to be replaced."""
        if self.last is not None:
            self.last.close()

    def release(self, frees: bool) -> None:
        """End the last pass before one like it; see `Program.release`."""
        if isinstance(self.last, Program):
            self.last.release(frees)


def _is_to_regroup(program: Program) -> bool:
    """Return whether steps in a row are to be joined now, or a graph of them cannot be used."""
    is_to_join = not program.joined and program.passes == BEFORE_GRAPHS and program.is_joinable()
    return is_to_join or bool(program.refused())


class Plan:
    """The layers of a net in the order in which they run, as segments and single layers.

    regions: the layers, by number, of each region.
    parts: a `Segment`, or the node of a layer that runs by itself, or with which a region begins.
    """

    def __init__(self, wiring: Wiring, requested: set[int], regions: Sequence[range] = ()) -> None:
        self.parts: list[Segment | Node] = []
        starts = {region.start for region in regions}
        inside = {number for region in regions for number in region} - starts
        run: list[Node] = []
        # Small nets run as bound calls, for which a view is a layer by itself.
        views = _inner_views(wiring) if not _is_for_arrays(wiring) else set()
        inner: set[int] = set()

        def end_segment() -> None:
            if any(isinstance(node.layer, Function) for node in run):
                self.parts.append(Segment(wiring, list(run), requested))
            else:
                self.parts.extend(run)
            run.clear()
            inner.clear()

        for node in wiring.nodes:
            if isinstance(node.layer, Input) or node.number in inside:  # does nothing by itself
                continue
            fits = node.number not in starts and _fits_segment(wiring, node)
            if node.number not in views and not fits:
                end_segment()
                self.parts.append(node)
                continue
            # A view shows what was written to its memory only when the values are in the blobs.
            outer = [b for b in node.bottoms if b not in inner]
            if any(isinstance(wiring.blobs[b].values, MemoryView) for b in outer):
                end_segment()
            run.append(node)
            if node.number in views:
                inner.update(node.tops)
        end_segment()
        self.segments = [part for part in self.parts if isinstance(part, Segment)]
        self._only = self.segments[0] if self.segments and len(self.parts) == 1 else None
        #: Whether no layer that runs by itself makes values that are to be freed.
        self._is_closed = not any(
            isinstance(part, Node) and isinstance(part.layer, Function) for part in self.parts
        )
        self._noted: list[weakref.ref[Program | ArrayProgram]] = []

    def is_small(self) -> bool:
        """Return whether the blobs of the last pass are too small for freeing them to pay."""
        values = [None if s.last is None else s.last.values for s in self.segments]
        return is_small(values)

    def is_bound(self) -> bool:
        """Return whether the last pass ran all segments as bound calls."""
        return all(isinstance(segment.last, ArrayProgram) for segment in self.segments)

    def is_repeatable(self) -> bool:
        """Return whether the next pass may begin with `release`."""
        return self._is_closed and all(segment.last is not None for segment in self.segments)

    def repeat(self) -> bool:
        """Make the last pass again, as `Segment.repeat`, if it ran one segment and nothing else."""
        only = self._only
        return only is not None and single.call(only.repeat, only.nodes, "forward")

    def release(self) -> None:
        """End the last pass, before one like it: free its values unless they are small."""
        frees = not self.is_small()
        for segment in self.segments:
            segment.release(frees)

    def has_changed(self) -> bool:
        """Return whether the last pass ran other programs than at the previous call."""
        programs = [segment.last for segment in self.segments if segment.last is not None]
        changed = programs != [program() for program in self._noted]
        self._noted = [weakref.ref(program) for program in programs]
        return changed

    @property
    def reason(self) -> str:
        """What the programs of the last pass are."""
        programs = [s.last for s in self.segments if s.last is not None]
        layers, calls = sum(len(s.nodes) for s in self.segments), sum(p.calls for p in programs)
        native = sum(p.native_calls for p in programs if isinstance(p, ArrayProgram))
        count = "1 call" if calls == 1 else f"{calls} calls"
        return f"{layers} layers in {count}" + (f", {native} in C" if native else "")

    def close(self) -> None:
        """End the last pass: its blobs are about to be replaced."""
        for segment in self.segments:
            segment.close()


def _is_for_arrays(wiring: Wiring) -> bool:
    """Return whether the blobs of all layers are small enough for bound calls."""
    blobs = {b for node in wiring.nodes for b in node.tops}
    return sum(wiring.blobs[b].count for b in blobs) <= MOST_VALUES


def _inner_views(wiring: Wiring) -> set[int]:
    """Return the numbers of the layers whose tops are views that no other layer writes to later."""
    writers: dict[Memory, int] = {}
    for node in wiring.nodes:
        if not isinstance(node.layer, View) and not node.copies:
            writers.update((wiring.blobs[t].values.root, node.number) for t in node.tops)
    return {
        node.number
        for node in wiring.nodes
        if isinstance(node.layer, View)
        and writers.get(wiring.blobs[node.tops[0]].values.root, -1) < node.number
    }


def _fits_segment(wiring: Wiring, node: Node) -> bool:
    """Return whether a layer is a function of tensors, or gives its bottom other names."""
    layer = node.layer
    if any(isinstance(wiring.blobs[t].values, MemoryView) for t in node.tops):
        return False
    if node.copies:
        return True
    return isinstance(layer, Function) and layer.is_pure()
