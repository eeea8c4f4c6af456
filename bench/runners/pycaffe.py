"""The Caffe that `import caffe` finds: this engine, another checkout's, or BVLC Caffe."""

from __future__ import annotations

import importlib
from typing import Any, Dict, Sequence

import caffe
import numpy as np

from bench.runners.base import BaseRunner

try:
    import torch
except ImportError:  # BVLC Caffe's root has none
    torch = None  # type: ignore[assignment]


class Runner(BaseRunner):
    """A pycaffe. Raises ValueError for a precision that it does not have."""

    def __init__(self, job: Dict[str, Any]) -> None:
        super().__init__(job)
        if job["engine"] and not caffe.__file__.startswith(job["engine"]):
            raise ValueError(f"caffe is {caffe.__file__}, needs the one in {job['engine']}")
        if job["device"] == "cuda":
            caffe.set_device(0)
            caffe.set_mode_gpu()
        else:
            caffe.set_mode_cpu()
        if hasattr(caffe, "set_precision"):
            caffe.set_precision(job["precision"])
        elif job["precision"] != "float32":
            raise ValueError(f"this Caffe has no set_precision, needs it for {job['precision']}")
        # BVLC Caffe reads the number of threads from the environment, as PyTorch does at first.
        if torch is not None:
            torch.set_num_threads(job["threads"])

    def version(self) -> str:
        return f"caffe {caffe.__version__}"

    def load(self) -> None:
        self.net = caffe.Net(self.job["deploy"], caffe.TEST, weights=self.job["weights"])

    def place(self, image: np.ndarray) -> None:
        blob = self.net.blobs["data"]
        if tuple(blob.shape) != image.shape:
            blob.reshape(*image.shape)
            self.net.reshape()
        blob.data[...] = image

    def run(self) -> None:
        if self.job["device"] == "cuda":
            self.net._forward(0, len(self.net.layers) - 1)  # leaves the scores on the device
        else:
            self.net.forward()

    def scores(self) -> np.ndarray:
        return self.net.blobs["score"].data

    def prepare_training(self, image: np.ndarray, label: np.ndarray) -> None:
        self.solver = caffe.get_solver(self.job["solver"])
        self.net = self.solver.net
        self.net.copy_from(self.job["weights"])
        for name, values in (("data", image), ("label", label)):
            self.net.blobs[name].reshape(*values.shape)
        self.net.reshape()
        for name, values in (("data", image), ("label", label)):
            self.net.blobs[name].data[...] = values

    def prepare_learning(self, data: np.ndarray, labels: np.ndarray) -> None:
        self.prepare_training(data, labels)

    def step(self) -> None:
        self.solver.step(1)

    def parameters(self, names: Sequence[str]) -> Dict[str, np.ndarray]:
        return {name: np.array(self.net.params[name][0].data) for name in names}

    def prepare_pictures(self) -> None:
        self.solver = caffe.get_solver(self.job["pictures_solver"])
        self.solver.net.copy_from(self.job["weights"])

    def train_on_pictures(self, iterations: int) -> None:
        for _ in range(iterations):
            self.solver.step(1)
            float(self.solver.net.blobs["loss"].data)

    def load_val(self) -> None:
        """Read the val net, which reads image files, and its weights."""
        # Other cases measure the start of the process, which must not load the solvers.
        self.scoring = importlib.import_module("solvers.score")
        self.val = caffe.Net(self.job["val"], caffe.TEST, weights=self.job["weights"])

    def score_pictures(self, count: int) -> np.ndarray:
        """Return IU and accuracy of each class over the val net's first images."""
        scores = self.scoring.score_net(self.val, count)
        return np.concatenate([scores["iu"], scores["accuracy"]])
