"""Losses, and the accuracy that goes with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..blob import Blob
from .base import Function, Tensors, canonical_axis, register

LOG_FLT_MIN = math.log(torch.finfo(torch.float32).tiny)


def _labels(layer: Function, scores: torch.Tensor, label: torch.Tensor, axis: int) -> torch.Tensor:
    """The labels as integers of the scores' shape with `axis` left out."""
    shape = scores.shape[:axis] + scores.shape[axis + 1 :]
    if label.numel() != shape.numel():
        raise layer.error(
            f"{label.numel()} labels of shape {tuple(label.shape)} for scores of shape "
            f"{tuple(scores.shape)}; {shape.numel()} are needed, one for each position off axis "
            f"{axis}"
        )
    return label.detach().reshape(shape).long()


def _known(layer: Function, label: torch.Tensor, classes: int, ignore: int | None) -> torch.Tensor:
    """Which labels count; refuses, on the CPU, those that are neither a class nor ignored."""
    counted = torch.ones_like(label, dtype=torch.bool) if ignore is None else label != ignore
    if label.device.type == "cpu" and label.numel():
        wrong = label[counted & ((label < 0) | (label >= classes))]
        if wrong.numel():
            also = "" if ignore is None else f", or {ignore} (ignored)"
            raise layer.error(
                f"a label is {int(wrong[0])}; it needs to be 0 .. {classes - 1}{also}"
            )
    return counted


class _SoftmaxLoss(torch.autograd.Function):
    """-log softmax at the label, summed over the positions that count, over the normalizer."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        label: torch.Tensor,
        counted: torch.Tensor,
        axis: int,
        normalizer: torch.Tensor,
    ) -> Tensors:
        # With the classes last, the softmax runs over neighbours in memory; for a map with
        # channels last this is only a view.
        log_prob = torch.log_softmax(x.movedim(axis, -1), -1)
        index = label.clamp(0, x.shape[axis] - 1).unsqueeze(-1)
        picked = log_prob.gather(-1, index).squeeze(-1).clamp(min=LOG_FLT_MIN)
        loss = -(picked * counted).sum() / normalizer
        prob = log_prob.exp_()
        ctx.save_for_backward(prob, index, counted, normalizer)
        ctx.axis = axis
        top = prob.movedim(-1, axis)
        ctx.mark_non_differentiable(top)
        return loss, top

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> tuple:  # type: ignore[override]
        prob, index, counted, normalizer = ctx.saved_tensors
        dx = prob.scatter_add(-1, index, torch.full_like(index, -1, dtype=prob.dtype))
        dx *= counted.unsqueeze(-1) * (grad / normalizer)
        return dx.movedim(-1, ctx.axis), None, None, None, None


@register
class SoftmaxWithLoss(Function):
    """Multinomial logistic loss of the softmax of the scores; a second top is the softmax."""

    bottoms, tops = (2, 2), (1, 2)
    auto_tops = 1
    loss = True
    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def compute(self, x: torch.Tensor, label: torch.Tensor) -> Tensors:
        p = self.layer_param.loss_param
        axis = canonical_axis(self, self.layer_param.softmax_param.axis, x.shape)
        label = _labels(self, x, label, axis)
        ignore = p.ignore_label if p.HasField("ignore_label") else None
        counted = _known(self, label, x.shape[axis], ignore)
        loss, prob = _SoftmaxLoss.apply(x, label, counted, axis, self._normalizer(counted, axis))
        return loss, prob

    def _normalizer(self, counted: torch.Tensor, axis: int) -> torch.Tensor:
        """What the summed loss is divided by: a scalar, at least 1."""
        p = self.layer_param.loss_param
        mode = p.normalization
        if not p.HasField("normalization") and p.HasField("normalize"):
            mode = p.VALID if p.normalize else p.BATCH_SIZE
        if mode == p.VALID:
            return counted.sum().clamp(min=1).float()
        outer = math.prod(counted.shape[:axis])
        count = {p.FULL: counted.numel(), p.BATCH_SIZE: outer, p.NONE: 1}[mode]
        return torch.tensor(max(1.0, count), device=counted.device)


@register
class Accuracy(Function):
    """The share of positions whose label is among the `top_k` highest scores; then per class."""

    bottoms, tops = (2, 2), (1, 2)
    in_place = False
    differentiable = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.with_classes = len(top) > 1

    def compute(self, x: torch.Tensor, label: torch.Tensor) -> Tensors:
        p = self.layer_param.accuracy_param
        axis = canonical_axis(self, p.axis, x.shape)
        classes = x.shape[axis]
        if p.top_k > classes:
            raise self.error(f"top_k is {p.top_k}; there are {classes} classes")
        label = _labels(self, x, label, axis)
        ignore = p.ignore_label if p.HasField("ignore_label") else None
        counted = _known(self, label, classes, ignore)
        index = label.clamp(0, classes - 1)
        true_score = x.gather(axis, index.unsqueeze(axis))
        # A class with the same score as the true one counts as better.
        better = (x >= true_score).sum(axis) - 1
        right = (better < p.top_k) & counted
        accuracy = (right.sum() / counted.sum().clamp(min=1)).float()
        if not self.with_classes:
            return (accuracy,)
        one_hot = torch.arange(classes, device=x.device)[:, None]
        of_class = (index.reshape(-1) == one_hot) & counted.reshape(-1)
        per_class = (of_class & right.reshape(-1)).sum(1) / of_class.sum(1).clamp(min=1)
        return accuracy, per_class.float()
