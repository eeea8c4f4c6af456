"""Runs of layers on small blobs, as calls that write to the memory of the blobs.

An `ArrayProgram` is bound once to the memory of all blobs and parameters. A pass checks that no
memory has moved, and makes the calls. The calls read the weights themselves, not copies, so a pass
uses every change of a weight. After a pass, every blob has its values.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import numpy as np
import torch

from .. import small
from ..blob import Blob
from ..layers import Function
from ..memory import Memory, MemoryView
from ..native import instructions as ops
from ..native import library
from ..native.instructions import Call
from ..native.link import NativeRun, link
from .places import CPU, GRADIENTS, VALUES, Arrays, Places, Terms, UnboundError
from .wiring import Node, Wiring

AnyMemory = Memory | MemoryView


class Limits(NamedTuple):
    """The largest run of layers that bound calls compute.

    values: in all tops. In larger runs, computing takes longer than choosing operations and
    allocating tops. products: multiplications of all layers. In larger runs, oneDNN's convolutions
    are faster.
    """

    values: int
    products: int


MOST_VALUES = 1 << 17
#: The limits of NumPy, and of the C library by (training, one thread). They are lower with more
#: threads, which only the other ways of computing use. Measured on LeNet, P-Net and towers of
#: convolutions (bench/tried.md).
OF_NUMPY = Limits(MOST_VALUES, 1 << 23)
OF_C = {
    (False, True): Limits(1 << 19, 1 << 24),
    (True, True): Limits(1 << 19, 1 << 26),
    (False, False): Limits(1 << 18, 1 << 23),
    (True, False): Limits(1 << 18, 1 << 25),
}
#: The most programs that are kept, for bottoms of different shapes.
PROGRAMS = 32
#: The most values in the tops of all kept programs: 8 MB, with several times as much for patches.
MOST_KEPT = 1 << 21
#: The most times that a program is bound again because a memory has moved. Then the run is given
#: up.
MOVES = 16


def limits_of(learns: bool) -> Limits:
    """Return the limits for training or inference with the present number of threads."""
    if library.load() is None:
        return OF_NUMPY
    return OF_C[learns, torch.get_num_threads() == 1]


class Origin(Enum):
    """What sets the gradient of a top: a layer of the run, the loss weight, or a later layer."""

    RUN = "run"
    LOSS = "loss"
    OUTSIDE = "outside"


class ArrayProgram:
    """The calls of a run of layers for bottoms of certain shapes.

    learns: whether the layers run backward, too. private: whether bottoms are copied, because their
    memories change places. values: the number of values in all tops.

    Raises UnboundError for layers that have no such calls, and for too many values.
    """

    def __init__(
        self, wiring: Wiring, nodes: Sequence[Node], learns: bool, private: bool = False
    ) -> None:
        self._wiring, self._learns, self._private = wiring, learns, private
        for node in nodes:
            node.layer.reshape(wiring.bottoms(node), wiring.tops(node))
        self.values = sum(wiring.blobs[t].count for node in nodes for t in node.tops)
        products = sum(_products(wiring, node) for node in nodes)
        limits = limits_of(learns)
        if self.values > limits.values or products > limits.products:
            raise UnboundError
        self._values, self._diffs = Arrays(VALUES), Arrays(GRADIENTS)
        #: The memories of the weights, and of the bottoms that the calls read without a copy.
        self._fixed = self._values.read
        self._learned = Places(GRADIENTS)
        self._terms = Terms()
        #: Calls that keep the parameters' gradients before a backward, and add them afterwards.
        self._sums: tuple[list[Call], list[Call]] | None = None
        self._parameters: set[AnyMemory] = set()
        self._blob_lists = [node.layer.blobs for node in nodes]
        self._blobs = [list(blobs) for blobs in self._blob_lists]
        with_diff = _with_diff(wiring, nodes) if learns else {}
        calls = [self._bind(node, with_diff) for node in nodes]
        self._forward = link(call for layer in calls for call in layer.forward)
        self._backward = link(call for layer in reversed(calls) for call in layer.backward)
        #: The number of layers that compute.
        self.calls = sum(isinstance(node.layer, Function) for node in nodes)
        #: The number of calls of the C library in a forward and its backward.
        both = (*self._forward, *self._backward)
        self.native_calls = sum(isinstance(call, NativeRun) for call in both)
        self._repeatable = not len(self._values.copied)
        self._warns = self.native_calls < len(both)

    def close(self) -> None:
        """Do nothing: a pass leaves no values that are still to be computed."""

    def _bind(self, node: Node, with_diff: dict[int, Origin]) -> small.Calls:
        """Return the calls of a layer. with_diff: see `_with_diff`."""
        blobs, layer = self._wiring.blobs, node.layer
        backward = self._learns and node.backward
        x = [self._values.reading(blobs[b], self._private) for b in node.bottoms]
        dx = [
            self._diffs.writing(blobs[b]) if go and backward else None
            for b, go in zip(node.bottoms, node.propagate_down)
        ]
        dy = [self._top_diff(t, with_diff) if backward else None for t in node.tops]
        if node.copies:
            sums = [diff for diff in dy if diff is not None]
            return small.Calls([], small.split(dx[0], sums) if sums else [])
        assert isinstance(layer, Function)
        if backward and dy[0] is None:
            raise UnboundError
        w = [self._weight(blob) for blob in layer.blobs]
        y = [self._values.writing(blobs[t]) for t in node.tops]
        dw = [
            self._weight_diff(blob, array) if go and backward else None
            for blob, array, go in zip(layer.blobs, w, layer.param_propagate_down)
        ]
        if any(0 in array.shape for array in (*x, *y, *w)):
            raise UnboundError
        overwritten = _is_overwritten(self._wiring, node)
        calls = small.bind(small.Site(layer, x, y, w, dx, dy, dw, self._learns, overwritten))
        if calls is None:
            raise UnboundError
        return calls

    def _top_diff(self, t: int, with_diff: dict[int, Origin]) -> np.ndarray | None:
        """Return the array of a top's gradient; None where nothing computes it."""
        blob, origin = self._wiring.blobs[t], with_diff.get(t)
        if origin is None or origin is Origin.RUN:
            return None if origin is None else self._diffs.writing(blob)
        return self._diffs.reading(blob, copies=origin is Origin.OUTSIDE)

    def _weight(self, blob: Blob) -> np.ndarray:
        """Return the array of a parameter. Raises UnboundError if several layers learn it."""
        memory, tensor = blob.values, blob.values.tensor(CPU)
        if not isinstance(memory, Memory) or not tensor.is_contiguous():
            raise UnboundError
        if self._learns and memory in self._parameters:
            raise UnboundError
        self._parameters.add(memory)
        self._fixed.add(blob, tensor)
        return tensor.numpy()

    def _weight_diff(self, blob: Blob, weights: np.ndarray) -> np.ndarray:
        tensor = blob.gradient.home(torch.from_numpy(weights))
        self._learned.add(blob, tensor)
        return tensor.numpy()

    def fits(self) -> bool:
        """Return whether no weight and no bottom has moved since the calls were bound."""
        if self._blob_lists != self._blobs:
            return False
        return self._terms.are_met() or self._fixed.are_in_place()

    def is_leased(self) -> bool:
        """Return whether the lease holds: no value or gradient has moved since the last pass."""
        return self._terms.are_met()

    def repeats(self) -> bool:
        """Return whether all memories are leased, so that the next pass repeats the last one."""
        return self._repeatable and self._terms.are_met() and self._blob_lists == self._blobs

    def repeat(self) -> bool:
        """Compute the tops of all layers if the pass repeats the last one; else return False."""
        if not self.repeats():
            return False
        self._terms.count_pass()
        self._make(self._forward)
        return True

    def step(self) -> list[Call] | None:
        """Return the calls of a pass that repeats the last one, forward and backward.

        Call `count_pass` before the calls. None where values have to be copied first.
        """
        fetches = not self._repeatable or len(self._diffs.copied)
        return None if fetches else [*self._forward, *self._backward]

    def count_pass(self) -> None:
        """Count a pass, before the pass changes leased memories."""
        self._terms.count_pass()

    def has_values(self) -> bool:
        """Return whether no value has moved since the last pass."""
        return self.fits() and (self._terms.are_met() or self._values.written.are_in_place())

    def bottoms_move(self) -> bool:
        """Return whether the bottoms' memories change places, so that bottoms have to be copied."""
        moved = [memory for memory in self._fixed.moved() if memory not in self._parameters]
        return self._private or bool(moved)

    def forward(self) -> bool:
        """Compute the tops of all layers; False, without tops, for values that are not float32."""
        if not self._values.copied.fetch():
            return False
        if self._terms.are_met():
            self._terms.count_pass()
            self._make(self._forward)
            return True
        publish = self._values.written.before_write()
        self._make(self._forward)
        publish()
        if not self._learns:
            self._lease()
        return True

    def backward(self, fresh: bool) -> None:
        """Set the gradients of the blobs, and add those of the parameters.

        fresh: whether the gradients of the parameters count as zero before.
        """
        self._diffs.copied.fetch()
        if self._terms.are_met():
            self._add_gradients(fresh)
            return
        if not self._diffs.read.are_in_place():  # the weight of a loss
            self._diffs.read.fetch()
        # Gradients of passes before, to which those of this pass are added.
        kept = self._learned.release()
        publish = self._diffs.written.before_write()
        self._make(self._backward)
        publish()
        self._learned.add_up(kept)
        self._lease()

    def _add_gradients(self, fresh: bool) -> None:
        """Run backward over leased memories; unless `fresh`, add to the parameters' gradients."""
        if fresh:
            self._make(self._backward)
            return
        if self._sums is None:
            arrays = [tensor.numpy() for tensor in self._learned.tensors()]
            before = [np.zeros_like(array) for array in arrays]
            self._sums = (
                link(ops.copy(*pair) for pair in zip(arrays, before)),
                link(ops.add(array, old, array) for array, old in zip(arrays, before)),
            )
        keep, add = self._sums
        self._make(keep)
        self._make(self._backward)
        self._make(add)

    def _make(self, calls: Sequence[Call]) -> None:
        """Make calls, without NumPy's warnings of NaN and infinity."""
        if not self._warns:
            for call in calls:
                call()
            return
        with np.errstate(all="ignore"):
            for call in calls:
                call()

    def _lease(self) -> None:
        """Lease all memories, so that the next pass does not check each of them."""
        cleared = {parameter.blob.gradient for parameter in self._wiring.parameters}
        if not cleared.issuperset(self._learned.memories()):
            return  # a parameter that replaced one of the net's is not cleared with the others
        changing = [self._values.written, self._diffs.written, self._learned]
        self._terms.lease(changing, [self._fixed, self._diffs.read])


