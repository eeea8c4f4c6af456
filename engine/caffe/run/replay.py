"""Passes through a net on a CUDA device, captured as graphs by input size and replayed.

A pass through a large net launches hundreds of kernels of a few microseconds; one by one from
Python, the device waits for most of them. A size that has come twice is captured when it comes
again: the same layers run once more, and what they launch is noted down instead of done. A replay
does it all, on the tensors that the capture used, and leaves the blobs as a pass layer by layer
does. What a graph read from outside (weights, borders) is compared before each replay; a pass that
does not match is run layer by layer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from .. import glog, mode
from ..blob import Memory, MemoryView, Stage
from ..layers.function import Function
from ..layers.join import Split
from ..layers.views import Silence

if TYPE_CHECKING:
    from ..net import Net
    from .passes import Pass

#: Passes of a size that are run layer by layer before it is captured.
BEFORE = 2
#: Sizes that are counted, and the share of a device's memory that must stay free for another graph.
COUNTED, FREE = 4096, 0.25


class Loss:
    """The losses of a pass, by their weights; as a float, their sum.

    The values stay where they were computed until then, so that a device need not be waited for.
    """

    def __init__(self, parts: Sequence[tuple[float, torch.Tensor]]) -> None:
        self._parts = parts

    def __float__(self) -> float:
        return sum((weight * float(value) for weight, value in self._parts), 0.0)


@dataclass
class Captured:
    """A graph with the tensors that it reads and writes."""

    graph: Any
    taken: Pass | None
    losses: list[tuple[float, torch.Tensor]]
    #: What is copied in before each replay.
    inputs: list[tuple[Memory, torch.Tensor, Stage]]
    #: What else it reads, with the versions that it is for, None for any.
    reads: list[tuple[Memory | MemoryView, torch.Tensor, int | None]]
    #: Memories of blobs and what they hold after a replay; None for zeros.
    left: list[tuple[Memory, torch.Tensor | None]] = field(default_factory=list)
    #: Gradients of parameters, in tensors that all graphs of a net share.
    learned: list[tuple[Memory | MemoryView, torch.Tensor]] = field(default_factory=list)
    #: Tensors of others that must last as long as the graph.
    keep: list[Any] = field(default_factory=list)

    def fits(self) -> bool:
        """Whether what it reads is where it was, and as it was where that counts."""
        return all(
            memory.lies_in(tensor) and version in (None, memory.version)
            for memory, tensor, version in self.reads
        )

    def run(self, net: Net) -> list[tuple[float, torch.Tensor]]:
        """Replay: the blobs then hold what a pass layer by layer leaves there; the losses."""
        for memory, tensor, stage in self.inputs:
            memory.pour(tensor, stage)
        for gradient, tensor in self.learned:
            # Of an earlier pass of the same iteration.
            if not gradient.is_zero() and _same(gradient.tensor(tensor.device), tensor):
                gradient.set(tensor.clone())
        self.graph.replay()
        for memory, held in self.left:
            memory.zero() if held is None else memory.set(held)
        for gradient, tensor in self.learned:
            gradient.add(tensor)
        net._pass = self.taken
        if self.taken is not None:
            self.taken.leave(net)
            if self.learned:
                self.taken.leave_gradients(net)
        return [(weight, value.clone()) for weight, value in self.losses]


class Replays:
    """The graphs of a net."""

    def __init__(self, net: Net) -> None:
        #: Layers that no graph holds: they bring the data. All others are held, if there are any.
        self.outside = _outside(net)
        self.inside = [i for i in range(len(net._layers)) if i not in self.outside]
        self._inputs = self._read(net)
        #: Whether layers draw random numbers.
        self._draws = any(layer.stateful for layer in _functions(net))
        #: Whether a pass forward keeps what a pass backward needs.
        self._records = any(layer.record for layer in _functions(net))
        self._seen: OrderedDict[Any, int] = OrderedDict()
        self._graphs: OrderedDict[Any, Captured] = OrderedDict()
        self._pool: Any = None
        self._refused = False

    def possible(self) -> bool:
        """Whether passes may be replayed at all."""
        return bool(self.inside) and not self._refused and mode.device().type == "cuda"

    def find(self, net: Net, learn: bool) -> Captured | None:
        """The graph of a pass over the layers `inside`, with the backward pass if `learn`.

        None where they are to be run one by one.
        """
        on = mode.device()
        if self._records != learn or not net._free_of_calls():
            return None
        key = self._key(net, learn, on)
        known = self._graphs.get(key)
        if known is not None and known.fits() and _attached(net, known):
            self._graphs.move_to_end(key)
            return known
        if learn and not all(blob.gradient.is_zero() for blob in net.learnable):
            return None
        self._graphs.pop(key, None)
        reads = self._reads(net, learn, on)
        state = key, tuple((tensor.data_ptr(), version) for _, tensor, version in reads)
        count = self._seen.pop(state, 0) + 1
        self._seen[state] = count
        while len(self._seen) > COUNTED:
            self._seen.popitem(last=False)
        if count <= BEFORE or not self._make_room(on):
            return None
        return self._capture(net, learn, on, key, reads)

    # ---- what a graph depends on ---------------------------------------------------------------

    def _key(self, net: Net, learn: bool, on: torch.device) -> Any:
        shapes = tuple(net._blobs[b].shape for b in self._inputs)
        held = tuple(b for b, blob in enumerate(net._blobs) if blob.values.held())
        drawn = mode.generator(on) if self._draws else None
        return learn, on, mode.precision(), shapes, held, frozenset(net._asked_for), drawn

    def _reads(
        self, net: Net, learn: bool, on: torch.device
    ) -> list[tuple[Memory | MemoryView, torch.Tensor, int | None]]:
        """The weights, and the weights of the losses, that a pass now reads.

        An inference keeps what it makes of its weights, and is for one version of them; so does,
        in a net that learns, a layer with weights that do not.
        """
        found: list[tuple[Memory | MemoryView, torch.Tensor, int | None]] = []
        for layer in _functions(net):
            rests = layer.derives and not any(layer.param_propagate_down[:1])
            for i, (blob, tensor) in enumerate(zip(layer.blobs, layer.parameters(on))):
                memory, any_version = blob.values, learn and not (rests and i == 0)
                found.append((memory, tensor, None if any_version else memory.version))
        for blob in _losses(net) if learn else ():
            found.append((blob.gradient, blob.gradient.tensor(on), blob.gradient.version))
        return found

    # ---- capturing -----------------------------------------------------------------------------

    def _capture(
        self, net: Net, learn: bool, on: torch.device, key: Any, reads: Any
    ) -> Captured | None:
        inputs = []
        for b in self._inputs:
            memory = net._blobs[b].values
            assert isinstance(memory, Memory)
            tensor = memory.tensor(on).clone()
            inputs.append((memory, tensor, Stage()))
            memory.pour(tensor, inputs[-1][2])
        # Once captured, what a change of shape copies would be copied at every replay.
        for i in self.inside:
            net._reshape_layer(i)
        for blob in net._blobs:
            blob.resize_gradient()
        learnable = [b.gradient for b in net.learnable] if learn else []
        # Where all graphs put the gradients of the parameters.
        targets = [b.gradient.home(b.values.tensor(on)) for b in net.learnable if learn]
        memories = self._memories(net)
        before = [m.version for m in memories]
        graph = torch.cuda.CUDAGraph()
        generators = [mode.generator(on)] if self._draws else []
        for generator in generators:
            graph.register_generator_state(generator)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                losses = net._run(self.inside)
                if learn:
                    net._backward(len(net._layers) - 1, 0, free=True)
                learned = [
                    (memory, _put(memory.tensor(on), target))
                    for memory, target in zip(learnable, targets)
                    if not memory.is_zero()
                ]
        except RuntimeError as error:
            # What was noted down was not done; the caller runs the layers one by one.
            self._refused = True
            glog.write("replay.py:1", f"Layers run one by one: {str(error).splitlines()[0]}")
            return None
        finally:
            for memory in learnable:
                memory.zero()
        found = Captured(graph, net._pass, losses, inputs, reads, learned=learned)
        for memory, version in zip(memories, before):
            if memory.version != version and not memory.is_deferred():
                held = None if memory.is_zero() else memory.tensor(on)
                found.left.append((memory, held))
        found.keep = [generators, [(layer._rounded, layer.derived) for layer in _functions(net)]]
        found.keep.append(net._pass.tensors() if net._pass else [])
        self._graphs[key] = found
        return found

    # ---- what a graph reads and makes ----------------------------------------------------------

    def _read(self, net: Net) -> list[int]:
        """The blobs that the layers inside read and do not make; one a memory."""
        made = {t for i in self.inside for t in net._tops[i]}
        found: dict[int, int] = {}
        for i in self.inside:
            for b in net._bottoms[i]:
                if b not in made:
                    found.setdefault(id(net._blobs[b].values), b)
        return list(found.values())

    def _memories(self, net: Net) -> list[Memory]:
        """The memories of the blobs that the layers inside make or give a gradient."""
        touched = {b for i in self.inside for b in (*net._tops[i], *net._bottoms[i])}
        read = {id(net._blobs[b].values) for b in self._inputs}
        found = {id(m): m for b in sorted(touched) for m in net._blobs[b].memories}
        return [m for i, m in found.items() if i not in read and isinstance(m, Memory)]

    def _make_room(self, on: torch.device) -> bool:
        """Let go of the graphs used longest ago while memory is short; whether it is not."""
        while True:
            free, whole = torch.cuda.mem_get_info(on)
            unused = torch.cuda.memory_reserved(on) - torch.cuda.memory_allocated(on)
            if free + unused > FREE * whole:
                return True
            if not self._graphs:
                return False
            self._graphs.popitem(last=False)
            torch.cuda.synchronize(on)
            torch.cuda.empty_cache()


def _outside(net: Net) -> list[int]:
    """The layers that no graph can hold, if all can run before the others; else every layer."""
    outside: list[int] = []
    made: set[int] = set()
    for i, layer in enumerate(net._layers):
        if isinstance(layer, (Split, Silence)) or (
            isinstance(layer, Function) and layer.replayable
        ):
            continue
        outside.append(i)
        made.update(net._tops[i])
        if not made.issuperset(net._bottoms[i]) or net._backward_layers[i]:
            return list(range(len(net._layers)))
    # Values that are views of others have no memory that a graph could fill.
    own = all(isinstance(m, Memory) for blob in net._blobs for m in blob.memories)
    return outside if own else list(range(len(net._layers)))


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are the same values in the same memory."""
    return (a.data_ptr(), a.shape, a.stride()) == (b.data_ptr(), b.shape, b.stride())


def _put(values: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """`target` with these values, which may have been put there already."""
    return target if _same(values, target) else target.copy_(values)


def _functions(net: Net) -> list[Function]:
    return [layer for layer in net._layers if isinstance(layer, Function)]


def _losses(net: Net) -> list[Any]:
    """The blobs that count as losses."""
    return [
        net._blobs[t]
        for of_layer, tops in zip(net._loss_weights, net._tops)
        for weight, t in zip(of_layer, tops)
        if weight
    ]


def _attached(net: Net, captured: Captured) -> bool:
    """Whether the blobs still have the memories that the graph's results go to."""
    now = {id(m) for blob in net._blobs for m in blob.memories}
    memories = [m for m, _ in captured.left] + [m for m, _, _ in captured.inputs]
    return all(id(m) in now for m in memories)
