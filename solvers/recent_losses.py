"""The mean loss of the last iterations, of an image and of a labelled pixel."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Tuple


class RecentLosses:
    """The losses of the last `count` iterations.

    label, ignore_label: the blob of the labels, and the label that is not counted. normalized:
    whether the loss of an image is the mean over its pixels, not their sum.
    """

    def __init__(
        self, count: int, label: str = "label", ignore_label: int = 255, normalized: bool = False
    ) -> None:
        self._count = max(count, 1)
        self._label, self._ignore_label, self._normalized = label, ignore_label, normalized
        self._losses: List[Tuple[float, float]] = []

    def add(self, net: Any, loss: float) -> None:
        """Add the loss of an iteration, after which `net` has the labels of its last image."""
        pixels = labelled_pixels(net, self._label, self._ignore_label)
        pixel_loss = loss if self._normalized else loss / pixels if pixels else math.nan
        self._losses = [*self._losses, (loss, pixel_loss)][-self._count :]

    @property
    def mean(self) -> float:
        """The mean loss of an image."""
        return sum(loss for loss, _ in self._losses) / max(len(self._losses), 1)

    @property
    def pixel_mean(self) -> float:
        """The mean loss of a labelled pixel, over the images that have any; NaN without one."""
        values = [value for _, value in self._losses if not math.isnan(value)]
        return sum(values) / len(values) if values else math.nan

    def state(self) -> Dict[str, Any]:
        """Return the losses, as values for a JSON file."""
        pairs = [[a, None if math.isnan(b) else b] for a, b in self._losses]
        return {"losses": pairs}

    def set_state(self, values: Mapping[str, Any]) -> None:
        """Continue where `state` was called."""
        pairs = [(float(a), math.nan if b is None else float(b)) for a, b in values["losses"]]
        self._losses = pairs[-self._count :]


def labelled_pixels(net: Any, label: str, ignore_label: int) -> int:
    """Return the number of pixels of the present images that have a label; 0 without the blob."""
    if label not in net.blobs:
        return 0
    return int((net.blobs[label].data != ignore_label).sum())
