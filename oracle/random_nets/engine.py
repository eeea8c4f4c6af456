"""Random nets in the engine: their numbers or refusals, also with changed roundings."""

from __future__ import annotations

import functools
import os
import tempfile
from typing import Dict, NamedTuple, Optional

import caffe
import numpy as np
import torch
from caffe.ops import lrn

from oracle.cases.case import layer
from oracle.run_nets import EXACT, Perturbation, run_in_fork, run_net

#: The relative error that a sum of some tens of float32 values has.
ROUNDING = 1e-6


class Outcome(NamedTuple):
    """What one net gave: its numbers by key, or the text of its refusal."""

    numbers: Optional[Dict[str, np.ndarray]]
    refusal: Optional[str]


def read_outcome(path: str) -> Outcome:
    """Return the outcome that `run_in_fork` wrote to PATH.npz or PATH.refused."""
    if os.path.exists(path + ".npz"):
        with np.load(path + ".npz") as numbers:
            return Outcome(dict(numbers.items()), None)
    with open(path + ".refused", errors="replace") as f:
        return Outcome(None, f.read())


def sum_in_turn(values: torch.Tensor, n: int) -> torch.Tensor:
    """Sum over n channels as BVLC Caffe's LRN does: add the next value, subtract the last one.

    A small value after a large one loses digits in such sums.
    """
    beyond = torch.zeros_like(values[:, :1]).expand(-1, n // 2, *values.shape[2:])
    around = torch.cat([beyond, values, beyond], 1)
    total = around[:, :n].sum(1)
    sums = [total]
    for c in range(1, values.shape[1]):
        total = total + around[:, c + n - 1] - around[:, c - 1]
        sums.append(total)
    return torch.stack(sums, 1)


class Roundings(Perturbation):
    """Multiplies weights and each layer's tops and gradients by 1 + at most ROUNDING, either sign.

    The engine's LRN also adds up as BVLC Caffe's, for the rest of the process: use it in a fork.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.RandomState(seed)

    def apply(self, array: np.ndarray) -> None:
        # Labels, indices, zeros and ones are exact in either engine.
        if (array != np.round(array)).any():
            factors = 1 + ROUNDING * (2 * self.random.random_sample(array.shape) - 1)
            array *= factors.astype(np.float32)

    def attach(self, net: caffe.Net) -> None:
        names = list(net.layer_dict)

        def change_tops(i: int) -> None:
            for top in net.top_names[names[i]]:
                self.apply(net.blobs[top].data)

        def change_bottom_diffs(i: int) -> None:
            for bottom in net.bottom_names[names[i]]:
                self.apply(net.blobs[bottom].diff)

        lrn.sum_across = sum_in_turn
        net.after_forward(change_tops)
        net.after_backward(change_bottom_diffs)


@functools.lru_cache(maxsize=1)
def warm_up() -> None:
    """Run a net in this process, so that a fork need not import the modules PyTorch imports late.

    One thread only: a fork of a process whose OpenMP threads have started waits for them forever.
    """
    torch.set_num_threads(1)
    shape = "input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } }"
    text = "force_backward: true\n" + layer("Input", "", "x", shape)
    text += layer("Convolution", "x", "y", "convolution_param { num_output: 2 kernel_size: 3 }")
    text += layer("Reduction", "y", "loss", "loss_weight: 1")
    net = {"name": "warm up", "text": text, "inputs": {}, "phase": 0, "rounds": [{}]}
    with tempfile.TemporaryDirectory() as folder:
        run_net({**net, "backward": True}, folder)


def run_engine(net: dict, folder: str, perturbation: Perturbation = EXACT) -> Outcome:
    """Run a net in the engine, in a fork; `folder` holds temporary files."""
    warm_up()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = os.path.join(scratch, "engine")
        run_in_fork(net, path, scratch, perturbation)
        return read_outcome(path)
