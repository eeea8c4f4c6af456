"""The nets of `bench.learners` in the usual style of PyTorch, for comparison."""

from __future__ import annotations

from typing import Sequence

import torch
from torch import nn

from bench.learners import SOLVER, Convolution, Dense, Layer, Learner, Pooling, name_of


def module(layer: Layer, inputs: int) -> nn.Module:
    """Return a layer whose bottom has `inputs` channels, or, for a Dense one, values."""
    if isinstance(layer, Convolution):
        window = layer.kernel, layer.stride, layer.pad
        return nn.Conv2d(inputs, layer.outputs, *window, groups=layer.group)
    if isinstance(layer, Dense):
        return nn.Linear(inputs, layer.outputs)
    if isinstance(layer, Pooling):
        return nn.MaxPool2d(layer.kernel, layer.stride, ceil_mode=True)
    return nn.LocalResponseNorm(5) if layer.type == "LRN" else nn.ReLU(inplace=True)


def model(learner: Learner) -> nn.Sequential:
    """Return the net up to its scores; layers with weights have their names in the table."""
    net, x = nn.Sequential(), torch.zeros(1, *learner.shape[1:])
    for number, layer in enumerate(learner.layers, 1):
        if isinstance(layer, Dense) and x.dim() > 2:
            net.add_module(f"flatten{number}", nn.Flatten())
            x = x.flatten(1)
        part = module(layer, x.shape[1])
        net.add_module(name_of(layer, number), part)
        with torch.no_grad():
            x = part(x)
    return net


def optimizer(parameters: Sequence[nn.Parameter]) -> torch.optim.SGD:
    """Return the solvers' SGD: all parameters learn alike."""
    return torch.optim.SGD(
        parameters,
        lr=SOLVER["base_lr"],
        momentum=SOLVER["momentum"],
        weight_decay=SOLVER["weight_decay"],
    )
