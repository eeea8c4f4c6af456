"""What the benchmark asks of a program."""

from __future__ import annotations

from typing import Any, Dict, Sequence

import numpy as np


class BaseRunner:
    """A program that runs FCN-8s, or another net, as a job says.

    job: see bench.jobs.make_job. It has the paths deploy, solver, val, pictures_solver, weights,
    torch, onnx and pictures; threads, device, precision, options, engine and solver_settings.
    A program implements the first five methods, the next three if it trains, and the last four if
    it reads image files.
    """

    def __init__(self, job: Dict[str, Any]) -> None:
        self.job = job

    def version(self) -> str:
        """Return the program and its version, in words."""
        raise NotImplementedError

    def load(self) -> None:
        """Read the net and its weights from files."""
        raise NotImplementedError

    def place(self, image: np.ndarray) -> None:
        """Hand over the input: 1 x 3 x H x W, float32."""
        raise NotImplementedError

    def run(self) -> None:
        """Run one forward pass."""
        raise NotImplementedError

    def scores(self) -> np.ndarray:
        """Return the scores of the last pass: 1 x 21 x H x W, float32."""
        raise NotImplementedError

    def prepare_training(self, image: np.ndarray, label: np.ndarray) -> None:
        """Load the training net. image: 1 x 3 x H x W, float32. label: 1 x 1 x H x W, uint8."""
        raise NotImplementedError

    def prepare_learning(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Load a net of bench.learners. data: N x C x H x W, float32. labels: N, float32."""
        raise NotImplementedError

    def step(self) -> None:
        """Run one training iteration: forward, backward, update."""
        raise NotImplementedError

    def parameters(self, names: Sequence[str]) -> Dict[str, np.ndarray]:
        """Return copies of the weights, float32, of layers by name."""
        raise NotImplementedError

    def prepare_pictures(self) -> None:
        """Load the net that trains on image files."""
        raise NotImplementedError

    def train_on_pictures(self, iterations: int) -> None:
        """Run training iterations on image files, and read the loss after each."""
        raise NotImplementedError
