"""`caffe test`: score a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..net import Net
from ..proto import caffe_pb2
from .flags import check_iterations, log, require, use_one_device


def run(flags: Any) -> int:
    """Log the outputs of each batch and their means over the iterations; return the exit status."""
    model = require(flags, "model", "Need a model definition to score.")
    weights = require(flags, "weights", "Need model weights to score.")
    check_iterations(flags)
    use_one_device(flags.gpu, (267, 275))
    net = Net(model, caffe_pb2.TEST, level=flags.level, stages=flags.stage.split(","))
    net.copy_from(weights)
    log(281, f"Running for {flags.iterations} iterations.")
    loss = 0.0
    total: np.ndarray = np.zeros(0)
    for batch in range(flags.iterations):
        loss += float(net.executor.forward_all())
        scores = _scores(net)
        for name, value in scores:
            log(304, f"Batch {batch}, {name} = {value:g}")
        values = np.array([value for _, value in scores])
        total = total + values if batch else values
    log(309, f"Loss: {loss / flags.iterations:g}")
    for (name, _), mean in zip(scores, total / flags.iterations):
        weight = net.blob_loss_weights[name]
        weighted = f" (* {weight:g} = {weight * mean:g} loss)" if weight else ""
        log(321, f"{name} = {mean:g}{weighted}")
    return 0


def _scores(net: Net) -> list[tuple[str, float]]:
    """Return each value of the output blobs, with the name of its blob."""
    return [
        (name, value)
        for name in net.outputs
        for value in net.blobs[name].values.tensor().reshape(-1).tolist()
    ]
