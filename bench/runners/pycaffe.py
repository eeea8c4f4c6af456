"""Whatever `import caffe` finds: this engine, or BVLC Caffe in its own root."""

from __future__ import annotations

from typing import Any, Dict, List

import caffe
import numpy as np


class Runner:
    def __init__(self, job: Dict[str, Any]) -> None:
        self.job = job
        if job["device"] == "cuda":
            caffe.set_device(0)
            caffe.set_mode_gpu()
        else:
            caffe.set_mode_cpu()
        if hasattr(caffe, "set_precision"):
            caffe.set_precision(job["precision"])
        elif job["precision"] != "float32":
            raise ValueError(f"this Caffe has no set_precision, needed for {job['precision']}")
        _threads(job["threads"])

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

    def step(self) -> None:
        self.solver.step(1)

    def prepare_pictures(self) -> None:
        self.solver = caffe.get_solver(self.job["pictures_solver"])
        self.solver.net.copy_from(self.job["weights"])

    def train_on_pictures(self, iterations: int) -> None:
        for _ in range(iterations):
            self.solver.step(1)
            float(self.solver.net.blobs["loss"].data)

    def parameters(self, names: List[str]) -> Dict[str, np.ndarray]:
        return {name: np.array(self.net.params[name][0].data) for name in names}

    def score_pictures(self, count: int) -> np.ndarray:
        """IU and accuracy of each class over the val net's first pictures."""
        from solvers.score import score_net

        scores = score_net(self.val, count)
        return np.concatenate([scores["iu"], scores["accuracy"]])

    def load_val(self) -> None:
        self.val = caffe.Net(self.job["val"], caffe.TEST, weights=self.job["weights"])


def _threads(count: int) -> None:
    """BVLC Caffe takes the number from the environment; so does PyTorch, and it is set again."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(count)
