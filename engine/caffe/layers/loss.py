"""Losses other than SoftmaxWithLoss. The first top of each is a scalar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from .. import glog
from ..blob import Blob
from ..forks import current_fork
from ..ops.slope import with_slope
from ..weights import read_blob
from .axes import canonical_axis, check_legacy_axes
from .function import Function, Tensors
from .labels import (
    check_labels,
    check_rows,
    counted_labels,
    divisor,
    ignored_label,
    integer_labels,
    loss_divisor,
)
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

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        a, b = bottoms
        check_legacy_axes(self, a)
        check_rows(self, a, b)
        if math.prod(a[1:]) != math.prod(b[1:]):
            raise self.shape_error(f"bottoms of shapes {a} and {b}; they need equally many values")
        return [()]

    def compute(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        difference = a - b.reshape(a.shape)
        return (difference * difference).sum() / (2 * a.shape[0])


@register
class HingeLoss(_Loss):
    """sum max(0, 1 - t x) / N, t = 1 for the class of the label, else -1 (hinge_loss_layer.cpp).

    x has N rows, labels N values. With norm L2 each term is squared.
    """

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        return _shapes_of_rows(self, bottoms)

    def compute(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.hinge_loss_param
        rows = x.reshape(x.shape[0], -1)
        labels = integer_labels(self, rows, labels, 1)
        counted_labels(self, labels, rows.shape[1], None)
        right = torch.zeros_like(rows, dtype=torch.bool).scatter_(1, labels[:, None], True)
        margin = 1 + torch.where(right, -rows, rows)
        # As in Caffe, a margin of NaN counts as 0.
        margin = margin.masked_fill(~(margin > 0), 0)
        if p.norm == p.L2:
            margin = margin * margin
        return margin.sum() / x.shape[0]


@register
class MultinomialLogisticLoss(_Loss):
    """-sum log(p[label]) / N for N rows of probabilities (multinomial_logistic_loss_layer.cpp)."""

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        return _shapes_of_rows(self, bottoms)

    def compute(self, prob: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        rows = prob.reshape(prob.shape[0], -1)
        labels = integer_labels(self, rows, labels, 1)
        counted_labels(self, labels, rows.shape[1], None)
        return -_safe_log(rows.gather(1, labels[:, None])).sum() / prob.shape[0]


def _shapes_of_rows(layer: Function, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
    """Return the shape of a loss of N rows of classes and N labels. Raises ShapeError."""
    scores, labels = bottoms
    check_legacy_axes(layer, scores)
    check_rows(layer, scores, labels)
    check_labels(layer, (scores[0], math.prod(scores[1:])), labels, 1)
    return [()]


def _safe_log(prob: torch.Tensor) -> torch.Tensor:
    """log(max(prob, LOG_THRESHOLD)); as in Caffe the gradient is 1 / max(...) everywhere."""
    return with_slope(
        prob,
        lambda prob: prob.clamp(min=LOG_THRESHOLD).log(),
        lambda prob, log: 1 / prob.clamp(min=LOG_THRESHOLD),
    )


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

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        axis = canonical_axis(self, self.layer_param.infogain_loss_param.axis, bottoms[0])
        check_labels(self, bottoms[0], bottoms[1], axis)
        classes = bottoms[0][axis]
        values = math.prod(bottoms[2] if self.matrix is None else self.matrix.shape)
        if values != classes**2:
            raise self.shape_error(
                f"the matrix has {values} values; {classes} classes need {classes**2}"
            )
        return [(), bottoms[0]]

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
        rows = matrix.detach().reshape(classes, classes)[labels.clamp(0, classes - 1)]
        log_prob = torch.log_softmax(x.movedim(axis, -1), -1)
        prob = log_prob.detach().exp().movedim(-1, axis)
        floor = math.log(LOG_THRESHOLD)
        # As in Caffe, the loss does not fall below the floor, but its gradient ignores the floor.
        log_prob = with_slope(
            log_prob, lambda x: x.clamp(min=floor), lambda x, y: torch.ones_like(x)
        )
        loss = -(rows * log_prob).sum(-1) * counted
        return loss.sum() / loss_divisor(self, counted, axis), prob


@register
class SigmoidCrossEntropyLoss(_Loss):
    """-sum of t log s(x) + (1 - t) log(1 - s(x)), divided; s is the sigmoid.

    The bottoms x and t have equally many values; a t that is ignore_label does not count. Unlike
    in the other losses, the divisor without loss_param is the batch size
    (sigmoid_cross_entropy_loss_layer.cpp).

    With `set_fork("hed")` the terms of edges, t = 1, count by the share of t = 0 in their image,
    and those of t = 0 by the share of edges (Xie & Tu 2015, HED, equation 2).
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.balanced = current_fork() == "hed"
        if self.balanced:
            glog.write(
                "sigmoid_cross_entropy_loss_layer.cpp:1",
                f"{self.name} balances edges and other pixels, as HED does",
            )

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        x, target = bottoms
        if math.prod(x) != math.prod(target):
            raise self.shape_error(
                f"bottoms of shapes {x} and {target}; they need equally many values"
            )
        check_rows(self, x, target)
        return [()]

    def compute(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.loss_param
        target = target.detach().reshape(x.shape)
        counted = torch.ones_like(target, dtype=torch.bool)
        if p.HasField("ignore_label"):
            counted = target.long() != p.ignore_label
        loss = with_slope(
            x.masked_fill(~counted, 0),
            lambda x: _cross_entropy(x, target),
            lambda x, _: torch.sigmoid(x) - target,
        )
        normalization = p.BATCH_SIZE
        if p.HasField("normalization"):
            normalization = p.normalization
        elif p.HasField("normalize"):
            normalization = p.VALID if p.normalize else p.BATCH_SIZE
        if self.balanced:
            loss = loss * _shares_of_others(target, counted)
        return loss.masked_fill(~counted, 0).sum() / divisor(p, normalization, counted, 1)


def _shares_of_others(target: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """For a 1, the share of the 0 in its image, for a 0 that of the 1; 0 for other values."""
    edges, rest = ((target == value) & counted for value in (1, 0))
    many, few = (x.flatten(1).sum(1).reshape(-1, *[1] * (x.dim() - 1)) for x in (rest, edges))
    return (edges * many + rest * few) / (many + few).clamp(min=1)


def _cross_entropy(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """-(t log s(x) + (1 - t) log(1 - s(x))), by the exponential of -|x|; NaN for infinity."""
    positive = (x >= 0).to(x.dtype)
    return torch.log(1 + torch.exp(x - 2 * x * positive)) - x * (target - positive)


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

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        a, b, similar = bottoms
        rows = math.prod(a[2:]) == 1 and math.prod(similar) == a[0]
        if a != b or not rows:
            raise self.shape_error(
                f"bottoms of shapes {a}, {b} and {similar}; "
                "the first two need to be N x C, the third N"
            )
        return [()]

    def compute(self, a: torch.Tensor, b: torch.Tensor, similar: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.contrastive_loss_param
        alike = similar.detach().long().flatten() != 0
        terms = _ContrastiveTerms.apply((a - b).flatten(1), alike, p.margin, p.legacy_version)
        return terms.sum() / (2 * a.shape[0])


class _ContrastiveTerms(torch.autograd.Function):
    """The term of each pair, N values, from the differences of the pairs, N x C.

    As in Caffe, the gradient of a distance d divides by d + 1e-4, which is finite for equal rows,
    and a margin of NaN has no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, difference: torch.Tensor, alike: torch.Tensor, margin: float, legacy: bool
    ) -> torch.Tensor:
        square = (difference * difference).sum(1)
        distance = square if legacy else square.sqrt()
        ctx.save_for_backward(difference, alike, distance)
        ctx.margin, ctx.legacy = margin, legacy
        apart = (margin - distance).clamp(min=0)
        return torch.where(alike, square, apart if legacy else apart * apart)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:  # type: ignore[override]
        difference, alike, distance = ctx.saved_tensors
        apart = ctx.margin - distance
        slope = 1.0 if ctx.legacy else apart / (distance + 1e-4)
        factor = 2 * grad * torch.where(alike, 1.0, -slope)
        to_difference = difference * factor[:, None]
        return to_difference.masked_fill_((~alike & ~(apart > 0))[:, None], 0), None, None, None
