"""Computes the values of blobs that a pass of a program has left out, when they are read."""

from __future__ import annotations

import weakref
from collections.abc import Container, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from .. import mode
from ..layers import Function
from ..layers.views import View
from ..memory import Memory
from .flow import AnyMemory, Flow
from .functional import as_tuple
from .step import Step


class KeptInput:
    """An input of a group, which is copied before its memory changes.

    tensor: the values of the last pass; None while a pass runs.
    """

    def __init__(self) -> None:
        self.tensor: torch.Tensor | None = None
        self._is_copy = False
        #: The last copy, and the tensor that was copied, which others keep.
        self._copy: torch.Tensor | None = None
        self._copy_of: weakref.ref[torch.Tensor] | None = None
        #: Arrays over both, if the tensor was copied more than once.
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None
        self._memory: AnyMemory | None = None
        self._observer: weakref.WeakMethod | None = None

    def set(self, tensor: torch.Tensor | None, is_copy: bool = False) -> None:
        """Set the values of a pass; None drops the values of the last pass.

        is_copy: whether the tensor is not that of a memory, so that the values cannot change.
        """
        self.tensor, self._is_copy = tensor, is_copy

    def free(self) -> None:
        """Drop the values of the last pass and the memory of copies."""
        self.set(None)
        self._copy = self._copy_of = self._arrays = None

    def keep(self) -> None:
        """Copy the values of the pass."""
        if self.tensor is None or self._is_copy:
            return
        if self._copy is None or self._copy_of is None or self._copy_of() is not self.tensor:
            self._copy, self._copy_of = self.tensor.clone(), weakref.ref(self.tensor)
            self._arrays = None
        else:
            if self._arrays is None:
                self._arrays = _array(self._copy), _array(self.tensor)
            # PyTorch takes twice as long, because its code is no longer in the cache.
            np.copyto(*self._arrays)
        self.tensor, self._is_copy = self._copy, True

    def watch(self, memory: AnyMemory) -> None:
        """Copy the values, which are in a memory, before they change.

        Values in an array that somebody holds may change without notice, and are copied at once.
        """
        if self._is_copy:
            return
        if memory.held():
            self.keep()
        elif self._observer is not None and memory is self._memory:
            memory.watch_again(self, self._observer)
        else:
            self._memory, self._observer = memory, memory.watch(self, self.keep)


def _array(tensor: torch.Tensor) -> np.ndarray:
    """Return an array over a tensor, of integers for a type that NumPy lacks."""
    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.dtype.itemsize == 2 else tensor).numpy()


class Hidden(NamedTuple):
    """The memory of a blob that a pass does not compute, and the step that can compute the values.

    layers: the number of layers of the step, from the first on, that compute the values. value: the
    number of the values in the flow.
    """

    memory: Memory
    shape: torch.Size
    step: Step
    layers: int
    value: int


class Recall:
    """Computes the blobs that a pass has left out, layer by layer, when a script reads them.

    The memories are deferred once. They are deferred again only after one of them was read or
    changed; otherwise a pass replaces only the inputs.

    inputs: value of the flow -> the map that the groups have read.
    """

    def __init__(self, flow: Flow, requested: set[int], hidden: Sequence[Hidden]) -> None:
        self._flow, self._requested, self._hidden = flow, requested, hidden
        self._precision = mode.precision()
        self.inputs = {v: KeptInput() for h in hidden for v in h.step.group.inputs}
        #: Whether all memories are deferred as `begin` leaves them.
        self.is_intact = False
        #: Step -> the number of layers computed so far, and the values that the other layers read.
        self._partial: dict[Step, tuple[int, dict[int, torch.Tensor]]] = {}

    def begin(self, values: Sequence[torch.Tensor], copies: Container[int]) -> None:
        """Have the blobs computed from the values of a pass, by number, when somebody asks.

        copies: the numbers of values that are not those of a memory.
        """
        for value, kept in self.inputs.items():
            kept.set(values[value], value in copies)
        if self.is_intact:
            return
        for hidden in self._hidden:
            hidden.memory.reshape(hidden.shape)
            hidden.memory.defer(partial(self._read, hidden))
            hidden.memory.watch(self, self.note_change)
        self.is_intact = True

    def note_change(self) -> None:
        """Note that a memory is about to change."""
        self.is_intact = False

    def pause(self) -> None:
        """Drop the inputs of the last pass, whose blobs are about to change, before one like it."""
        for kept in self.inputs.values():
            kept.set(None)

    def close(self) -> None:
        """Drop the inputs of the last pass, whose blobs are about to be replaced."""
        self._partial.clear()
        for kept in self.inputs.values():
            kept.free()

    def let_go(self) -> None:
        """Free the memories."""
        self.close()
        for hidden in self._hidden:
            hidden.memory.let_go()

    def is_held(self) -> bool:
        """Return whether somebody holds one of the memories as an array."""
        return not self.is_intact and any(hidden.memory.held() for hidden in self._hidden)

    def _read(self, hidden: Hidden) -> torch.Tensor:
        """Compute the values of a memory; zeros while the pass that sets them is not complete."""
        self.is_intact = False
        inputs = {v: self.inputs[v].tensor for v in hidden.step.group.inputs}
        complete = {v: tensor for v, tensor in inputs.items() if tensor is not None}
        if len(complete) < len(inputs):
            return torch.zeros(hidden.shape)
        return self._compute(hidden, complete)

    def _compute(self, hidden: Hidden, inputs: dict[int, torch.Tensor]) -> torch.Tensor:
        """Compute a value from the inputs of its step, and have it computed from now on.

        The weights and the precision are those of the pass.
        """
        step, count = hidden.step, hidden.layers
        done, values = self._partial.pop(step, (0, {}))
        values.update(inputs)
        places = step.group.places
        with torch.no_grad(), mode.at_precision(self._precision):
            for i in range(done, count):
                layer = step.nodes[i].layer
                assert isinstance(layer, (Function, View))
                layer.weights = layer.rounded(step.weights[i])
                arguments = layer.rounded([values[v] for v in self._flow.inputs[places[i]]])
                outputs = self._flow.outputs[places[i]]
                values.update(zip(outputs, as_tuple(layer.compute(*arguments))))
                self._drop_unneeded(step, i + 1, values)
        y = values[hidden.value]
        done = max(done, count)
        read_later = any(hidden.value in self._flow.inputs[place] for place in places[done:])
        if done < len(places):
            self._partial[step] = done, {v: t for v, t in values.items() if v not in inputs}
        self._requested.update(self._flow.blobs[hidden.value])
        # The owner of the blob may write to the memory, and later layers read the values.
        return y.clone() if read_later else y

    def _drop_unneeded(self, step: Step, done: int, values: dict[int, torch.Tensor]) -> None:
        """Drop the values of layers that neither a blob nor a layer after `done` needs."""
        last = self._flow.outputs[step.group.places[done - 1]]
        needed = {v for v, _ in step.group.hidden}.union(last)
        needed.update(v for place in step.group.places[done:] for v in self._flow.inputs[place])
        for value in [v for v in values if v not in needed]:
            del values[value]
