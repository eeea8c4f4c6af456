"""DetectionEvaluate, which compares detections with objects, and the average precision.

The measure is that of the PASCAL VOC challenge (Everingham et al. 2010, section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...blob import Blob
from ...ops import boxes
from ..base import EngineLayer
from ..registry import register
from .multibox import Truth, read_truths


@register
class DetectionEvaluate(EngineLayer):
    """Which detections of a batch are true (detection_evaluate_layer.cpp of SSD).

    Bottoms: detections 1 x 1 x K x 7 as DetectionOutput makes them, and objects 1 x 1 x G x 8. The
    top has rows (image, label, score, true, false). The first rows, one for each class but the
    background, are (-1, label, number of objects, -1, -1). Then comes a row for each detection: of
    an image and a class, from the best score on, a detection is true if it overlaps an object by
    more than overlap_threshold that no detection before it has claimed. With evaluate_difficult_gt
    false, difficult objects do not count, nor do their detections. `average_precision` reads such
    rows. name_size_file and resize_param, which only enlarge boxes to pixels, have no effect.
    """

    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.layer_param.detection_evaluate_param.num_classes:
            raise self.error("num_classes is missing; it counts the background")

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.detection_evaluate_param
        top[0].resize((1, 1, p.num_classes - 1 + bottom[0].shape[2], 5))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.detection_evaluate_param
        boxed, objects = (b.values.tensor().numpy() for b in bottom)
        boxes = boxed.reshape(-1, 7)
        detections = boxes[boxes[:, 1] >= 0]
        images = int(max(detections[:, 0].max(initial=-1), objects.reshape(-1, 8)[:, 0].max())) + 1
        truths = read_truths(objects, images)
        rows = [self._counts(truths)]
        for image, truth in enumerate(truths):
            for label in range(p.num_classes):
                of_both = (detections[:, 0] == image) & (detections[:, 1] == label)
                if label != p.background_label_id and of_both.any():
                    rows.append(self._judge(detections[of_both], truth, label))
        joined = np.concatenate(rows).astype(np.float32)
        top[0].resize((1, 1, *joined.shape))
        top[0].values.set(torch.from_numpy(joined)[None, None])

    def _counts(self, truths: Sequence[Truth]) -> np.ndarray:
        """Return a row for each class with the number of its objects."""
        p = self.layer_param.detection_evaluate_param
        labels = [
            label
            for truth in truths
            for label, difficult in zip(truth.labels, truth.difficult)
            if p.evaluate_difficult_gt or not difficult
        ]
        rows = [
            (-1, label, labels.count(label), -1, -1)
            for label in range(p.num_classes)
            if label != p.background_label_id
        ]
        return np.array(rows, np.float32)

    def _judge(self, detections: np.ndarray, truth: Truth, label: int) -> np.ndarray:
        """Return the rows of an image's detections of a class, from the best score on."""
        p = self.layer_param.detection_evaluate_param
        detections = detections[np.argsort(-detections[:, 2], kind="stable")]
        of_label = truth.labels == label
        targets, difficult = truth.boxes[of_label], truth.difficult[of_label]
        overlaps = boxes.overlaps(detections[:, 3:7].clip(0, 1), targets)
        claimed = np.zeros(len(targets), bool)
        rows = np.zeros((len(detections), 5), np.float32)
        rows[:, :3] = detections[:, :3]
        for row, overlap in zip(rows, overlaps):
            best = overlap.argmax() if len(targets) else -1
            if best < 0 or overlap[best] <= p.overlap_threshold:
                row[4] = 1
            elif p.evaluate_difficult_gt or not difficult[best]:
                row[4 if claimed[best] else 3] = 1
                claimed[best] = True
        return rows


def average_precision(
    rows: np.ndarray, points: int | None = None, interpolated: bool = True
) -> dict[int, float]:
    """Return the average precision of each class that has objects, by label.

    rows: N x 5, the tops of DetectionEvaluate, of any number of batches, joined.
    points: 11 takes the mean of the best precisions at 11 recalls, as VOC did until 2009; None
        takes the area under the precision as a function of recall.
    interpolated: whether the precision at a recall is the best at this recall and above.
    """
    rows = np.asarray(rows).reshape(-1, 5)
    counts = rows[rows[:, 0] < 0]
    precisions = {}
    for label in np.unique(counts[:, 1]):
        objects = counts[counts[:, 1] == label, 2].sum()
        if not objects:
            continue
        of_class = rows[(rows[:, 0] >= 0) & (rows[:, 1] == label)]
        of_class = of_class[np.argsort(-of_class[:, 2], kind="stable")]
        true, false = of_class[:, 3].cumsum(), of_class[:, 4].cumsum()
        recall = true / objects
        precision = true / np.maximum(true + false, 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        if points:
            levels = np.linspace(0, 1, points)
            reached = [best[recall >= level].max(initial=0) for level in levels]
            precisions[int(label)] = float(np.mean(reached))
        else:
            heights = best if interpolated else precision
            precisions[int(label)] = float((np.diff(recall, prepend=0) * heights).sum())
    return precisions
