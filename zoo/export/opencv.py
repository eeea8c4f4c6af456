"""What OpenCV computes with ONNX models: `PYTHON zoo/export/opencv.py FOLDER`.

The program needs OpenCV and NumPy alone, so that any Python with an OpenCV runs it. FOLDER has
NAME.onnx, and NAME.npz with the arrays in_BLOB and out_BLOB. A line of JSON has the version, and
for each name the largest difference, as a share of an output's largest value, or a message.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Union

import cv2
import numpy as np


def difference(model: Path) -> float:
    """Return the largest difference of the outputs of a model from those beside it."""
    arrays = np.load(model.with_suffix(".npz"))
    net = cv2.dnn.readNetFromONNX(str(model))
    for name in arrays:
        if name.startswith("in_"):
            net.setInput(arrays[name], name[3:])
    errors = []
    for name in arrays:
        if name.startswith("out_"):
            ours, theirs = arrays[name], net.forward(name[4:])
            if theirs.size != ours.size:
                return float("inf")
            apart = np.abs(theirs.reshape(ours.shape) - ours).max()
            errors.append(float(apart / np.abs(ours).max()))
    return max(errors)


def main() -> None:
    """Print the results for the models of the folder on the command line."""
    results: dict[str, Union[float, str]] = {}
    for model in sorted(Path(sys.argv[1]).glob("*.onnx")):
        try:
            results[model.stem] = difference(model)
        except cv2.error as error:
            operator = str(error).partition("Node [")[2].partition("@")[0]
            results[model.stem] = operator or str(error).splitlines()[0]
    print(json.dumps({"version": cv2.__version__, "results": results}))


if __name__ == "__main__":
    main()
