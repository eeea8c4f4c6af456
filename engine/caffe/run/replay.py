"""Passes on a CUDA device, captured as graphs by input size and replayed.

A pass through a large net launches hundreds of kernels of a few microseconds each. If Python
launches them one by one, the device waits most of the time. There are three phases:

1. Warm up: the first two passes of a size run layer by layer.
2. Capture: the third pass runs the same layers, and their launches are recorded.
3. Replay: later passes run all recorded launches at once, on the tensors of the capture. The blobs
   then have the values that a pass layer by layer gives them.

Before each replay, the tensors that the graph reads from outside (weights, borders) are compared
with those of the capture. If they differ, the pass runs layer by layer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from .. import glog, mode
from ..device_copies import Stage
from ..layers import EngineLayer, Function
from ..memory import Memory, MemoryView
from .passes import Pass
from .wiring import Wiring

#: Passes of a size that run layer by layer before the size is captured.
BEFORE = 2
#: The most sizes whose passes are counted.
COUNTED = 4096
#: The share of a device's memory that must stay free for another graph.
FREE = 0.25

Losses = list[tuple[float, torch.Tensor]]
#: Runs the layers of a graph; returns their losses, and the pass through a region, if there is one.
Run = Callable[[], tuple[Losses, Pass | None]]


class Read(NamedTuple):
    """A tensor that a graph reads from outside. version: of its values; None for any version."""

    memory: Memory | MemoryView
    tensor: torch.Tensor
    version: int | None

    def is_unchanged(self) -> bool:
        """Return whether the values have not moved and, where the version counts, not changed."""
        return self.memory.lies_in(self.tensor) and self.version in (None, self.memory.version)


@dataclass
class Captured:
    """A graph with the tensors that it reads and writes.

    region_pass: the pass through a region that the graph contains.
    inputs: the memories that are copied into tensors of the graph before each replay. reads: the
    other tensors that the graph reads. results: memories of blobs, each with its values after a
    replay; None stands for zeros.
    gradients: of parameters, in tensors that all graphs of a net share.
    keep: tensors and generators that must live as long as the graph.
    """

    graph: Any
    region_pass: Pass | None
    losses: Losses
    inputs: list[tuple[Memory, torch.Tensor, Stage]]
    reads: list[Read]
    results: list[tuple[Memory, torch.Tensor | None]] = field(default_factory=list)
    gradients: list[tuple[Memory | MemoryView, torch.Tensor]] = field(default_factory=list)
    keep: list[Any] = field(default_factory=list)

    def fits(self, wiring: Wiring) -> bool:
        """Return whether no tensor that the graph reads or writes has moved."""
        if not all(read.is_unchanged() for read in self.reads):
            return False
        attached = {id(m) for blob in wiring.blobs for m in blob.memories}
        memories = [m for m, _ in self.results] + [m for m, _, _ in self.inputs]
        return all(id(m) in attached for m in memories)

    def replay(self) -> Losses:
        """Run the graph, give the blobs their values, and return the losses."""
        for memory, tensor, stage in self.inputs:
            memory.pour(tensor, stage)
        for gradient, tensor in self.gradients:
            # An earlier pass of the same iteration left its gradient in the shared tensor.
            if not gradient.is_zero() and _same(gradient.tensor(tensor.device), tensor):
                gradient.set(tensor.clone())
        self.graph.replay()
        for memory, values in self.results:
            memory.zero() if values is None else memory.set(values)
        for gradient, tensor in self.gradients:
            gradient.add(tensor)
        if self.region_pass is not None:
            self.region_pass.defer_values()
            if self.gradients:
                self.region_pass.defer_gradients()
        return [(weight, value.clone()) for weight, value in self.losses]


class Replays:
    """The graphs of a net.

    outside: the numbers of the layers that bring the data; no graph contains them. inside: the
    numbers of the other layers.
    """

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self.outside = _layers_outside(wiring)
        outside = set(self.outside)
        self.inside = [n.number for n in wiring.nodes if n.number not in outside]
        self._inputs = self._input_blobs()
        functions = self._functions()
        #: Whether layers draw random numbers.
        self._draws = any(layer.stateful for layer in functions)
        #: Whether a pass forward keeps what a pass backward needs.
        self._records = any(layer.record for layer in functions)
        self._counts: OrderedDict[Any, int] = OrderedDict()
        self._graphs: OrderedDict[Any, Captured] = OrderedDict()
        self._pool: Any = None
        #: Why no pass is captured any more, or "".
        self.refused = "" if self.inside else "a layer cannot be captured"

    def __len__(self) -> int:
        return len(self._graphs)

    def reason_against(self) -> str:
        """Return why passes are not replayed now, or ""."""
        if mode.device().type != "cuda":
            return "the net runs on the CPU"
        return self.refused if mode.fast() else mode.NOT_FAST

    def refuse(self, reason: str) -> None:
        """Run all later passes layer by layer."""
        self.refused = reason

    def find(self, requested: set[int], learn: bool, run: Run) -> Captured | None:
        """Return the graph of a pass over the layers `inside`, with the backward pass if `learn`.

        requested: the blobs inside a region that are computed whole.
        run: runs the layers, to be captured. None: the caller is to run the layers one by one.
        """
        device = mode.device()
        if self._records != learn:
            return None
        key = self._key(requested, learn, device)
        captured = self._graphs.get(key)
        if captured is not None and captured.fits(self._wiring):
            self._graphs.move_to_end(key)
            return captured
        if learn and not all(p.blob.gradient.is_zero() for p in self._wiring.parameters):
            return None
        self._graphs.pop(key, None)
        reads = self._reads(learn, device)
        state = key, tuple((read.tensor.data_ptr(), read.version) for read in reads)
        count = self._counts.pop(state, 0) + 1
        self._counts[state] = count
        while len(self._counts) > COUNTED:
            self._counts.popitem(last=False)
        if count <= BEFORE or not self._make_room(device):
            return None
        captured = self._capture(learn, device, reads, run)
        if captured is not None:
            self._graphs[key] = captured
        return captured

    def _functions(self) -> list[Function]:
        return [n.layer for n in self._wiring.nodes if isinstance(n.layer, Function)]

    def _key(self, requested: set[int], learn: bool, device: torch.device) -> Any:
        blobs = self._wiring.blobs
        shapes = tuple(blobs[b].shape for b in self._inputs)
        held = tuple(b for b, blob in enumerate(blobs) if blob.values.held())
        generator = mode.generator(device) if self._draws else None
        return learn, device, mode.precision(), shapes, held, frozenset(requested), generator

    def _reads(self, learn: bool, device: torch.device) -> list[Read]:
        """Return the weights, and the weights of the losses, that a pass now reads.

        An inference keeps what it derives from its weights, and is for one version of them; so is,
        in a net that learns, a layer whose weights do not learn.
        """
        reads = []
        for layer in self._functions():
            fixed = layer.derives and not any(layer.param_propagate_down[:1])
            for i, (blob, tensor) in enumerate(zip(layer.blobs, layer.parameters(device))):
                any_version = learn and not (fixed and i == 0)
                version = None if any_version else blob.values.version
                reads.append(Read(blob.values, tensor, version))
        for blob in self._wiring.loss_blobs if learn else ():
            gradient = blob.gradient
            reads.append(Read(gradient, gradient.tensor(device), gradient.version))
        return reads

    def _capture(
        self, learn: bool, device: torch.device, reads: list[Read], run: Run
    ) -> Captured | None:
        wiring, inputs = self._wiring, []
        for b in self._inputs:
            memory = wiring.blobs[b].values
            assert isinstance(memory, Memory)
            tensor = memory.tensor(device).clone()
            inputs.append((memory, tensor, Stage()))
            memory.pour(tensor, inputs[-1][2])
        # After the capture, every copy that a change of shape makes would be made at every replay.
        for number in self.inside:
            node = wiring.nodes[number]
            node.layer.reshape(wiring.bottoms(node), wiring.tops(node))
        for blob in wiring.blobs:
            blob.resize_gradient()
        parameters = [p.blob for p in wiring.parameters] if learn else []
        gradients = [blob.gradient for blob in parameters]
        # All graphs of the net leave the gradients of the parameters in these tensors.
        homes = [blob.gradient.home(blob.values.tensor(device)) for blob in parameters]
        memories = self._touched_memories()
        versions = [memory.version for memory in memories]
        graph = torch.cuda.CUDAGraph()
        generators = [mode.generator(device)] if self._draws else []
        for generator in generators:
            graph.register_generator_state(generator)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                losses, region_pass = run()
                learned = [
                    (memory, _put(memory.tensor(device), home))
                    for memory, home in zip(gradients, homes)
                    if not memory.is_zero()
                ]
        except RuntimeError as error:
            # The recorded launches did not run; the caller runs the layers one by one.
            self.refuse(f"the capture failed: {str(error).splitlines()[0]}")
            glog.write("replay.py:1", f"CUDA graphs are off for this net: {self.refused}", 1)
            return None
        finally:
            for memory in gradients:
                memory.zero()
        captured = Captured(graph, region_pass, losses, inputs, reads, gradients=learned)
        for memory, version in zip(memories, versions):
            if memory.version != version and not memory.is_deferred():
                values = None if memory.is_zero() else memory.tensor(device)
                captured.results.append((memory, values))
        captured.keep = [generators, [layer.kept_tensors() for layer in self._functions()]]
        captured.keep.append(region_pass.tensors() if region_pass else [])
        return captured

    def _input_blobs(self) -> list[int]:
        """Return the blobs that the layers inside read and do not make; one for each memory."""
        nodes, blobs = self._wiring.nodes, self._wiring.blobs
        tops = {t for i in self.inside for t in nodes[i].tops}
        inputs: dict[int, int] = {}
        for i in self.inside:
            for b in nodes[i].bottoms:
                if b not in tops:
                    inputs.setdefault(id(blobs[b].values), b)
        return list(inputs.values())

    def _touched_memories(self) -> list[Memory]:
        """Return the memories of the blobs that the layers inside make or give a gradient."""
        nodes, blobs = self._wiring.nodes, self._wiring.blobs
        touched = {b for i in self.inside for b in (*nodes[i].tops, *nodes[i].bottoms)}
        inputs = {id(blobs[b].values) for b in self._inputs}
        memories = {id(m): m for b in sorted(touched) for m in blobs[b].memories}
        return [m for i, m in memories.items() if i not in inputs and isinstance(m, Memory)]

    def _make_room(self, device: torch.device) -> bool:
        """Drop the least recently used graphs while memory is short; whether it no longer is."""
        while True:
            free, total = torch.cuda.mem_get_info(device)
            unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            if free + unused > FREE * total:
                return True
            if not self._graphs:
                return False
            self._graphs.popitem(last=False)
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()


def _layers_outside(wiring: Wiring) -> list[int]:
    """Return the layers that no graph can contain.

    If not all of them can run before the other layers, return every layer.
    """
    outside: list[int] = []
    tops: set[int] = set()
    everything = [node.number for node in wiring.nodes]
    for node in wiring.nodes:
        layer = node.layer
        if isinstance(layer, EngineLayer) and layer.replayable:
            continue
        outside.append(node.number)
        tops.update(node.tops)
        if not tops.issuperset(node.bottoms) or node.backward:
            return everything
    # A view of another memory has no memory of its own that a graph could fill.
    has_views = any(isinstance(m, MemoryView) for blob in wiring.blobs for m in blob.memories)
    return everything if has_views else outside


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return whether two tensors are the same values in the same memory."""
    return (a.data_ptr(), a.shape, a.stride()) == (b.data_ptr(), b.shape, b.stride())


def _put(values: torch.Tensor, home: torch.Tensor) -> torch.Tensor:
    """`home` with these values, which may have been put there already."""
    return home if _same(values, home) else home.copy_(values)
