"""ONNX Runtime on the exported net, fixed to the input's size where there is only one."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np
import onnxruntime


class Runner:
    def __init__(self, job: Dict[str, Any]) -> None:
        self.job = job

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
