"""One pass of a net through a region.

Blobs inside a region are not computed whole. Their memories are deferred: when somebody asks for
one, it is computed from the input and the weights of the pass, layer by layer.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial

import torch

from .. import mode
from ..layers import Function
from ..layers.function import Tensors
from ..memory import Memory, MemoryView
from .border import Border, BorderCache
from .functional import Observe, forget, ignore, run_nodes
from .patches import Patches
from .strips import run_region
from .wiring import Wiring

Thunk = Callable[[], torch.Tensor]


class Pass:
    """One forward through a region, and what the backward and the inner blobs need of it.

    region: the layers. recorded: whether the net learns, so that a backward follows.
    """

    def __init__(
        self, wiring: Wiring, patches: Patches, requested: set[int], borders: BorderCache
    ) -> None:
        """Run the region forward.

        requested: the blobs inside regions that somebody has asked for before; they are computed
        whole, and a blob that is asked for later is added.
        """
        region = patches.region
        self.region, self._patches, self._requested = region, patches, requested
        self._wiring = wiring
        self._border: Border | None = None
        self._tape: tuple[torch.Tensor, list[Tensors], dict[int, torch.Tensor]] | None = None
        layers = [node.layer for node in region.nodes]
        self.recorded = any(isinstance(layer, Function) and layer.record for layer in layers)
        device = mode.device()
        self._parameters = [blob.values for layer in layers for blob in layer.blobs]
        # `.data`: a leaf must not share the version counter of what the solver writes to.
        self._live_weights = self._weights = [
            tuple(w.data.requires_grad_(self.recorded) for w in layer.parameters(device))
            if isinstance(layer, Function)
            else ()
            for layer in layers
        ]
        self._precision = mode.precision()
        self._source = self._memory(region.source).tensor(device).detach().clone()
        tensors = self._forward(borders)
        self._deferred = self._publish(tensors)
        self.defer_values()

    def _memory(self, blob: int) -> Memory | MemoryView:
        return self._wiring.blobs[blob].values

    def _forward(self, borders: BorderCache) -> dict[int, torch.Tensor]:
        """Run the layers; the tensors of the blobs that are needed whole."""
        region, source = self.region, self._source
        held = {b for b in region.blobs if self._memory(b).held()}
        kept = held | (self._requested & set(region.blobs)) | set(region.exits)
        with torch.set_grad_enabled(self.recorded):
            for node, weights in zip(region.nodes, self._weights):
                layer = node.layer
                if isinstance(layer, Function):
                    ready = not self.recorded
                    layer.weights = (
                        layer.ready_weights(source.device)
                        if ready
                        else layer.rounded_to_learn(weights)
                    )
            if self.recorded:
                source = source.requires_grad_(region.nodes[0].propagate_down[0])
                border = Border(region, self._patches.indices)
            else:
                border = borders.get(region, self._patches.indices, source.device)
                self._border = border
            tensors = run_region(self._patches, source, border, kept)
        forget(region.nodes)
        if self.recorded:
            self._tape = source, self._weights, {b: tensors[b] for b in region.exits}
        return tensors

    def _publish(self, tensors: dict[int, torch.Tensor]) -> list[tuple[int, Memory, torch.Size]]:
        """Set the blobs that were computed; the others, one for each memory, with their shapes."""
        memories = set()
        for b, values in tensors.items():
            self._memory(b).set(values.detach())
            memories.add(id(self._memory(b)))
        deferred = []
        for b in self.region.blobs:
            memory = self._memory(b)
            if isinstance(memory, Memory) and id(memory) not in memories:
                deferred.append((b, memory, memory.shape))
                memories.add(id(memory))
        return deferred

    def defer_values(self) -> None:
        """Defer the inner blobs, for the weights as they are now.

        A replay calls this too: its input and its weights lie in the same tensors.
        """
        self._weights, self._copied = self._live_weights, False
        # The memory alone keeps its thunk, which keeps the pass: a pass that kept the thunks would
        # live, with its input and its border, until the next search for garbage.
        self._waiting: dict[int, tuple[Memory, weakref.ref[Thunk]]] = {}
        for b, memory, shape in self._deferred:
            memory.reshape(shape)
            thunk = self._thunk(b)
            self._waiting[b] = memory, weakref.ref(thunk)
            memory.defer(thunk)
        if any(memory.held() for memory in self._parameters):
            self.before_weights_change()
        else:
            for memory in self._parameters:
                memory.watch(self._wiring, self.before_weights_change)

    def tensors(self) -> list[torch.Tensor]:
        """Return the tensors that the pass read but did not compute, except weights and source."""
        border = self._border.tensors() if self._border is not None else []
        return border + self._patches.tensors()

    def before_weights_change(self) -> None:
        """Copy the weights, which are about to change, for the blobs that are still deferred."""
        if not self._copied and (self._waiting or self._tape):
            live = [w.detach() for weights in self._weights for w in weights]
            copies = [torch.empty_like(w) for w in live]
            torch._foreach_copy_(copies, live)
            rest = iter(copies)
            self._weights = [tuple(next(rest) for _ in weights) for weights in self._weights]
        self._copied = True

    def _thunk(self, blob: int) -> Thunk:
        return lambda: self._values(blob)

    def _values(self, blob: int) -> torch.Tensor:
        """Compute the values of a deferred blob, and settle all other deferred blobs with it."""
        tensors = {self.region.source: self._source.detach()}
        self._requested.add(blob)
        with torch.no_grad():
            self._run_plainly(tensors)
        for b, (memory, reference) in self._waiting.items():
            thunk = reference()
            if b != blob and thunk is not None:
                memory.settle(thunk, tensors[b])
        return tensors[blob]

    def _run_plainly(self, tensors: dict[int, torch.Tensor], observe: Observe = ignore) -> None:
        """Run the region's layers on whole maps, with the weights and precision of the pass."""
        with mode.at_precision(self._precision):
            for node, weights in zip(self.region.nodes, self._weights):
                if isinstance(node.layer, Function):
                    node.layer.weights = node.layer.rounded(weights)
            run_nodes(self.region.nodes, tensors, observe)
        forget(self.region.nodes)

    def backward(self, free: bool) -> None:
        """Add the weights' gradients, from those of the blobs that are read after the region.

        free: whether the graph of the forward is dropped.
        """
        assert self._tape is not None
        source, leaves, exits = self._tape
        blobs, first = self._wiring.blobs, self.region.nodes[0]
        targets: list[tuple[Memory | MemoryView, torch.Tensor]] = []
        for node, weights in zip(self.region.nodes, leaves):
            if node.backward and isinstance(node.layer, Function):
                learned = zip(node.layer.blobs, weights, node.layer.param_propagate_down)
                targets += [(blob.gradient, w) for blob, w, go in learned if go]
        to_source = first.backward and source.requires_grad
        inputs = [w for _, w in targets] + [source] * to_source
        outcomes = {b: y for b, y in exits.items() if y.requires_grad}
        diffs = {b: blobs[b].gradient.tensor(source.device) for b in outcomes}
        grads: Sequence[torch.Tensor | None] = [None] * len(inputs)
        if inputs and outcomes:
            grads = torch.autograd.grad(
                list(outcomes.values()),
                inputs,
                list(diffs.values()),
                retain_graph=not free,
                allow_unused=True,
            )
        for (memory, _), grad in zip(targets, grads):
            if grad is not None:
                memory.add(grad)
        if to_source:
            gradient, grad = blobs[self.region.source].gradient, grads[-1]
            gradient.zero() if grad is None else gradient.set(grad)
        if free:
            self._tape = None
        self._diffs = {b: diff.clone() for b, diff in diffs.items()}
        self.defer_gradients()

    def defer_gradients(self) -> None:
        """Defer the gradients of the inner blobs, as `defer_values` defers their values."""
        memories = {
            b: self._wiring.blobs[b].gradient
            for node in self.region.nodes
            for b, go in zip(node.bottoms, node.propagate_down)
            if go and node.backward and b != self.region.source
        }
        diffs, thunks = self._diffs, dict[int, weakref.ref[Thunk]]()

        def compute(blob: int) -> torch.Tensor:
            grads = self._gradients(diffs, list(thunks))
            for b, values in grads.items():
                memory, thunk = memories[b], thunks[b]()
                if b != blob and thunk is not None and isinstance(memory, Memory):
                    memory.settle(thunk, values)
            return grads[blob]

        held = []
        for b, memory in memories.items():
            thunk = partial(compute, b)
            thunks[b] = weakref.ref(thunk)
            if memory.held() or not isinstance(memory, Memory):
                held.append(b)
            else:
                memory.defer(thunk)
        if held:
            for b, grad in self._gradients(diffs, held).items():
                memories[b].set(grad)

    def _gradients(
        self, diffs: dict[int, torch.Tensor], blobs: Sequence[int]
    ) -> dict[int, torch.Tensor]:
        """Return the gradients of inner blobs: the layers run on complete maps in autograd."""
        source = self._source.detach().requires_grad_()
        tensors, first = {self.region.source: source}, dict[int, torch.Tensor]()
        with torch.enable_grad():
            # A blob that is written in place has its first values' gradient.
            self._run_plainly(tensors, lambda b, y: first.update({b: first.get(b, y)}))
            grads = torch.autograd.grad(
                [tensors[b] for b in diffs],
                [first[b] for b in blobs],
                list(diffs.values()),
                allow_unused=True,
            )
        return {
            b: torch.zeros_like(first[b]) if grad is None else grad for b, grad in zip(blobs, grads)
        }
