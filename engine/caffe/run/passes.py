"""The fast path of a net: regions of layers that are computed together, with the same numbers.

A `Pass` runs one forward through a `Region`. Blobs in between are not made whole; they are worked
out, with the input and the weights that were run, when somebody asks for them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from .. import mode
from ..blob import Memory
from ..layers.function import Function, Tensors
from ..layers.convolution import Convolution
from .region import Border, Region, run

if TYPE_CHECKING:
    from ..net import Net

#: A region is used where its multiplications are at most this share of the plain ones.
WORTHWHILE = 0.95
#: So many borders, tens of megabytes each, are kept, of images whose sizes call for different ones.
BORDERS = {"cpu": 8, "cuda": 16}


class Pass:
    """One forward of a net through a region: what backward, and who asks for a blob, will need."""

    def __init__(self, net: Net, region: Region) -> None:
        self.region = region
        self._net = weakref.ref(net)
        self._border: Border | None = None
        self._tape: tuple[torch.Tensor, list[Tensors], dict[int, torch.Tensor]] | None = None
        #: Whether the net learns: backward will follow.
        self.recorded = any(
            isinstance(layer, Function) and layer.record for layer in region._layers
        )
        on = mode.device()
        self._memories = [[b.values for b in layer.blobs] for layer in region._layers]
        # `.data`: a leaf must not share the version counter of what the solver writes to.
        self._run_with = self._weights = [
            tuple(w.data.requires_grad_(self.recorded) for w in layer.parameters(on))
            if isinstance(layer, Function)
            else ()
            for layer in region._layers
        ]
        self._precision = mode.precision()
        self._source = net._blobs[region.source].values.tensor(on).detach().clone()
        self._forward(net)

    def _forward(self, net: Net) -> None:
        region, blobs = self.region, net._blobs
        inside = {t for tops in region._tops for t in tops}
        held = {b for b in inside if blobs[b].values.held()}
        wanted = held | {b for b in inside if b in net._asked_for} | set(region.exits)
        source, on = self._source, self._source.device
        with torch.set_grad_enabled(self.recorded):
            for layer, weights in zip(region._layers, self._weights):
                if isinstance(layer, Function):
                    ready = not self.recorded
                    layer.weights = (
                        layer.ready_weights(on) if ready else layer.rounded_to_learn(weights)
                    )
            if self.recorded:
                source = source.requires_grad_(net._propagate_down[region.first][0])
            border = region.border() if self.recorded else self._known_border(net)
            found = region.patches(source, border, wanted)
        for layer in region._layers:
            if isinstance(layer, Function):
                layer.forget()
        if self.recorded:
            self._tape = source, self._weights, {b: found[b] for b in region.exits}
        given = set()
        for b, values in found.items():
            blobs[b].values.set(values.detach())
            given.add(id(blobs[b].values))
        self._between: list[tuple[int, Memory, torch.Size]] = []
        for b in sorted(inside):
            memory = blobs[b].values
            if isinstance(memory, Memory) and id(memory) not in given:
                self._between.append((b, memory, memory.shape))
                given.add(id(memory))
        self.leave(net)

    def leave(self, net: Net) -> None:
        """Leave the blobs in between to whoever asks for them, for the weights as they are now.

        Also of a pass that was replayed, with another input and other weights in the same tensors.
        """
        self._weights, self._frozen = self._run_with, False
        self._waiting: dict[int, tuple[Memory, Callable[[], torch.Tensor]]] = {}
        for b, memory, shape in self._between:
            memory.reshape(shape)
            self._waiting[b] = memory, self._deferring(b)
            memory.defer(self._waiting[b][1])
        memories = [m for of_layer in self._memories for m in of_layer]
        if any(m.held() for m in memories):
            self._freeze()
        else:
            for memory in memories:
                memory.watch(net, self._freeze)

    def _known_border(self, net: Net) -> Border:
        """The border for this size, kept while the weights stay as they are."""
        memories = [m for memories in self._memories for m in memories]
        region, device = self.region, self._source.device
        sizes = [tuple(region.small(t)) for t in region._tops[0]]
        key = (region.first, region.last, region.cut, tuple(sizes), device, mode.precision())
        state = None if any(m.held() for m in memories) else [(id(m), m.version) for m in memories]
        known = net._borders.get(key)
        if known is None or state is None or known[0] != state:
            known = state, region.border()
        if not mode.capturing():
            net._borders[key] = known
            net._borders.move_to_end(key)
            while len(net._borders) > BORDERS[device.type]:
                net._borders.popitem(last=False)
        self._border = known[1]
        return known[1]

    def tensors(self) -> list[torch.Tensor]:
        """What the pass read that it did not make, but for weights and the source."""
        kept = self._border.tensors() if self._border is not None else []
        return kept + self.region.tensors()

    def _freeze(self) -> None:
        """Keep the weights as they are now, for they are about to change."""
        if not self._frozen and (self._waiting or self._tape):
            live = [w.detach() for ws in self._weights for w in ws]
            kept = [torch.empty_like(w) for w in live]
            torch._foreach_copy_(kept, live)
            copies = iter(kept)
            self._weights = [tuple(next(copies) for _ in ws) for ws in self._weights]
        self._frozen = True

    # ---- what the blobs in between hold --------------------------------------------------------

    def _deferring(self, blob: int) -> Callable[[], torch.Tensor]:
        return lambda: self._values(blob)

    def _values(self, blob: int) -> torch.Tensor:
        """The values of a blob that was not computed whole; all others like it get theirs too."""
        net, values = self._net(), {self.region.source: self._source.detach()}
        if net is not None:
            net._asked_for.add(blob)
        with torch.no_grad():
            self._run(values)
        for b, (memory, deferred) in self._waiting.items():
            if b != blob:
                memory.settle(deferred, values[b])
        return values[blob]

    def _run(
        self,
        values: dict[int, torch.Tensor],
        made: Callable[[int, torch.Tensor], None] = lambda blob, value: None,
    ) -> None:
        region = self.region
        with mode.at_precision(self._precision):
            for layer, weights in zip(region._layers, self._weights):
                if isinstance(layer, Function):
                    layer.weights = layer.rounded(weights)
            run(region._layers, region._bottoms, region._tops, values, made)
        for layer in region._layers:
            if isinstance(layer, Function):
                layer.forget()

    # ---- gradients -----------------------------------------------------------------------------

    def backward(self, net: Net, free: bool) -> None:
        """Add the weights' gradients, from those of the blobs that are read further on."""
        assert self._tape is not None
        source, leaves, exits = self._tape
        region, on = self.region, self._source.device
        blobs, wanted = net._blobs, []
        for i, (layer, weights) in enumerate(zip(region._layers, leaves), region.first):
            if net._backward_layers[i] and isinstance(layer, Function):
                learned = zip(layer.blobs, weights, layer.param_propagate_down)
                wanted += [(b.gradient, w) for b, w, go in learned if go]
        to_source = net._backward_layers[region.first] and source.requires_grad
        inputs = [w for _, w in wanted] + [source] * to_source
        made = {b: y for b, y in exits.items() if y.requires_grad}
        diffs = {b: blobs[b].gradient.tensor(on) for b in made}
        grads: Sequence[torch.Tensor | None] = [None] * len(inputs)
        if inputs and made:
            grads = torch.autograd.grad(
                list(made.values()),
                inputs,
                list(diffs.values()),
                retain_graph=not free,
                allow_unused=True,
            )
        for (memory, _), grad in zip(wanted, grads):
            if grad is not None:
                memory.add(grad)
        if to_source:
            gradient = blobs[region.source].gradient
            grad = grads[-1]
            gradient.zero() if grad is None else gradient.set(grad)
        if free:
            self._tape = None
        self._diffs = {b: diff.clone() for b, diff in diffs.items()}
        self.leave_gradients(net)

    def leave_gradients(self, net: Net) -> None:
        """Leave the gradients in between to whoever asks for them, as `leave` does the values."""
        region, waiting, diffs = self.region, {}, self._diffs
        layers = range(region.first, region.last + 1)
        for i in layers:
            for b, go in zip(net._bottoms[i], net._propagate_down[i]):
                if go and net._backward_layers[i] and b != region.source:
                    waiting[b] = net._blobs[b].gradient
        thunks: dict[int, Callable[[], torch.Tensor]] = {}

        def gradients(blob: int) -> torch.Tensor:
            found = self._gradients(diffs, list(thunks))
            for b, values in found.items():
                memory = waiting[b]
                if b != blob and isinstance(memory, Memory):
                    memory.settle(thunks[b], values)
            return found[blob]

        held = []
        for b, memory in waiting.items():
            thunks[b] = lambda b=b: gradients(b)  # type: ignore[misc]
            if memory.held() or not isinstance(memory, Memory):
                held.append(b)
            else:
                memory.defer(thunks[b])
        if held:
            found = self._gradients(diffs, held)
            for b in held:
                waiting[b].set(found[b])

    def _gradients(
        self, diffs: dict[int, torch.Tensor], wanted: Sequence[int]
    ) -> dict[int, torch.Tensor]:
        """The gradients of blobs in between, by the layers as they stand."""
        source = self._source.detach().requires_grad_()
        values, first = {self.region.source: source}, dict[int, torch.Tensor]()
        with torch.enable_grad():
            self._run(values, lambda blob, value: first.update({blob: first.get(blob, value)}))
            grads = torch.autograd.grad(
                [values[b] for b in diffs],
                [first[b] for b in wanted],
                list(diffs.values()),
                allow_unused=True,
            )
        return {
            b: torch.zeros_like(first[b]) if grad is None else grad
            for b, grad in zip(wanted, grads)
        }


