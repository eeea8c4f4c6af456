"""Losses, and the accuracy that goes with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from ..blob import Blob
from ..weights import read_blob
from .axes import canonical_axis, check_legacy_axes
from .function import Function, Tensors
from .registry import register

LOG_FLT_MIN = math.log(torch.finfo(torch.float32).tiny)


def _check_labels(layer: Function, scores: Sequence[int], labels: Sequence[int], axis: int) -> None:
    """Raise unless there is a label for each position of the scores off `axis`."""
    needed = math.prod(scores) // max(1, scores[axis])
    if layer.loss:
        _check_rows(layer, scores, labels)
    if math.prod(labels) != needed:
        raise layer.error(
            f"{math.prod(labels)} labels of shape {tuple(labels)} for scores of shape "
            f"{tuple(scores)}; {needed} are needed, one for each position off axis {axis}"
        )


def _check_rows(layer: Function, a: Sequence[int], b: Sequence[int]) -> None:
    """Raise unless the first axes of the bottoms are there and equal, as every loss needs."""
    if not len(a) or not len(b) or a[0] != b[0]:
        raise layer.error(
            f"bottoms of shapes {tuple(a)} and {tuple(b)}; their first axes need to be equal"
        )


def _labels(layer: Function, scores: torch.Tensor, label: torch.Tensor, axis: int) -> torch.Tensor:
    """The labels as integers of the scores' shape with `axis` left out."""
    _check_labels(layer, scores.shape, label.shape, axis)
    return label.detach().reshape(scores.shape[:axis] + scores.shape[axis + 1 :]).long()


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
        # Scores are taken as they lie in memory: a map with channels last has the classes last.
        at = axis if x.is_contiguous() else -1
        log_prob = torch.log_softmax(x.movedim(axis, at), at)
        index = label.clamp(0, x.shape[axis] - 1).unsqueeze(at)
        picked = log_prob.gather(at, index).squeeze(at).clamp(min=LOG_FLT_MIN)
        loss = -(picked * counted).sum() / normalizer
        prob = log_prob.exp_()
        ctx.save_for_backward(prob, index, counted, normalizer)
        ctx.axis, ctx.at = axis, at
        top = prob.movedim(at, axis)
        ctx.mark_non_differentiable(top)
        return loss, top

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> tuple:  # type: ignore[override]
        prob, index, counted, normalizer = ctx.saved_tensors
        dx = prob.scatter_add(ctx.at, index, torch.full_like(index, -1, dtype=prob.dtype))
        dx *= counted.unsqueeze(ctx.at) * (grad / normalizer)
        return dx.movedim(ctx.at, ctx.axis), None, None, None, None


@register
class SoftmaxWithLoss(Function):
    """Multinomial logistic loss of the softmax of the scores; a second top is the softmax."""

    bottoms, tops = (2, 2), (1, 2)
    no_gradient = (1,)
    auto_tops = 1
    loss = True
    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        axis = canonical_axis(self, self.layer_param.softmax_param.axis, bottoms[0])
        _check_labels(self, bottoms[0], bottoms[1], axis)
        return [(), bottoms[0]]

    def compute(self, x: torch.Tensor, label: torch.Tensor) -> Tensors:
        p = self.layer_param.loss_param
        axis = canonical_axis(self, self.layer_param.softmax_param.axis, x.shape)
        label = _labels(self, x, label, axis)
        ignore = p.ignore_label if p.HasField("ignore_label") else None
        counted = _known(self, label, x.shape[axis], ignore)
        return _SoftmaxLoss.apply(x, label, counted, axis, normalizer(self, counted, axis))


def normalizer(layer: Function, counted: torch.Tensor, axis: int) -> torch.Tensor:
    """What loss_param divides a summed loss by: a scalar, at least 1."""
    p = layer.layer_param.loss_param
    mode = p.normalization
    if not p.HasField("normalization") and p.HasField("normalize"):
        mode = p.VALID if p.normalize else p.BATCH_SIZE
    return _count(p, mode, counted, axis)


def _count(p: Any, mode: int, counted: torch.Tensor, axis: int) -> torch.Tensor:
    if mode == p.VALID:
        return counted.sum().clamp(min=1).float()
    outer = math.prod(counted.shape[:axis])
    count = {p.FULL: counted.numel(), p.BATCH_SIZE: outer, p.NONE: 1}[mode]
    return torch.full((), max(1.0, count), device=counted.device)


@register
class Accuracy(Function):
    """The share of positions whose label is among the `top_k` highest scores; then per class."""

    bottoms, tops = (2, 2), (1, 2)
    in_place = False
    differentiable = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.with_classes = len(top) > 1

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        axis = canonical_axis(self, self.layer_param.accuracy_param.axis, bottoms[0])
        _check_labels(self, bottoms[0], bottoms[1], axis)
        return [(), bottoms[0][axis : axis + 1]]

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


class _Loss(Function):
    """A loss of two bottoms; the first is the one with a gradient."""

    bottoms, tops = (2, 2), (1, 1)
    auto_tops = 1
    loss = True
    in_place = False
    no_gradient: ClassVar[tuple[int, ...]] = (1,)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1


