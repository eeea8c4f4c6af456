"""Accuracy: how many labels are among the highest scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from .. import glog
from ..blob import Blob
from .axes import canonical_axis
from .function import Function, Tensors
from .labels import check_labels, counted_labels, integer_labels
from .registry import register


@register
class Accuracy(Function):
    """The share of labels among the `top_k` highest scores of their position (accuracy_layer.cpp).

    The scores have the classes at `axis` (1); the second bottom has a label for each other
    position. Labels that are `ignore_label` do not count. A second top, of size classes, holds the
    share for the labels of each class. With that top, a label of no class counts as wrong, as in
    SegNet's training, whose void label is one above the classes; without that top such a label is
    refused. `denominator`, a field of lisa-caffe-public, divides the
    number of right labels in place of the number of all. With `min_is_better`, a field of
    happynear/caffe-windows for distances, the smallest score ranks first.
    """

    bottoms, tops = (2, 2), (1, 2)
    in_place = False
    differentiable = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.with_classes = len(top) > 1
        self.warned = False

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        axis = canonical_axis(self, self.layer_param.accuracy_param.axis, bottoms[0])
        check_labels(self, bottoms[0], bottoms[1], axis)
        return [(), bottoms[0][axis : axis + 1]]

    def compute(self, x: torch.Tensor, labels: torch.Tensor) -> Tensors:
        p = self.layer_param.accuracy_param
        axis = canonical_axis(self, p.axis, x.shape)
        classes = x.shape[axis]
        if p.top_k > classes:
            raise self.error(f"top_k is {p.top_k}; it needs to be at most {classes}, the classes")
        labels = integer_labels(self, x, labels, axis)
        ignore = p.ignore_label if p.HasField("ignore_label") else None
        count = self._counted if self.with_classes else partial(counted_labels, self)
        counted = count(labels, classes, ignore)
        index = labels.clamp(0, classes - 1)
        x = -x if p.min_is_better else x
        true_score = x.gather(axis, index.unsqueeze(axis))
        # As in Caffe, a class with the same score as the true class ranks before it.
        rank = (x >= true_score).sum(axis) - 1
        right = (rank < p.top_k) & counted
        if self.with_classes:
            right &= labels == index
        divisor = counted.sum().clamp(min=1)
        if p.denominator:
            divisor = torch.tensor(p.denominator, device=x.device)
        accuracy = (right.sum() / divisor).float()
        if not self.with_classes:
            return (accuracy,)
        one_hot = torch.arange(classes, device=x.device)[:, None]
        of_class = (labels.reshape(-1) == one_hot) & counted.reshape(-1)
        per_class = (of_class & right.reshape(-1)).sum(1) / of_class.sum(1).clamp(min=1)
        return accuracy, per_class.float()

    def _counted(self, labels: torch.Tensor, classes: int, ignore: int | None) -> torch.Tensor:
        """Return which labels count: all but `ignore`. Warn once of a label of no class."""
        counted = torch.ones_like(labels, dtype=torch.bool) if ignore is None else labels != ignore
        if labels.device.type == "cpu" and not self.warned:
            wrong = labels[counted & ((labels < 0) | (labels >= classes))]
            if wrong.numel():
                self.warned = True
                glog.write(
                    "accuracy_layer.cpp:68",
                    f"{self.name}: a label is {int(wrong[0])}, beyond the {classes} classes; it "
                    f"counts as wrong. accuracy_param {{ ignore_label: {int(wrong[0])} }} leaves "
                    "such labels out.",
                    1,
                )
        return counted
