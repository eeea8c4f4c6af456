"""The loss of a pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

#: Losses, each behind its weight.
Parts = Sequence[tuple[float, torch.Tensor | float]]


class Loss:
    """The losses of a pass with their weights; as a float, their weighted sum.

    The values stay on the device where they were computed until `float` is called, so that the
    caller need not wait for the device.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __float__(self) -> float:
        return sum((weight * float(value) for weight, value in self._parts), 0.0)
