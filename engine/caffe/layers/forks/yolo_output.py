"""Detections of the YOLO forks: YoloDetectionOutput and Yolov3DetectionOutput."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ...blob import Blob
from ...ops import boxes
from ..base import EngineLayer
from ..registry import register


class Anchors(NamedTuple):
    """The boxes of one feature map: sizes (A x 2) in units of the map's positions, classes."""

    sizes: np.ndarray
    classes: int
    softmax: bool


def read_boxes(features: np.ndarray, anchors: Anchors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes (R x 4), labels (R, from 1 on) and scores (R) of an image's features.

    features: A (5 + classes) x H x W; of each anchor x, y, w, h, objectness and the classes. The
    centre of a box is (column + sigmoid x) / W, (row + sigmoid y) / H, its sides are the anchor's
    times exp w / W and exp h / H (Redmon & Farhadi 2016, "YOLO9000", section 2). The score is the
    sigmoid of the objectness times the best class's softmax or sigmoid.
    """
    count, (rows, columns) = len(anchors.sizes), features.shape[1:]
    maps = features.reshape(count, 5 + anchors.classes, rows, columns).astype(np.float64)
    x = (np.arange(columns) + _sigmoid(maps[:, 0])) / columns
    y = (np.arange(rows)[:, None] + _sigmoid(maps[:, 1])) / rows
    half_w = np.exp(maps[:, 2]) * anchors.sizes[:, :1, None] / columns / 2
    half_h = np.exp(maps[:, 3]) * anchors.sizes[:, 1:, None] / rows / 2
    classes = maps[:, 5:]
    if anchors.softmax:
        shifted = np.exp(classes - classes.max(1, keepdims=True))
        probabilities = shifted / shifted.sum(1, keepdims=True)
    else:
        probabilities = _sigmoid(classes)
    scores = _sigmoid(maps[:, 4]) * probabilities.max(1)
    corners = np.stack([x - half_w, y - half_h, x + half_w, y + half_h], -1)
    labels = probabilities.argmax(1) + 1
    return corners.reshape(-1, 4), labels.reshape(-1), scores.reshape(-1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class _YoloOutput(EngineLayer):
    """The top is 1 x 1 x K x 7, rows as SSD's DetectionOutput makes them.

    Boxes with a score above confidence_threshold go through suppression at nms_threshold, those of
    all classes together, from the best score on. Without detections, the top has a row of
    (image, -1, ...) for each image.
    """

    tops = (1, 1)
    in_place = False
    settings: str

    @property
    def param(self) -> Any:
        """The settings of the layer."""
        return getattr(self.layer_param, self.settings)

    def anchors(self, number: int, shape: Sequence[int]) -> Anchors:
        """Return the anchors of bottom `number`, which has this shape."""
        raise NotImplementedError

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for number, blob in enumerate(bottom):
            anchors = self.anchors(number, blob.shape)
            channels = len(anchors.sizes) * (5 + anchors.classes)
            if len(blob.shape) != 4 or blob.shape[1] != channels:
                raise self.shape_error(
                    f"a bottom of shape {blob.shape}; {len(anchors.sizes)} boxes of "
                    f"{anchors.classes} classes need N x {channels} x H x W"
                )
        top[0].resize((1, 1, 1, 7))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        features = [b.values.tensor().numpy() for b in bottom]
        count = len(features[0])
        rows = np.concatenate([self._detections(i, [f[i] for f in features]) for i in range(count)])
        if not len(rows):
            rows = np.full((count, 7), -1, np.float32)
            rows[:, 0] = np.arange(count)
        top[0].resize((1, 1, *rows.shape))
        top[0].values.set(torch.from_numpy(rows)[None, None])

    def _detections(self, image: int, features: Sequence[np.ndarray]) -> np.ndarray:
        """Return the detections of an image, K x 7."""
        read = [read_boxes(f, self.anchors(i, (1, *f.shape))) for i, f in enumerate(features)]
        corners, labels, scores = (np.concatenate(parts) for parts in zip(*read))
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > self.param.confidence_threshold]
        kept = order[boxes.suppress(corners[order], self.param.nms_threshold)]
        rows = np.empty((len(kept), 7), np.float32)
        rows[:, 0], rows[:, 1], rows[:, 2] = image, labels[kept], scores[kept]
        rows[:, 3:] = corners[kept]
        return rows


@register
class YoloDetectionOutput(_YoloOutput):
    """Detections of YOLOv2 (Redmon & Farhadi 2016; eric612/MobileNet-YOLO, gklz1982/caffe-yolov2).

    The bottom is N x num_box (5 + num_classes) x H x W; biases are width and height of each anchor
    in positions of the map. Classes are told apart by a softmax. `_YoloOutput` describes the top.
    """

    bottoms = (1, 1)
    settings = "yolo_detection_output_param"

    def anchors(self, number: int, shape: Sequence[int]) -> Anchors:
        p = self.param
        if len(p.biases) != 2 * p.num_box:
            raise self.error(
                f"{len(p.biases)} biases for num_box {p.num_box}; twice that is needed"
            )
        return Anchors(np.reshape(p.biases, (-1, 2)), p.num_classes, True)


@register
class Yolov3DetectionOutput(_YoloOutput):
    """Detections of YOLOv3 (Redmon & Farhadi 2018; eric612/MobileNet-YOLO).

    Each bottom is N x num_box (5 + num_classes) x H x W. The biases are widths and heights of
    anchors in pixels; `mask` numbers the anchors of each bottom in turn, and anchors_scale is the
    stride of each bottom. Classes have a sigmoid each. `_YoloOutput` describes the top.
    """

    bottoms = (1, float("inf"))
    settings = "yolov3_detection_output_param"

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.param
        if p.gaussian_box:
            raise self.error("gaussian_box is not supported; remove it")
        if len(p.mask) != len(bottom) * p.num_box or len(p.anchors_scale) < len(bottom):
            raise self.error(
                f"{len(p.mask)} mask and {len(p.anchors_scale)} anchors_scale; {len(bottom)} "
                f"bottoms of {p.num_box} boxes need {len(bottom) * p.num_box} and {len(bottom)}"
            )
        if 2 * max(p.mask) + 1 >= len(p.biases):
            raise self.error(
                f"mask names anchor {max(p.mask)} of {len(p.biases) // 2} in biases; "
                "name existing ones, from 0 on"
            )

    def anchors(self, number: int, shape: Sequence[int]) -> Anchors:
        p = self.param
        mask = p.mask[number * p.num_box : (number + 1) * p.num_box]
        sizes = np.reshape(p.biases, (-1, 2))[mask] / p.anchors_scale[number]
        return Anchors(sizes, p.num_classes, False)


def of_detection_output(param: Any) -> EngineLayer:
    """Return the YOLOv2 layer of a DetectionOutput with one bottom (gklz1982/caffe-yolov2)."""
    p, yolo = param.detection_output_param, param.yolo_detection_output_param
    yolo.num_classes = p.num_classes or 20
    yolo.num_box, yolo.coords = p.num_box, p.coords
    yolo.nms_threshold = p.nms_threshold
    yolo.confidence_threshold = p.confidence_threshold
    yolo.biases.extend(p.biases)
    return YoloDetectionOutput(param)