def _is_overwritten(wiring: Wiring, node: Node) -> bool:
    """Return whether a later layer has the memory of the first top as one of its own tops."""
    memory = wiring.blobs[node.tops[0]].values
    later = wiring.nodes[node.number + 1 :]
    return any(wiring.blobs[t].values is memory for other in later for t in other.tops)


def _products(wiring: Wiring, node: Node) -> int:
    """Return the multiplications of a layer."""
    counts = [blob.count for blob in node.layer.blobs]
    tops = wiring.tops(node)
    outputs = tops[0].shape[1] if tops and len(tops[0].shape) > 1 else 1
    return max(counts, default=0) // max(1, outputs) * (tops[0].count if tops else 0)


def _with_diff(wiring: Wiring, nodes: Sequence[Node]) -> dict[int, Origin]:
    """Return the blobs whose gradient is there when the layers that make them run backward."""
    last = nodes[-1].number
    outside = {
        b
        for node in wiring.nodes[last + 1 :]
        if node.backward
        for b, go in zip(node.bottoms, node.propagate_down)
        if go
    }
    inside: set[int] = set()
    result: dict[int, Origin] = {}
    for node in reversed(nodes):
        for t, weight in zip(node.tops, node.loss_weights):
            if t in inside:
                result.setdefault(t, Origin.RUN)
            elif weight or t in outside:
                result.setdefault(t, Origin.OUTSIDE if t in outside else Origin.LOSS)
        inside -= set(node.tops)
        if node.backward:
            inside.update(b for b, go in zip(node.bottoms, node.propagate_down) if go)
    return result


