"""DetectNet's Python layers, which run here where their modules are missing.

NVIDIA's DetectNet (Tao, Barker & Sarathy 2016, "DetectNet: Deep Neural Network for Object
Detection in DIGITS"; NVIDIA/caffe, `caffe.layers.detectnet`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from ...blob import Blob
from ...data import opencv as cv2
from ...ops.boxes import overlaps
from ..base import EngineLayer, Layer, zero_gradients
from ..python import stand_in

#: Boxes of a class and an image in a top.
MOST_BOXES = 50
#: The least overlap of a detection with its object.
OVERLAP = 0.7
#: What ScoreDetections says of a box.
TRUE, FALSE, MISSED = 1, 2, 3


class _Boxes(EngineLayer):
    """Boxes of each class and image from coverages and boxes at positions.

    Bottoms: coverages N x C x H x W, and boxes N x 4 x H x W whose corners are relative to the
    corner of their position, in pixels. The top of each class is N x 50 x 5.
    """

    bottoms, tops = (2, 2), (1, float("inf"))
    in_place = False
    #: What the numbers of param_str are, in their order; the last one, the classes, is optional.
    settings: ClassVar[str]

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        text = self.layer_param.python_param.param_str
        try:
            numbers = [float(word) for word in text.split(",")]
        except ValueError:
            numbers = []
        most = len(self.settings.split(", "))
        if len(numbers) not in (most - 1, most) or not 0 < numbers[2] <= min(numbers[:2]):
            raise self.error(f"param_str is {text!r}; it needs the numbers {self.settings}")
        self.columns, self.rows, self.stride = map(int, numbers[:3])
        self.numbers = numbers[3 : most - 1]
        self.classes = int(numbers[-1]) if len(numbers) == most else 1

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
                groups = self.boxes(coverages[image, index], boxes[image])[:MOST_BOXES]
                place[: len(groups)] = groups
            blob.values.set(torch.from_numpy(rows))

    def boxes(self, coverage: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return the boxes of one class and image, K x 5."""
        raise NotImplementedError

    def corners(self, counted: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return the boxes of the positions that count, K x 4. counted: H x W."""
        grid = self.rows // self.stride, self.columns // self.stride
        y, x = np.nonzero(counted[: grid[0], : grid[1]])
        corner = np.stack([x * (self.columns // grid[1]), y * (self.rows // grid[0])])
        return (boxes[:, y, x] + np.concatenate([corner, corner])).T

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """Detections have no gradient: the bottoms get zeros."""
        zero_gradients(propagate_down, bottom)


class DetectNetClusters(_Boxes):
    """The boxes that groups of positions agree on. `_Boxes` has the bottoms.

    `param_str` has the width and height of the image, the stride of the positions, the least
    coverage, the group size and eps of OpenCV's groupRectangles, the least height of a box and,
    optionally, the number of classes. Rows of a top are the corners and the logarithm of the number
    of boxes in the group; rows without a box are 0.
    """

    settings = "columns, rows, stride, coverage, group size, eps, least height, classes"

    def boxes(self, coverage: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        least, size, eps, height = self.numbers
        corners = self.corners(coverage >= least, boxes).astype(int).tolist()
        if not corners:
            return np.zeros((0, 5))
        # DetectNet groups corners as if the last two were a width and a height.
        groups, sizes = cv2.groupRectangles(corners, int(size), eps)
        rows = [
            [*group, np.log(size)]
            for group, size in zip(groups, np.ravel(sizes))
            if group[3] - group[1] >= int(height)
        ]
        return np.array(rows).reshape(-1, 5)


class DetectNetObjects(_Boxes):
    """The objects of DetectNet's labels: the different boxes of the covered positions.

    `_Boxes` has the bottoms. `param_str` has the width and height of the image, the stride and,
    optionally, the number of classes. Rows of a top are the corners and 0. Boxes that agree to
    1/16 pixel are one: sums of float32 differ from position to position.
    """

    settings = "columns, rows, stride, classes"

    def boxes(self, coverage: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        corners = self.corners(coverage > 0, boxes)
        _, first = np.unique(np.rint(corners * 16), axis=0, return_index=True)
        kept = corners[np.sort(first)]
        return np.concatenate([kept, np.zeros((len(kept), 1))], 1)


class DetectionScores(EngineLayer):
    """Which detections of a class stand for an object, and which objects were missed.

    Bottoms: objects N x 50 x 5 and detections N x 50 x 5; rows of 0 are none. The pairs of an image
    that overlap by 0.7 match, the largest overlap first, each box once. The top, N x 100 x 5, has
    the corners of boxes, and 1 for a detection with an object, 2 for one without, 3 for an object
    without a detection; rows without a box are 0.
    """

    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        shapes = [b.shape for b in bottom]
        if len(shapes[0]) != 3 or shapes[0][::2] != shapes[1][::2] or shapes[0][2] != 5:
            raise self.shape_error(
                f"bottoms of shapes {shapes[0]} and {shapes[1]}; N x K x 5 are needed"
            )
        top[0].resize((shapes[0][0], shapes[0][1] + shapes[1][1], 5))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        rows = np.zeros(top[0].shape, np.float32)
        for place, *images in zip(rows, *(b.values.tensor().numpy() for b in bottom)):
            objects, detections = (i[i[:, :4].any(1), :4] for i in images)
            kinds = np.full(len(detections), FALSE), np.full(len(objects), MISSED)
            shared = overlaps(detections, objects)
            while shared.max(initial=0) >= OVERLAP:
                i, j = np.unravel_index(shared.argmax(), shared.shape)
                kinds[0][i], kinds[1][j] = TRUE, 0
                shared[i], shared[:, j] = 0, 0
            kept = kinds[1] == MISSED
            boxes = np.concatenate([detections, objects[kept]])
            place[: len(boxes), :4] = boxes
            place[: len(boxes), 4] = np.concatenate([kinds[0], kinds[1][kept]])
        top[0].values.set(torch.from_numpy(rows))

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """Scores have no gradient: the bottoms get zeros."""
        zero_gradients(propagate_down, bottom)


class PrecisionAndRecall(EngineLayer):
    """DetectNet's simplified mean average precision, precision and recall of a batch, in percent.

    Bottom: the top of ScoreDetections. With t true and f false detections and m missed objects,
    precision = t / (t + f), recall = t / (t + m), and the first top is precision * recall
    (Tao, Barker & Sarathy 2016). A ratio of 0 to 0 is 0.
    """

    bottoms, tops = (1, 1), (3, 3)
    in_place = False

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for blob in top:
            blob.resize((1,))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        kinds = bottom[0].values.tensor()[..., -1]
        true, false, missed = (int((kinds == kind).sum()) for kind in (TRUE, FALSE, MISSED))
        precision, recall = (true / max(true + other, 1) for other in (false, missed))
        for blob, value in zip(top, (precision * recall, precision, recall)):
            blob.values.set(torch.tensor([100 * value]))

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """Scores have no gradient: the bottom gets zeros."""
        zero_gradients(propagate_down, bottom)


@stand_in("caffe.layers.detectnet.clustering", "ClusterDetections")
def clusters(param: Any) -> Layer:
    """Return the DetectNetClusters for NVIDIA's Python layer of a LayerParameter."""
    return DetectNetClusters(param)


@stand_in("caffe.layers.detectnet.clustering", "ClusterGroundtruth")
def objects(param: Any) -> Layer:
    """Return the DetectNetObjects for NVIDIA's Python layer of a LayerParameter."""
    return DetectNetObjects(param)


@stand_in("caffe.layers.detectnet.mean_ap", "ScoreDetections")
def scores(param: Any) -> Layer:
    """Return the DetectionScores for NVIDIA's Python layer of a LayerParameter."""
    return DetectionScores(param)


@stand_in("caffe.layers.detectnet.mean_ap", "mAP")
def precision(param: Any) -> Layer:
    """Return the PrecisionAndRecall for NVIDIA's Python layer of a LayerParameter."""
    return PrecisionAndRecall(param)
