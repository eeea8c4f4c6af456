"""Losses other than SoftmaxWithLoss. The first top of each is a scalar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F

from ..blob import Blob
from ..weights import read_blob
from .axes import canonical_axis, check_legacy_axes
from .function import Function, Tensors
from .labels import check_rows, counted_labels, divisor, ignored_label, integer_labels, loss_divisor
from .registry import register

#: Caffe takes the logarithm of at least this probability (multinomial_logistic_loss_layer.cpp).
LOG_THRESHOLD = 1e-20


class _Loss(Function):
    """A loss of two bottoms, of which only the first has a gradient."""

    bottoms, tops = (2, 2), (1, 1)
    auto_tops = 1
    loss = True
    in_place = False
    no_gradient: ClassVar[tuple[int, ...]] = (1,)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1


@register
class EuclideanLoss(_Loss):
    """sum (a - b)^2 / (2 N) for bottoms of N rows (euclidean_loss_layer.cpp)."""

    no_gradient = ()

    def allow_force_backward(self, bottom_index: int) -> bool:
        return True

    def compute(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        check_legacy_axes(self, a.shape)
        check_rows(self, a.shape, b.shape)
        if a[0].numel() != b[0].numel():
            raise self.shape_error(
                f"bottoms of shapes {tuple(a.shape)} and {tuple(b.shape)}; they need equally many "
                "values"
            )
        difference = a - b.reshape(a.shape)
        return (difference * difference).sum() / (2 * a.shape[0])


@register
class HingeLoss(_Loss):
    """sum max(0, 1 - t x) / N, t = 1 for the class of the label, else -1 (hinge_loss_layer.cpp).

    x has N rows, labels N values. With norm L2 each term is squared.
    """

    def compute(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.hinge_loss_param
        check_legacy_axes(self, x.shape)
        check_rows(self, x.shape, labels.shape)
        rows = x.reshape(x.shape[0], -1)
        labels = integer_labels(self, rows, labels, 1)
        counted_labels(self, labels, rows.shape[1], None)
        right = torch.zeros_like(rows).scatter_(1, labels[:, None], 2.0)
        margin = torch.relu(1 + rows - rows * right)
        if p.norm == p.L2:
            margin = margin * margin
        return margin.sum() / x.shape[0]


@register
class MultinomialLogisticLoss(_Loss):
    """-sum log(p[label]) / N for N rows of probabilities (multinomial_logistic_loss_layer.cpp)."""

    def compute(self, prob: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        check_legacy_axes(self, prob.shape)
        check_rows(self, prob.shape, labels.shape)
        rows = prob.reshape(prob.shape[0], -1)
        labels = integer_labels(self, rows, labels, 1)
        counted_labels(self, labels, rows.shape[1], None)
        return -_safe_log(rows.gather(1, labels[:, None])).sum() / prob.shape[0]


def _safe_log(prob: torch.Tensor) -> torch.Tensor:
    """log(max(prob, LOG_THRESHOLD)); as in Caffe the gradient is 1 / max(...) everywhere."""
    clipped = prob + (prob.clamp(min=LOG_THRESHOLD) - prob).detach()
    return torch.log(clipped)


@register
class InfogainLoss(Function):
    """-sum over classes k of H[label, k] * log softmax(x)[k] / divisor (infogain_loss_layer.cpp).

    x has K classes at `axis`, the second bottom a label for each other position. H, K x K, is the
    third bottom or the blob in the .binaryproto file `source`. `loss_divisor` describes the
    divisor. A second top holds the softmax.
    """

    bottoms, tops = (2, 3), (1, 2)
    auto_tops = 1
    loss = True
    in_place = False
    no_gradient = (1, 2)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.layer_param.loss_param.HasField("normalize"):
            raise self.error("does not support loss_param normalize; use normalization")
        self.matrix: torch.Tensor | None = None
        if len(bottom) < 3:
            source = self.layer_param.infogain_loss_param.source
            if not source:
                raise self.error("has no matrix; add a third bottom, or set source")
            with self.using_files():
                self.matrix = torch.from_numpy(read_blob(source))

    def compute(
        self, x: torch.Tensor, labels: torch.Tensor, matrix: torch.Tensor | None = None
    ) -> Tensors:
        axis = canonical_axis(self, self.layer_param.infogain_loss_param.axis, x.shape)
        labels = integer_labels(self, x, labels, axis)
        classes = x.shape[axis]
        counted = counted_labels(self, labels, classes, ignored_label(self))
        if matrix is None:
            assert self.matrix is not None
            matrix = self.matrix.to(x.device)
        if matrix.numel() != classes * classes:
            raise self.shape_error(
                f"the matrix has {matrix.numel()} values; {classes} classes need {classes**2}"
            )
        rows = matrix.detach().reshape(classes, classes)[labels.clamp(0, classes - 1)]
        log_prob = torch.log_softmax(x.movedim(axis, -1), -1)
        prob = log_prob.detach().exp().movedim(-1, axis)
        floor = math.log(LOG_THRESHOLD)
        # As in Caffe, the loss does not fall below the floor, but its gradient ignores the floor.
        log_prob = log_prob + (log_prob.clamp(min=floor) - log_prob).detach()
        loss = -(rows * log_prob).sum(-1) * counted
        return loss.sum() / loss_divisor(self, counted, axis), prob


@register
class SigmoidCrossEntropyLoss(_Loss):
    """-sum of t log s(x) + (1 - t) log(1 - s(x)), divided; s is the sigmoid.

    The bottoms x and t have equally many values; a t that is ignore_label does not count. Unlike
    in the other losses, the divisor without loss_param is the batch size
    (sigmoid_cross_entropy_loss_layer.cpp).
    """

    def compute(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if x.numel() != target.numel():
            raise self.shape_error(
                f"bottoms of shapes {tuple(x.shape)} and {tuple(target.shape)}; they need equally "
                "many values"
            )
        check_rows(self, x.shape, target.shape)
        p = self.layer_param.loss_param
        target = target.detach().reshape(x.shape)
        counted = torch.ones_like(target, dtype=torch.bool)
        if p.HasField("ignore_label"):
            counted = target.long() != p.ignore_label
        loss = F.binary_cross_entropy_with_logits(x, target, reduction="none")
        normalization = p.BATCH_SIZE
        if p.HasField("normalization"):
            normalization = p.normalization
        elif p.HasField("normalize"):
            normalization = p.VALID if p.normalize else p.BATCH_SIZE
        return (loss * counted).sum() / divisor(p, normalization, counted, 1)


@register
class ContrastiveLoss(Function):
    """sum of y d^2 + (1 - y) max(margin - d, 0)^2 over N pairs, / (2 N) (Hadsell et al. 2006).

    d is the distance of the rows of the first two bottoms, N x C; y, the third bottom, is 1 for
    similar pairs. With legacy_version the second term is max(margin - d^2, 0)
    (contrastive_loss_layer.cpp).
    """

    bottoms, tops = (3, 3), (1, 1)
    auto_tops = 1
    loss = True
    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 2

    def compute(self, a: torch.Tensor, b: torch.Tensor, similar: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.contrastive_loss_param
        rows = math.prod(a.shape[2:]) == 1 and similar.numel() == a.shape[0]
        if a.shape != b.shape or not rows:
            raise self.shape_error(
                f"bottoms of shapes {tuple(a.shape)}, {tuple(b.shape)} and {tuple(similar.shape)}; "
                "the first two need to be N x C, the third N"
            )
        difference = (a - b).flatten(1)
        square = (difference * difference).sum(1)
        if p.legacy_version:
            dissimilar = torch.relu(p.margin - square)
        else:
            # As in Caffe, the gradient divides by d + 1e-4, which is finite for equal rows.
            d = square.detach().sqrt()
            d = d + (square - square.detach()) / (2 * (d + 1e-4))
            dissimilar = torch.relu(p.margin - d) ** 2
        y = similar.detach().flatten() != 0
        return torch.where(y, square, dissimilar).sum() / (2 * a.shape[0])
