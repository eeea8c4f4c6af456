"""The loss of a pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from .wiring import Wiring

#: Losses, each behind its weight.
Parts = Sequence[tuple[float, torch.Tensor | float]]
#: The same, on the device where they were computed.
Losses = list[tuple[float, torch.Tensor]]


class Loss:
    """The losses of a pass with their weights; as a float, their weighted sum.

    The values stay on the device where they were computed until `float` is called, so that the
    caller need not wait for the device.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __float__(self) -> float:
        return sum([weight * float(value) for weight, value in self._parts], 0.0)


class WeightedLosses:
    """The tops of a net that count in its loss."""

    def __init__(self, wiring: Wiring) -> None:
        self._blobs = wiring.blobs
        self._weighted = [
            (weight, t)
            for node in wiring.nodes
            for weight, t in zip(node.loss_weights, node.tops)
            if weight
        ]

    def arrays(self) -> list[tuple[float, np.ndarray]] | None:
        """Return the losses' weights and arrays over their memories.

        None if a loss is not a single number.
        """
        memories = [(weight, self._blobs[t].values) for weight, t in self._weighted]
        if any(math.prod(memory.shape) != 1 for _, memory in memories):
            return None
        return [(weight, memory.tensor().numpy()) for weight, memory in memories]

    def read(self) -> Parts:
        """Return the present losses."""
        losses: list[tuple[float, torch.Tensor | float]] = []
        for weight, t in self._weighted:
            values = self._blobs[t].values.tensor()
            losses.append((weight, values.item() if values.numel() == 1 else values.sum()))
        return losses
