"""`caffe time`: measure the time that each layer takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import UsageError
from ..net import Net
from ..proto import caffe_pb2
from ..timer import Timer
from .flags import check_iterations, log, require, use_one_device


def run(flags: Any) -> int:
    """Log the time of each layer, forward and backward; return the exit status."""
    model = require(flags, "model", "Need a model definition to time.")
    if flags.phase not in ("", "TRAIN", "TEST"):
        raise UsageError('phase must be "TRAIN" or "TEST"')
    check_iterations(flags)
    use_one_device(flags.gpu, (339, 343))
    phase = caffe_pb2.Phase.Value(flags.phase or "TRAIN")
    net = Net(model, phase, level=flags.level, stages=flags.stage.split(","))
    last = len(net.layers) - 1
    log(351, "Performing Forward")
    log(356, f"Initial loss: {float(net.executor.forward_all()):g}")
    log(357, "Performing Backward")
    net.executor.backward(last, 0)
    log(365, "*** Benchmark begins ***")
    log(366, f"Testing for {flags.iterations} iterations.")
    _measure(net, flags.iterations)
    log(415, "*** Benchmark ends ***")
    return 0


def _measure(net: Net, iterations: int) -> None:
    """Run the layers one by one and log the mean times, in milliseconds."""
    count = len(net.layers)
    forward = _Pass(lambda i: float(net.executor.forward(i, i)), range(count))
    backward = _Pass(lambda i: net.executor.backward(i, i), reversed(range(count)))
    timer, total = Timer(), 0.0
    for iteration in range(1, iterations + 1):
        timer.start()
        forward.run()
        backward.run()
        elapsed = timer.ms
        log(394, f"Iteration: {iteration} forward-backward time: {elapsed:g} ms.")
        total += elapsed
    log(397, "Average time per layer: ")
    for i, name in enumerate(net.layer_names):
        log(400, f"{name:>10}\tforward: {forward.layers[i] / iterations:g} ms.")
        log(403, f"{name:>10}\tbackward: {backward.layers[i] / iterations:g} ms.")
    log(408, f"Average Forward pass: {forward.total / iterations:g} ms.")
    log(410, f"Average Backward pass: {backward.total / iterations:g} ms.")
    log(412, f"Average Forward-Backward: {total / iterations:g} ms.")
    log(414, f"Total Time: {total:g} ms.")


class _Pass:
    """Passes through the layers of a net, with the milliseconds that they have taken so far."""

    def __init__(self, run_layer: Callable[[int], Any], order: Iterable[int]) -> None:
        self._run_layer, self._order = run_layer, list(order)
        self.layers = [0.0] * len(self._order)
        self.total = 0.0

    def run(self) -> None:
        all_layers, layer = Timer(), Timer()
        all_layers.start()
        for i in self._order:
            layer.start()
            self._run_layer(i)
            self.layers[i] += layer.ms
        self.total += all_layers.ms