def regions(net: Net) -> set[int]:
    """The layers at which a region may start: convolutions that pad by more than their kernel."""
    starts = set()
    for i, (layer, bottoms) in enumerate(zip(net._layers, net._bottoms)):
        window = layer.window() if isinstance(layer, Convolution) else None
        if window is None or len(bottoms) != 1:
            continue
        reach = [d * (k - 1) for d, k in zip(window.dilation, window.kernel)]
        if all(p > r for p, r in zip(window.pad, reach)) and not window.fill:
            starts.add(i)
    return starts


def region(net: Net, first: int) -> Region | None:
    """The region that starts at layer `first` for the present shapes; None if it does not pay."""
    source = net._bottoms[first][0]
    # A region takes in no layer whose tops are losses, so that one that begins with it is empty.
    if len(net._blobs[source].shape) != 4 or any(net._loss_weights[first]):
        return None
    found = Region(net, first, source)
    if found.share() > WORTHWHILE or not found.sound() or not _regular(net, found):
        return None
    return found


def _regular(net: Net, region: Region) -> bool:
    """Whether gradients go back through the region everywhere that something learns."""
    learns: set[int] = set()
    for i in range(region.first, region.last + 1):
        for b, go in zip(net._bottoms[i], net._propagate_down[i]):
            if b in learns and not (go and net._backward_layers[i]):
                return False
        if net._backward_layers[i]:
            learns.update(net._tops[i])
    return True
