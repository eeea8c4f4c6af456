"""The values of blobs that a pass of a program did not compute."""

from __future__ import annotations

import torch

from .. import mode
from ..layers import Function
from .flow import Flow
from .functional import as_tuple
from .step import Step


class KeptInput:
    """An input of a group, which is copied before its memory changes."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor, self.closed = tensor, False

    def keep(self) -> None:
        """Copy the values, unless the pass has ended."""
        if not self.closed:
            self.tensor, self.closed = self.tensor.clone(), True


class Recall:
    """The values of blobs that a pass did not compute, layer by layer, when somebody asks.

    inputs: by value, the maps that the groups have read.
    """

    def __init__(self, flow: Flow, requested: set[int]) -> None:
        self.inputs: dict[int, KeptInput] = {}
        self._flow, self._requested = flow, requested
        #: For each step that has been computed in part: how many layers, and values for the others.
        self._partial: dict[Step, tuple[int, dict[int, torch.Tensor]]] = {}

    def input(self, value: int, tensor: torch.Tensor) -> KeptInput:
        """The kept input of this value."""
        return self.inputs.setdefault(value, KeptInput(tensor))

    def close(self) -> None:
        """Copy no more inputs."""
        self._partial.clear()
        for kept in self.inputs.values():
            kept.closed = True

    def value(self, step: Step, count: int, inputs: dict[int, KeptInput]) -> torch.Tensor:
        """Compute the top of the first `count` layers of a step, and have it computed from now on.

        The weights are those of the pass.
        """
        done, values = self._partial.pop(step, (0, {}))
        values.update((v, kept.tensor) for v, kept in inputs.items())
        places = step.group.places
        with torch.no_grad(), mode.at_precision("float32"):
            for i in range(done, count):
                layer = step.nodes[i].layer
                assert isinstance(layer, Function)
                layer.weights = step.weights[i]
                arguments = [values[v] for v in self._flow.inputs[places[i]]]
                (output,) = self._flow.outputs[places[i]]
                values[output] = as_tuple(layer.compute(*arguments))[0]
                self._drop_unneeded(step, i + 1, values)
        (output,) = self._flow.outputs[places[count - 1]]
        y = values[output]
        done = max(done, count)
        read_later = any(output in self._flow.inputs[place] for place in places[done:])
        if done < len(places):
            self._partial[step] = done, {v: t for v, t in values.items() if v not in inputs}
        self._requested.update(self._flow.blobs[output])
        # The owner of the blob may write to the memory, and later layers read the values.
        return y.clone() if read_later else y

    def _drop_unneeded(self, step: Step, done: int, values: dict[int, torch.Tensor]) -> None:
        """Drop the values of layers that neither a blob nor a layer after `done` needs."""
        (last,) = self._flow.outputs[step.group.places[done - 1]]
        needed = {v for v, _ in step.group.hidden} | {last}
        needed.update(v for place in step.group.places[done:] for v in self._flow.inputs[place])
        for value in [v for v in values if v not in needed]:
            del values[value]
