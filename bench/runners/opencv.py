"""OpenCV's importer of Caffe nets, which OpenCV 5 no longer has."""

from __future__ import annotations

from typing import Any, Dict

import cv2
import numpy as np

from bench.runners.base import BaseRunner


class Runner(BaseRunner):
    """OpenCV's module dnn. Raises ValueError for an OpenCV without the importer."""

    def __init__(self, job: Dict[str, Any]) -> None:
        super().__init__(job)
        if not hasattr(cv2.dnn, "readNetFromCaffe"):
            raise ValueError(f"OpenCV {cv2.__version__} has no Caffe importer, needs OpenCV 4")
        cv2.setNumThreads(job["threads"])

    def version(self) -> str:
        return f"OpenCV {cv2.__version__}"

    def load(self) -> None:
        self.net = cv2.dnn.readNetFromCaffe(self.job["deploy"], self.job["weights"])

    def place(self, image: np.ndarray) -> None:
        self.net.setInput(image, "data")

    def run(self) -> None:
        self.top = self.net.forward("score")

    def scores(self) -> np.ndarray:
        return self.top