@register
class EuclideanLoss(_Loss):
    """Half the squared distance of the bottoms, over the batch: sum (a - b)^2 / (2 N)."""

    no_gradient = ()

    def allow_force_backward(self, bottom_index: int) -> bool:
        return True

    def compute(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        check_legacy_axes(self, a.shape)
        _check_rows(self, a.shape, b.shape)
        if a[0].numel() != b[0].numel():
            raise self.error(
                f"bottoms of shapes {tuple(a.shape)} and {tuple(b.shape)}; they need as many values"
            )
        difference = a - b.reshape(a.shape)
        return (difference * difference).sum() / (2 * a.shape[0])


@register
class HingeLoss(_Loss):
    """sum max(0, 1 - x) for the right class, max(0, 1 + x) for the others; squared with norm L2."""

    def compute(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.hinge_loss_param
        check_legacy_axes(self, x.shape)
        _check_rows(self, x.shape, label.shape)
        rows = x.reshape(x.shape[0], -1)
        label = _labels(self, rows, label, 1)
        _known(self, label, rows.shape[1], None)
        right = torch.zeros_like(rows).scatter_(1, label[:, None], 2.0)
        margin = torch.relu(1 + rows - rows * right)
        if p.norm == p.L2:
            margin = margin * margin
        return margin.sum() / x.shape[0]


@register
class MultinomialLogisticLoss(_Loss):
    """-log of the probability of the right class, over the batch."""

    def compute(self, prob: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        check_legacy_axes(self, prob.shape)
        _check_rows(self, prob.shape, label.shape)
        rows = prob.reshape(prob.shape[0], -1)
        label = _labels(self, rows, label, 1)
        _known(self, label, rows.shape[1], None)
        return -_safe_log(rows.gather(1, label[:, None])).sum() / prob.shape[0]


LOG_THRESHOLD = 1e-20


def _safe_log(prob: torch.Tensor) -> torch.Tensor:
    """log(max(prob, 1e-20)), whose gradient is that of the clipped value everywhere."""
    clipped = prob + (prob.clamp(min=LOG_THRESHOLD) - prob).detach()
    return torch.log(clipped)


@register
class InfogainLoss(Function):
    """-sum over classes k of H[label, k] * log softmax(x)[k], over the normalizer.

    H is a third bottom or the blob of a .binaryproto file; a second top is the softmax.
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
            raise self.error("takes no loss_param normalize; use normalization")
        self.matrix: torch.Tensor | None = None
        if len(bottom) < 3:
            source = self.layer_param.infogain_loss_param.source
            if not source:
                raise self.error("needs a third bottom, or the source of its matrix")
            self.matrix = torch.from_numpy(read_blob(source))

    def compute(
        self, x: torch.Tensor, label: torch.Tensor, matrix: torch.Tensor | None = None
    ) -> Tensors:
        p = self.layer_param.loss_param
        axis = canonical_axis(self, self.layer_param.infogain_loss_param.axis, x.shape)
        label = _labels(self, x, label, axis)
        ignore = p.ignore_label if p.HasField("ignore_label") else None
        classes = x.shape[axis]
        counted = _known(self, label, classes, ignore)
        if matrix is None:
            assert self.matrix is not None
            matrix = self.matrix.to(x.device)
        if matrix.numel() != classes * classes:
            raise self.error(
                f"the matrix has {matrix.numel()} values; {classes} classes need {classes**2}"
            )
        rows = matrix.detach().reshape(classes, classes)[label.clamp(0, classes - 1)]
        log_prob = torch.log_softmax(x.movedim(axis, -1), -1)
        prob = log_prob.detach().exp().movedim(-1, axis)
        floor = math.log(LOG_THRESHOLD)
        # Values below the floor count as the floor, but pass their gradient on.
        log_prob = log_prob + (log_prob.clamp(min=floor) - log_prob).detach()
        loss = -(rows * log_prob).sum(-1) * counted
        return loss.sum() / normalizer(self, counted, axis), prob


@register
class SigmoidCrossEntropyLoss(_Loss):
    """-sum t log s(x) + (1 - t) log(1 - s(x)), s the sigmoid, over the normalizer."""

    def compute(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if x.numel() != target.numel():
            raise self.error(
                f"bottoms of shapes {tuple(x.shape)} and {tuple(target.shape)}; they need as many "
                "values"
            )
        _check_rows(self, x.shape, target.shape)
        p = self.layer_param.loss_param
        target = target.detach().reshape(x.shape)
        counted = torch.ones_like(target, dtype=torch.bool)
        if p.HasField("ignore_label"):
            counted = target.long() != p.ignore_label
        loss = F.binary_cross_entropy_with_logits(x, target, reduction="none")
        # Unlike the other losses, this one is divided by the batch unless the prototxt says.
        mode = p.BATCH_SIZE
        if p.HasField("normalization"):
            mode = p.normalization
        elif p.HasField("normalize"):
            mode = p.VALID if p.normalize else p.BATCH_SIZE
        return (loss * counted).sum() / _count(p, mode, counted, 1)


@register
class ContrastiveLoss(Function):
    """sum over pairs of y d^2 + (1 - y) max(margin - d, 0)^2, over 2 N; legacy: margin - d^2."""

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
            raise self.error(
                f"bottoms of shapes {tuple(a.shape)}, {tuple(b.shape)} and {tuple(similar.shape)}; "
                "the first two need to be N x C, the third N"
            )
        difference = (a - b).flatten(1)
        square = (difference * difference).sum(1)
        if p.legacy_version:
            apart = torch.relu(p.margin - square)
        else:
            # The gradient has a small number in it, so that it is finite for equal rows.
            d = square.detach().sqrt()
            d = d + (square - square.detach()) / (2 * (d + 1e-4))
            apart = torch.relu(p.margin - d) ** 2
        y = similar.detach().flatten() != 0
        return torch.where(y, square, apart).sum() / (2 * a.shape[0])
