"""DetectNet's Python layer for inference, which runs here where its module is missing.

NVIDIA's DetectNet (Tao, Barker & Sarathy 2016, "DetectNet: Deep Neural Network for Object
Detection in DIGITS"; NVIDIA/caffe, `caffe.layers.detectnet`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...blob import Blob
from ...data import opencv as cv2
from ..base import EngineLayer, Layer, zero_gradients
from ..python import stand_in

#: Boxes of a class and an image in a top.
MOST_BOXES = 50
#: What the numbers of param_str are, in their order.
SETTINGS = "columns, rows, stride, coverage, group size, eps, least height, classes"


class DetectNetClusters(EngineLayer):
    """The boxes that groups of positions agree on.

    Bottoms: coverages N x C x H x W, and boxes N x 4 x H x W whose corners are relative to the
    corner of their position, in pixels. `param_str` has the width and height of the image, the
    stride of the positions, the least coverage, the group size and eps of OpenCV's groupRectangles,
    the least height of a box and, optionally, C. The top of each class is N x 50 x 5: the corners
    and the logarithm of the number of boxes in the group; rows without a box are 0.
    """

    bottoms, tops = (2, 2), (1, float("inf"))
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        text = self.layer_param.python_param.param_str
        try:
            numbers = [float(word) for word in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (7, 8) or not 0 < numbers[2] <= min(numbers[:2]):
            raise self.error(f"param_str is {text!r}; it needs the numbers {SETTINGS}")
        self.columns, self.rows, self.stride = map(int, numbers[:3])
        self.coverage, self.eps, self.height = numbers[3], numbers[5], int(numbers[6])
        self.least = int(numbers[4])
        self.classes = int(numbers[7]) if len(numbers) == 8 else 1

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        coverages, boxes = (b.shape for b in bottom)
        images, size = coverages[0], coverages[2:]
        if not coverages[1] == self.classes == len(top) or boxes != (images, 4, *size):
            raise self.shape_error(
                f"bottoms of shapes {coverages} and {boxes} and {len(top)} tops; {self.classes} "
                f"classes need N x {self.classes} x H x W, N x 4 x H x W and a top each"
            )
        for blob in top:
            blob.resize((images, MOST_BOXES, 5))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        coverages, boxes = (b.values.tensor().numpy() for b in bottom)
        for index, blob in enumerate(top):
            rows = np.zeros(blob.shape, np.float32)
            for image, place in enumerate(rows):
                groups = self._groups(coverages[image, index], boxes[image])[:MOST_BOXES]
                place[: len(groups)] = groups
            blob.values.set(torch.from_numpy(rows))

    def _groups(self, coverage: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return the boxes of one class and image, K x 5."""
        grid = self.rows // self.stride, self.columns // self.stride
        y, x = np.nonzero(coverage[: grid[0], : grid[1]] >= self.coverage)
        corner = np.stack([x * (self.columns // grid[1]), y * (self.rows // grid[0])])
        corners = (boxes[:, y, x] + np.concatenate([corner, corner])).astype(int).T.tolist()
        if not corners:
            return np.zeros((0, 5))
        # DetectNet groups corners as if the last two were a width and a height.
        groups, sizes = cv2.groupRectangles(corners, self.least, self.eps)
        rows = [
            [*group, np.log(size)]
            for group, size in zip(groups, np.ravel(sizes))
            if group[3] - group[1] >= self.height
        ]
        return np.array(rows).reshape(-1, 5)

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """Detections have no gradient: the bottoms get zeros."""
        zero_gradients(propagate_down, bottom)


@stand_in("caffe.layers.detectnet.clustering", "ClusterDetections")
def clusters(param: Any) -> Layer:
    """Return the DetectNetClusters for NVIDIA's Python layer of a LayerParameter."""
    return DetectNetClusters(param)
