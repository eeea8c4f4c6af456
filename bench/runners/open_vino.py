"""OpenVINO on the exported net, whose input has a fixed size in cases with one size."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np
import openvino

from bench.runners.base import BaseRunner

HINTS = {"float32": "f32", "bfloat16": "bf16"}


class Runner(BaseRunner):
    """OpenVINO, on the CPU. Raises ValueError for bfloat16 on a processor without it."""

    def __init__(self, job: Dict[str, Any]) -> None:
        super().__init__(job)
        self.core = openvino.Core()
        types = self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if job["precision"] == "bfloat16" and "BF16" not in types:
            raise ValueError(f"OpenVINO computes {', '.join(types)} on this processor, needs BF16")

    def version(self) -> str:
        return f"OpenVINO {openvino.__version__.split('-')[0]}"

    def load(self) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[self.job["precision"]],
            "INFERENCE_NUM_THREADS": self.job["threads"],
            "PERFORMANCE_HINT": "LATENCY",
        }
        model = self.core.compile_model(self.core.read_model(self.job["onnx"]), "CPU", settings)
        self.request = model.create_infer_request()

    def place(self, image: np.ndarray) -> None:
        self.image = image

    def run(self) -> None:
        self.request.infer({"data": self.image})

    def scores(self) -> np.ndarray:
        return self.request.get_output_tensor(0).data