class ArrayPrograms:
    """The programs of a run of layers, for bottoms of different shapes.

    last: the program of the last pass; None if the pass ran otherwise.
    """

    def __init__(self, wiring: Wiring, nodes: Sequence[Node], learns: bool) -> None:
        self._wiring, self._nodes, self._learns = wiring, nodes, learns
        self._programs: OrderedDict[object, ArrayProgram | None] = OrderedDict()
        self._moves = 0
        self.last: ArrayProgram | None = None

    def forward(self, shapes: object) -> bool:
        """Compute the tops for bottoms of these shapes; False if no program can."""
        self.last = None
        program = self._programs.get(shapes)
        if program is None:
            if shapes in self._programs:
                return False
            program = self._bind(shapes, private=False)
        elif not program.fits():
            self._moves += 1
            program = self._bind(shapes, private=program.bottoms_move())
        if program is None or not program.forward():
            return False
        self.last = program
        return True

    def repeat(self) -> bool:
        """Compute the tops as in the last pass, if all memories are where they were; else False."""
        return self.last is not None and self.last.repeat()

    def _values(self) -> int:
        """Return the number of values in the tops of all programs."""
        return sum(program.values for program in self._programs.values() if program is not None)

    def _bind(self, shapes: object, private: bool) -> ArrayProgram | None:
        while len(self._programs) >= PROGRAMS or self._values() > MOST_KEPT:
            self._programs.popitem(last=False)
        program = None
        if self._moves < MOVES:
            with contextlib.suppress(UnboundError):
                program = ArrayProgram(self._wiring, self._nodes, self._learns, private)
        self._programs[shapes] = program
        return program
