"""Labels of losses and of Accuracy: checks, labels to ignore, and the divisor of a loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from .function import Function


def check_rows(layer: Function, a: Sequence[int], b: Sequence[int]) -> None:
    """Raise ShapeError unless the bottoms have first axes of equal size, as every loss needs."""
    if not len(a) or not len(b) or a[0] != b[0]:
        raise layer.shape_error(
            f"bottoms of shapes {tuple(a)} and {tuple(b)}; their first axes need to be equal"
        )


def check_labels(layer: Function, scores: Sequence[int], labels: Sequence[int], axis: int) -> None:
    """Raise ShapeError unless there is a label for each position of the scores off `axis`.

    scores, labels: the shapes of the two bottoms.
    """
    positions = math.prod(scores) // max(1, scores[axis])
    if layer.loss:
        check_rows(layer, scores, labels)
    if math.prod(labels) != positions:
        raise layer.shape_error(
            f"{math.prod(labels)} labels of shape {tuple(labels)} for scores of shape "
            f"{tuple(scores)}; {positions} are needed, one for each position off axis {axis}"
        )


def integer_labels(
    layer: Function, scores: torch.Tensor, labels: torch.Tensor, axis: int
) -> torch.Tensor:
    """Return the labels as int64, in the shape of the scores without `axis`. Raises ShapeError."""
    check_labels(layer, scores.shape, labels.shape, axis)
    return labels.detach().reshape(scores.shape[:axis] + scores.shape[axis + 1 :]).long()


def ignored_label(layer: Function) -> int | None:
    """Return the ignore_label of loss_param; None where there is none."""
    p = layer.layer_param.loss_param
    return p.ignore_label if p.HasField("ignore_label") else None


def counted_labels(
    layer: Function, labels: torch.Tensor, classes: int, ignore: int | None
) -> torch.Tensor:
    """Return which labels count, that is all but `ignore`, as a bool tensor.

    On the CPU, raises LayerError for a label that counts and is not 0 .. classes - 1. A CUDA device
    would have to be waited for; there such a label counts as the nearest class.
    """
    counted = torch.ones_like(labels, dtype=torch.bool) if ignore is None else labels != ignore
    if ignore is None and labels.device.type == "cpu" and labels.numel():
        least, most = torch.aminmax(labels)
        if int(least) >= 0 and int(most) < classes:
            return counted
    if labels.device.type == "cpu" and labels.numel():
        wrong = labels[counted & ((labels < 0) | (labels >= classes))]
        if wrong.numel():
            alternative = "" if ignore is None else f", or {ignore} (ignored)"
            raise layer.error(
                f"a label is {int(wrong[0])}; it needs to be 0 .. {classes - 1}{alternative}"
            )
    return counted


def loss_divisor(layer: Function, counted: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the scalar, at least 1, by which loss_param divides a loss (softmax_loss_layer.cpp).

    counted: which positions count. axis: the number of axes of `counted` that are the batch.

    VALID, the default, divides by the positions that count, FULL by all positions, BATCH_SIZE by
    the batch, NONE by 1, and PRE_FIXED, of detection forks, by pre_fixed_normalizer.
    """
    p = layer.layer_param.loss_param
    normalization = p.normalization
    if not p.HasField("normalization") and p.HasField("normalize"):
        normalization = p.VALID if p.normalize else p.BATCH_SIZE
    return divisor(p, normalization, counted, axis)


def divisor(p: Any, normalization: int, counted: torch.Tensor, axis: int) -> torch.Tensor:
    """As `loss_divisor`, for a NormalizationMode. p: the LossParameter."""
    if normalization == p.VALID:
        return counted.sum().clamp(min=1).float()
    batch = math.prod(counted.shape[:axis])
    count = {
        p.FULL: counted.numel(),
        p.BATCH_SIZE: batch,
        p.NONE: 1,
        p.PRE_FIXED: p.pre_fixed_normalizer,
    }[normalization]
    return torch.full((), max(1.0, count), device=counted.device)
