"""Computes the values of blobs that a pass of a program has left out, when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch

from .. import mode
from ..layers import Function
from ..layers.views import View
from ..memory import Memory
from .flow import Flow
from .functional import as_tuple
from .step import Step


class KeptInput:
    """An input of a group, which is copied before its memory changes.

    tensor: the values of the last pass; None while a pass runs.
    """

    def __init__(self) -> None:
        self.tensor: torch.Tensor | None = None
        self._is_copy = False

    def set(self, tensor: torch.Tensor | None) -> None:
        """Set the values of a pass; None drops the values of the last pass."""
        self.tensor, self._is_copy = tensor, False

    def keep(self) -> None:
        """Copy the values of the pass."""
        if self.tensor is not None and not self._is_copy:
            self.tensor, self._is_copy = self.tensor.clone(), True


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

    def begin(self, values: Sequence[torch.Tensor]) -> None:
        """Have the blobs computed from the values of a pass, by number, when somebody asks."""
        for value, kept in self.inputs.items():
            kept.set(values[value])
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

    def close(self) -> None:
        """Drop the inputs of the last pass, whose blobs are about to be replaced."""
        self._partial.clear()
        for kept in self.inputs.values():
            kept.set(None)

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
