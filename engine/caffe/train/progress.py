"""What a solver logs of its progress: its speed, the mean of the last losses, the nets' outputs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import SupportsFloat

from .. import glog
from ..net import Net

#: The name of each output blob of a net, and the blob's values in memory order.
Outputs = Sequence[tuple[str, Sequence[float]]]


class Speed:
    """Measures iterations per second between the lines of the log."""

    def __init__(self, iteration: int) -> None:
        self._time, self._iteration = time.perf_counter(), iteration

    def since_last(self, iteration: int) -> tuple[float, float]:
        """Return the iterations per second and the seconds since the last call."""
        now = time.perf_counter()
        seconds, count = now - self._time, iteration - self._iteration
        self._time, self._iteration = now, iteration
        return (count / seconds if count else 0), seconds


class RecentLosses:
    """The losses of the last `count` iterations.

    Losses stay where they were computed until `mean` reads them, so that a device is not waited
    for.
    """

    def __init__(self, count: int) -> None:
        self._losses: deque[Sequence[SupportsFloat]] = deque(maxlen=count)

    def begin(self, count: int) -> None:
        """Forget all losses, and keep those of the last `count` iterations from now on."""
        if self._losses.maxlen == count:
            self._losses.clear()
        else:
            self._losses = deque(maxlen=count)

    def add(self, losses: Sequence[SupportsFloat]) -> None:
        """Add the losses of the passes of one iteration; the last object is not added again."""
        if not self._losses or self._losses[-1] is not losses:
            self._losses.append(losses)

    def values(self) -> list[list[float]]:
        """Return the losses of each iteration, the oldest first."""
        return [list(map(float, losses)) for losses in self._losses]

    def mean(self) -> float:
        """Return the mean over the iterations of the mean loss of an iteration; 0 for none."""
        means = [sum(map(float, losses)) / len(losses) for losses in self._losses]
        return sum(means) / max(1, len(means))


def output_values(net: Net, without: Sequence[str] = ()) -> Outputs:
    """Return the values of the net's output blobs, as floats, but for those of some names."""
    blobs = net.blobs
    names = [name for name in net.outputs if name not in without]
    return [(name, blobs[name].values.tensor().reshape(-1).tolist()) for name in names]


def add_outputs(total: Outputs, outputs: Outputs) -> Outputs:
    """Return the sum of two sets of output values, value by value."""
    return [
        (name, [a + b for a, b in zip(sums, values)])
        for (name, sums), (_, values) in zip(total, outputs)
    ]


def log_outputs(kind: str, outputs: Outputs, net: Net, place: str) -> None:
    """Log a line for each output value. `kind` is "Train" or "Test"; `place` as in glog.write."""
    number = 0
    for name, values in outputs:
        weight = net.blob_loss_weights[name]
        for value in values:
            loss = f" (* {weight:g} = {weight * value:g} loss)" if weight else ""
            glog.write(place, f"    {kind} net output #{number}: {name} = {value:g}{loss}")
            number += 1
