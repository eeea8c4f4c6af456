"""ONNX Runtime on the exported net, whose input has a fixed size in cases with one size."""

from __future__ import annotations

import numpy as np
import onnxruntime

from bench.runners.base import BaseRunner


class Runner(BaseRunner):
    """ONNX Runtime, on the CPU."""

    def version(self) -> str:
        return f"ONNX Runtime {onnxruntime.__version__}"

    def load(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.job["threads"]
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            self.job["onnx"], options, providers=["CPUExecutionProvider"]
        )

    def place(self, image: np.ndarray) -> None:
        self.image = image

    def run(self) -> None:
        self.top = self.session.run(["score"], {"data": self.image})[0]

    def scores(self) -> np.ndarray:
        return self.top
