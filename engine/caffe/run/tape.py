"""Training steps on the CPU: one backward for a run of layers.

Layers that are functions of their bottoms and parameters, one after the other, compute under one
graph of autograd. One call of autograd then gives the gradients of all parameters and of all blobs
between the layers, which are set as if each layer had run backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from .. import mode
from ..blob import Blob
from ..layers import Function
from ..layers.function import set_gradient, with_own_memory
from ..layers.source import Input
from ..memory import Memory, MemoryView
from .arrays import ArrayProgram, ArrayPrograms
from .functional import as_tuple
from .wiring import Node, Wiring

CPU = torch.device("cpu")


class Target(NamedTuple):
    """A memory for a gradient, and the tensor that the gradient is of. adds: it is a parameter."""

    memory: Memory | MemoryView
    tensor: torch.Tensor
    adds: bool


class Tape:
    """The graph of a forward: the blobs that the layers have read and made."""

    def __init__(self) -> None:
        self.tensors: dict[int, torch.Tensor] = {}
        #: For each blob with a gradient, the values that the first of its readers has read.
        self.first: dict[int, torch.Tensor] = {}
        #: The results that nothing in the segment has read so far, by blob.
        self.unread: dict[int, torch.Tensor] = {}
        #: A parameter that several layers share has one gradient, the sum.
        self.parameters: dict[Blob, Target] = {}


class LearningSegment:
    """Layers, one after the other, that learn together."""

    def __init__(self, wiring: Wiring, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self._wiring = wiring
        tops: set[int] = set()
        sources: dict[int, None] = {}
        for node in nodes:
            sources.update(dict.fromkeys(b for b in node.bottoms if b not in tops))
            tops.update(node.tops)
        self._sources = [(b, wiring.blobs[b]) for b in sources]
        self._shapes: tuple[torch.Size, ...] | None = None
        #: The number of values in the tops of all layers, once they have run.
        self.values: int | None = None
        self._leaves: dict[Blob, tuple[torch.Tensor, torch.Tensor]] = {}
        self._tape: Tape | None = None
        self._small = ArrayPrograms(wiring, nodes, learns=True)

    def forward_bound(self) -> bool:
        """Compute the tops of all layers as bound calls; False, without tops, if there are none."""
        if not mode.fast():
            return False
        if self._small.repeat():
            return True
        if not self._small.forward(tuple([blob.values.shape for _, blob in self._sources])):
            return False
        assert self._small.last is not None
        self.values = self._small.last.values
        return True

    def forward(self) -> None:
        """Compute the tops of all layers, and keep the graph."""
        if self.forward_bound():
            return
        shapes = tuple([blob.values.shape for _, blob in self._sources])
        if shapes != self._shapes:
            for node in self.nodes:
                node.layer.reshape(self._wiring.bottoms(node), self._wiring.tops(node))
            self._shapes = shapes
            tops = {t for node in self.nodes for t in node.tops}
            self.values = sum(self._wiring.blobs[t].count for t in tops)
        tape = self._tape = Tape()
        for b, blob in self._sources:
            # `.data` has a version counter of its own, which later writes do not change.
            tape.tensors[b] = blob.values.tensor(CPU).data
        with torch.enable_grad():
            for node in self.nodes:
                self._forward_layer(node, tape)

    def repeated(self) -> ArrayProgram | None:
        """Return the bound calls of the last pass, if the next one can be the same calls."""
        program = self._small.last
        return program if program is not None and program.repeats() else None

    def is_bound(self) -> bool:
        """Return whether the last pass ran as bound calls."""
        return self._small.last is not None

    def native_calls(self) -> int:
        """Return the number of calls of the C library in the last pass."""
        return 0 if self._small.last is None else self._small.last.native_calls

    def _forward_layer(self, node: Node, tape: Tape) -> None:
        layer, tensors = node.layer, tape.tensors
        x = [self._read(b, go, tape) for b, go in zip(node.bottoms, node.propagate_down)]
        if not isinstance(layer, Function):  # a Split: each view has a gradient of its own
            for t in node.tops:
                tensors[t] = tape.unread[t] = x[0].view_as(x[0])
            return
        layer.forget()
        layer.weights = tuple(
            self._leaf(blob, go and node.backward, tape)
            for blob, go in zip(layer.blobs, layer.param_propagate_down)
        )
        y = as_tuple(layer.compute(*x))
        for t, value in zip(node.tops, y):
            tensors[t] = tape.unread[t] = value
            top = value.detach()
            if t not in node.bottoms and any(top.data_ptr() == v.data_ptr() for v in x):
                top = top.clone(memory_format=torch.contiguous_format)
            self._wiring.blobs[t].values.set(top)

    def _read(self, blob: int, learns: bool, tape: Tape) -> torch.Tensor:
        """Return the values of a bottom, without its history where no gradient goes down."""
        tensor = tape.tensors[blob]
        if not learns:
            return tensor.detach()
        if tensor.is_leaf and not tensor.requires_grad and blob not in tape.first:
            tensor = tape.tensors[blob] = tensor.requires_grad_()
        tape.first.setdefault(blob, tensor)
        tape.unread.pop(blob, None)
        return tensor

    def _leaf(self, blob: Blob, learns: bool, tape: Tape) -> torch.Tensor:
        """Return a parameter as a leaf of the graph, over the memory of its values."""
        values = blob.values.tensor(CPU)
        if not learns:
            return values
        read, leaf = self._leaves.get(blob, (None, values))
        if read is not values:
            leaf = values.data.requires_grad_()
            self._leaves[blob] = values, leaf
        tape.parameters[blob] = Target(blob.gradient, leaf, True)
        return leaf

    def is_leased(self) -> bool:
        """Return whether the last pass ran as bound calls whose memories are where they were."""
        return self._small.last is not None and self._small.last.is_leased()

    def has_values(self) -> bool:
        """Return whether all values are where the bound calls of the last pass left them."""
        return self._small.last is not None and self._small.last.has_values()

    def backward(self, fresh: bool) -> None:
        """Set the gradients of the blobs and add those of the parameters; free the graph.

        fresh: whether the gradients of the parameters count as zero where `is_leased`.
        """
        if self._small.last is not None:
            self._small.last.backward(fresh)
            return
        tape, self._tape = self._tape, None
        assert tape is not None
        blobs = self._wiring.blobs
        targets = [Target(blobs[b].gradient, x, False) for b, x in tape.first.items()]
        targets += tape.parameters.values()
        roots = [
            (value, blobs[b].gradient)
            for b, value in tape.unread.items()
            if value.requires_grad and not blobs[b].gradient.is_zero()
        ]
        diffs = [memory.tensor(CPU) for _, memory in roots]
        gradients: Sequence[torch.Tensor | None] = [None] * len(targets)
        with_graph = [i for i, target in enumerate(targets) if target.tensor.requires_grad]
        if roots and with_graph:
            results = torch.autograd.grad(
                [value for value, _ in roots],
                [targets[i].tensor for i in with_graph],
                diffs,
                allow_unused=True,
            )
            gradients = list(gradients)
            for i, result in zip(with_graph, results):
                gradients[i] = result
        for target, gradient in zip(targets, with_own_memory(gradients, diffs)):
            if not target.adds:
                set_gradient(target.memory, gradient)
            elif gradient is not None:
                target.memory.add(gradient)


def learning_parts(wiring: Wiring) -> list[LearningSegment | Node]:
    """Return the layers of a net as segments that learn together, and layers by themselves."""
    parts: list[LearningSegment | Node] = []
    run: list[Node] = []
    aliases: set[int] = set()

    def end_segment() -> None:
        if sum(isinstance(node.layer, Function) for node in run) > 1:
            parts.append(LearningSegment(wiring, list(run)))
        else:
            parts.extend(run)
        run.clear()

    for node in wiring.nodes:
        if isinstance(node.layer, Input):  # does nothing
            continue
        together = _learns_together(wiring, node, aliases)
        if node.copies:
            aliases.update(node.bottoms, node.tops)
        if not together:
            end_segment()
            parts.append(node)
            continue
        if any(isinstance(wiring.blobs[b].values, MemoryView) for b in node.bottoms):
            end_segment()
        run.append(node)
    end_segment()
    return parts


def _learns_together(wiring: Wiring, node: Node, aliases: set[int]) -> bool:
    """Return whether the layer's passes on these blobs are `compute` and its gradient.

    aliases: blobs whose memory another blob shares; a layer in place changes that blob, too.
    """
    layer = node.layer
    if any(isinstance(wiring.blobs[t].values, MemoryView) for t in node.tops):
        return False
    if node.copies:
        return True
    if not isinstance(layer, Function) or not layer.has_plain_passes():
        return False
    in_place = set(node.bottoms) & set(node.tops)
    labels = any(i < len(node.bottoms) and node.propagate_down[i] for i in layer.no_gradient)
    return not (in_place & aliases) and not labels
