"""OpenVINO on the exported net, fixed to the input's size where there is only one."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np
import openvino

HINTS = {"float32": "f32", "bfloat16": "bf16"}


class Runner:
    def __init__(self, job: Dict[str, Any]) -> None:
        self.job = job
        self.core = openvino.Core()
        able = self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if job["precision"] == "bfloat16" and "BF16" not in able:
            raise ValueError(f"OpenVINO computes {', '.join(able)} on this processor, not BF16")

    def version(self) -> str:
        return f"OpenVINO {openvino.__version__.split('-')[0]}"

    def load(self) -> None:
        how = {
            "INFERENCE_PRECISION_HINT": HINTS[self.job["precision"]],
            "INFERENCE_NUM_THREADS": self.job["threads"],
            "PERFORMANCE_HINT": "LATENCY",
        }
        model = self.core.compile_model(self.core.read_model(self.job["onnx"]), "CPU", how)
        self.request = model.create_infer_request()

    def place(self, image: np.ndarray) -> None:
        self.image = image

    def run(self) -> None:
        self.request.infer({"data": self.image})

    def scores(self) -> np.ndarray:
        return self.request.get_output_tensor(0).data
