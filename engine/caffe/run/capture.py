"""A pass on a CUDA device, captured as a graph: what the graph reads and writes, and its replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from .. import mode
from ..device_copies import Stage
from ..layers import Function
from ..memory import Memory, MemoryView
from .loss import Losses
from .passes import Pass
from .wiring import Wiring

#: Runs the layers of a graph; returns their losses, and the pass through a region, if there is one.
Run = Callable[[], tuple[Losses, Pass | None]]


class CaptureError(Exception):
    """The launches of a pass cannot be recorded."""


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
    results: list[tuple[Memory, torch.Tensor | None]]
    gradients: list[tuple[Memory | MemoryView, torch.Tensor]]
    keep: list[Any]

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


class GraphLayers:
    """The layers of a net that graphs contain, and the memories that they read and write.

    numbers: of the layers.
    shapes: those of the blobs that the layers read and do not make.
    draws: whether the layers draw random numbers.
    records: whether a pass forward keeps what a pass backward needs.
    """

    def __init__(self, wiring: Wiring, numbers: Sequence[int]) -> None:
        self._wiring, self.numbers = wiring, numbers
        self._inputs = self._input_blobs()
        functions = self._functions()
        self.draws = any(layer.stateful for layer in functions)
        self.records = any(layer.record for layer in functions)
        self._pool: Any = None

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the inputs."""
        return tuple(self._wiring.blobs[b].shape for b in self._inputs)

    def reads(self, learn: bool, device: torch.device) -> list[Read]:
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

    def capture(self, learn: bool, device: torch.device, reads: list[Read], run: Run) -> Captured:
        """Record a pass as a graph, without running it.

        learn: whether `run` runs the layers backward, too. reads: as `reads` returns them now.

        Raises CaptureError.
        """
        inputs = self._fix_inputs(device)
        self._settle_shapes()
        homes = self._gradient_homes(device) if learn else []
        versions = [(memory, memory.version) for memory in self._touched_memories()]
        generators = [mode.generator(device)] if self.draws else []
        graph = self._new_graph(generators)
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                losses, region_pass = run()
                gradients = [
                    (memory, _put(memory.tensor(device), home))
                    for memory, home in homes
                    if not memory.is_zero()
                ]
        except RuntimeError as error:
            raise CaptureError(str(error).splitlines()[0]) from error
        finally:
            for memory, _ in homes:
                memory.zero()
        results = _results(versions, device)
        keep = [generators, [layer.kept_tensors() for layer in self._functions()]]
        keep.append(region_pass.tensors() if region_pass else [])
        return Captured(graph, region_pass, losses, inputs, reads, results, gradients, keep)

    def _fix_inputs(self, device: torch.device) -> list[tuple[Memory, torch.Tensor, Stage]]:
        """Give the inputs tensors that stay where they are."""
        inputs = []
        for b in self._inputs:
            memory, stage = self._wiring.blobs[b].values, Stage()
            assert isinstance(memory, Memory)
            tensor = memory.tensor(device).clone()
            memory.pour(tensor, stage)
            inputs.append((memory, tensor, stage))
        return inputs

    def _settle_shapes(self) -> None:
        """Give all blobs their shapes: a replay would repeat the copies of a change of shape."""
        for number in self.numbers:
            node = self._wiring.nodes[number]
            node.layer.reshape(self._wiring.bottoms(node), self._wiring.tops(node))
        for blob in self._wiring.blobs:
            blob.resize_gradient()

    def _gradient_homes(
        self, device: torch.device
    ) -> list[tuple[Memory | MemoryView, torch.Tensor]]:
        """Return the parameters' gradients, and the tensors in which all graphs leave them."""
        blobs = [parameter.blob for parameter in self._wiring.parameters]
        return [(b.gradient, b.gradient.home(b.values.tensor(device))) for b in blobs]

    def _new_graph(self, generators: Sequence[torch.Generator]) -> Any:
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        return graph

    def _functions(self) -> list[Function]:
        return [n.layer for n in self._wiring.nodes if isinstance(n.layer, Function)]

    def _input_blobs(self) -> list[int]:
        """Return the blobs that the layers read and do not make; one for each memory."""
        nodes, blobs = self._wiring.nodes, self._wiring.blobs
        tops = {t for i in self.numbers for t in nodes[i].tops}
        inputs: dict[int, int] = {}
        for i in self.numbers:
            for b in nodes[i].bottoms:
                if b not in tops:
                    inputs.setdefault(id(blobs[b].values), b)
        return list(inputs.values())

    def _touched_memories(self) -> list[Memory]:
        """Return the memories of the blobs that the layers make or give a gradient."""
        nodes, blobs = self._wiring.nodes, self._wiring.blobs
        touched = {b for i in self.numbers for b in (*nodes[i].tops, *nodes[i].bottoms)}
        inputs = {id(blobs[b].values) for b in self._inputs}
        memories = {id(m): m for b in sorted(touched) for m in blobs[b].memories}
        return [m for i, m in memories.items() if i not in inputs and isinstance(m, Memory)]


def _results(
    versions: Sequence[tuple[Memory, int]], device: torch.device
) -> list[tuple[Memory, torch.Tensor | None]]:
    """Return the memories that have changed since these versions, with their values."""
    return [
        (memory, None if memory.is_zero() else memory.tensor(device))
        for memory, version in versions
        if memory.version != version and not memory.is_deferred()
    ]


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return whether two tensors are the same values in the same memory."""
    return (a.data_ptr(), a.shape, a.stride()) == (b.data_ptr(), b.shape, b.stride())


def _put(values: torch.Tensor, home: torch.Tensor) -> torch.Tensor:
    """`home` with these values, which may have been put there already."""
    return home if _same(values, home) else home.copy_(values)
