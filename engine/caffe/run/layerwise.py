"""Runs the layers of a net one by one, and those of a region together."""

from __future__ import annotations

from collections.abc import Sequence

from .. import heap, mode
from ..blob import Blob
from ..layers import Function
from . import debug_info, single
from .failures import raise_for
from .loss import Losses
from .observers import Observers
from .passes import Pass
from .regions import Regions
from .wiring import Wiring


class Layerwise:
    """Runs layers forward and backward, with what observers want to see of each."""

    def __init__(self, wiring: Wiring, regions: Regions, observers: Observers) -> None:
        self._wiring, self._regions, self._observers = wiring, regions, observers

    def forward(self, numbers: Sequence[int]) -> Losses:
        """Run layers, given by number in rising order; return their losses with the weights."""
        heap.keep()
        if numbers:
            self._regions.forget_pass_from(numbers[0])
        losses: list[tuple[float, Blob]] = []
        end_of_region = -1
        for number in numbers:
            if number <= end_of_region:
                continue
            patches = self._regions.within(number, numbers[-1])
            if patches is None:
                losses += self._layer_forward(number)
            else:
                self._regions.run(patches)
                end_of_region = patches.region.last
        device = mode.device()
        return [(weight, blob.values.tensor(device).sum()) for weight, blob in losses]

    def _layer_forward(self, number: int) -> list[tuple[float, Blob]]:
        """Run a layer; return the tops that count in the loss, each with its weight."""
        node = self._wiring.nodes[number]
        self._observers.call("before_forward", number)
        tops = single.forward(self._wiring, node)
        if self._observers.debug_info:
            debug_info.log_forward(self._wiring, node)
        self._observers.call("after_forward", number)
        return [(weight, blob) for weight, blob in zip(node.loss_weights, tops) if weight]

    def backward(self, first: int, last: int, free: bool) -> None:
        """Run the layers `first` down to `last` backward.

        free: whether to free what the forward kept for the backward.
        """
        number = first
        while number >= last:
            region_pass = self._pass_that_ends(number, last)
            if region_pass is None:
                self._layer_backward(number, free)
                number -= 1
            else:
                self._region_backward(region_pass, free)
                number = region_pass.region.first - 1

    def _pass_that_ends(self, number: int, last: int) -> Pass | None:
        """Return the last pass if gradients go from layer `number` through its whole region."""
        region_pass = self._regions.last_pass
        if region_pass is None or not region_pass.recorded or self._observers.are_present():
            return None
        region = region_pass.region
        return region_pass if number == region.last and last <= region.first else None

    def _region_backward(self, region_pass: Pass, free: bool) -> None:
        try:
            region_pass.backward(free)
        except Exception as error:
            node = self._wiring.nodes[region_pass.region.last]
            raise_for(node.layer, node.param, "backward", error)

    def _layer_backward(self, number: int, free: bool) -> None:
        node = self._wiring.nodes[number]
        self._observers.call("before_backward", number)
        if node.backward:
            single.backward(self._wiring, node)
            if self._observers.debug_info:
                debug_info.log_backward(self._wiring, node)
        if free and isinstance(node.layer, Function):
            node.layer.forget()
        self._observers.call("after_backward", number)
