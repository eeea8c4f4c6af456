"""SoftmaxWithLoss: the multinomial logistic loss of the softmax of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from .axes import canonical_axis
from .function import Function, Tensors
from .labels import check_labels, counted_labels, ignored_label, integer_labels, loss_divisor
from .registry import register

#: Caffe takes the logarithm of at least FLT_MIN, the smallest normal float32.
LOG_FLT_MIN = math.log(torch.finfo(torch.float32).tiny)


def softmax_loss(
    scores: torch.Tensor, labels: torch.Tensor, counted: torch.Tensor, axis: int, by: torch.Tensor
) -> Tensors:
    """Return the loss, a scalar, and the softmax of the scores, which has no gradient.

    The loss is the sum of -log softmax(scores)[label] over the positions that count, divided by
    `by`.

    scores: float32, the classes at `axis`. labels: int64, the shape of the scores without `axis`.
    counted: bool, or a weight for each label, in the shape of the labels. by: a scalar.
    """
    return _SoftmaxLoss.apply(scores, labels, counted, axis, by)


class _SoftmaxLoss(torch.autograd.Function):
    """`softmax_loss`, whose gradient is (softmax - one hot label) / by."""

    @staticmethod
    def forward(
        ctx: Any,
        scores: torch.Tensor,
        labels: torch.Tensor,
        counted: torch.Tensor,
        axis: int,
        by: torch.Tensor,
    ) -> Tensors:
        # Where the channels lie last in memory, the softmax runs over the last axis.
        at = axis if scores.is_contiguous() else -1
        log_prob = torch.log_softmax(scores.movedim(axis, at), at)
        index = labels.clamp(0, scores.shape[axis] - 1).unsqueeze(at)
        picked = log_prob.gather(at, index).squeeze(at).clamp(min=LOG_FLT_MIN)
        # A label that does not count hides a NaN of its scores.
        loss = -(picked * counted).masked_fill_(counted == 0, 0).sum() / by
        prob = log_prob.exp_()
        ctx.save_for_backward(prob, index, counted, by)
        ctx.axis, ctx.at = axis, at
        top = prob.movedim(at, axis)
        ctx.mark_non_differentiable(top)
        return loss, top

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> tuple:  # type: ignore[override]
        prob, index, counted, by = ctx.saved_tensors
        dx = prob.scatter_add(ctx.at, index, torch.full_like(index, -1, dtype=prob.dtype))
        dx *= counted.unsqueeze(ctx.at) * (grad / by)
        ignored = counted == 0
        if dx.device.type != "cpu" or ignored.any():
            dx.masked_fill_(ignored.unsqueeze(ctx.at), 0)
        return dx.movedim(ctx.at, ctx.axis), None, None, None, None


@register
class SoftmaxWithLoss(Function):
    """-sum of log softmax(x)[label] / divisor, over the labels that count (softmax_loss_layer.cpp).

    x has the classes at `axis` of softmax_param (1); the second bottom has a label for each other
    position. `loss_divisor` describes the divisor. A second top holds the softmax.

    With weight_by_label_freqs, a field of SegNet's fork, the term of a label is multiplied by its
    weight in class_weighting, which has one for each class. With label_smoothing e, a field of
    NVCaffe and intel/caffe, the term of a label is (1 - e) times its own and e times the mean of
    the terms of all classes (Szegedy et al. 2016, "Rethinking the Inception architecture", 7).
    """

    bottoms, tops = (2, 2), (1, 2)
    no_gradient = (1,)
    auto_tops = 1
    loss = True
    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        axis = canonical_axis(self, self.layer_param.softmax_param.axis, bottoms[0])
        check_labels(self, bottoms[0], bottoms[1], axis)
        return [(), bottoms[0]]

    def compute(self, x: torch.Tensor, labels: torch.Tensor) -> Tensors:
        axis = canonical_axis(self, self.layer_param.softmax_param.axis, x.shape)
        labels = integer_labels(self, x, labels, axis)
        counted = counted_labels(self, labels, x.shape[axis], ignored_label(self))
        by = loss_divisor(self, counted, axis)
        if self.layer_param.loss_param.weight_by_label_freqs:
            counted = counted * self._class_weights(labels, x.shape[axis])
        loss, prob = softmax_loss(x, labels, counted, axis, by)
        smoothing = self.layer_param.loss_param.label_smoothing
        if smoothing:
            terms = -torch.log_softmax(x, axis).mean(axis).masked_fill(counted == 0, 0)
            loss = (1 - smoothing) * loss + smoothing * (terms * counted).sum() / by
        return loss, prob

    def _class_weights(self, labels: torch.Tensor, classes: int) -> torch.Tensor:
        """Return the weight of each label, float32, in the shape of the labels."""
        weights = self.layer_param.loss_param.class_weighting
        if len(weights) != classes:
            raise self.error(
                f"{len(weights)} class_weighting for {classes} classes; it needs one for each"
            )
        table = torch.tensor(list(weights), dtype=torch.float32, device=labels.device)
        return table[labels.clamp(0, classes - 1)]
