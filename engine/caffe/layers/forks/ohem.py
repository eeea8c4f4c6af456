"""Online hard example mining (Shrivastava et al. 2016; the layers of R-FCN's Caffe).

The losses of `SoftmaxWithLossOHEM` and `SmoothL1LossOHEM` also come row by row. `BoxAnnotatorOHEM`
reads the rows and keeps the labels and the weights of the hardest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ...blob import Blob
from ..axes import canonical_axis
from ..function import Function, Tensors
from ..labels import check_labels, counted_labels, ignored_label, integer_labels, loss_divisor
from ..registry import register
from ..softmax_loss import LOG_FLT_MIN, softmax_loss
from .rcnn import smooth_l1


@register
class SoftmaxWithLossOHEM(Function):
    """SoftmaxWithLoss whose third top holds the loss at each position of the labels.

    Tops: the loss, the softmax, and -log softmax(x)[label], 0 for a label that does not count
    (softmax_loss_ohem_layer.cpp of R-FCN). The gradient is that of the first top. The third top has
    the shape of the labels; where labels N have scores N x C x 1 x 1, the rows are N x 1 x 1 x 1.
    """

    bottoms, tops = (2, 2), (1, 3)
    auto_tops = 1
    no_gradient = (1,)
    loss = True
    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        axis = canonical_axis(self, self.layer_param.softmax_param.axis, bottoms[0])
        check_labels(self, bottoms[0], bottoms[1], axis)
        return [(), bottoms[0], self._rows(bottoms[0], bottoms[1], axis)]

    @staticmethod
    def _rows(scores: tuple[int, ...], labels: tuple[int, ...], axis: int) -> tuple[int, ...]:
        apart = len(scores) > len(labels) + 1
        return (*scores[:axis], 1, *scores[axis + 1 :]) if apart else labels

    def compute(self, x: torch.Tensor, labels: torch.Tensor) -> Tensors:
        axis = canonical_axis(self, self.layer_param.softmax_param.axis, x.shape)
        index = integer_labels(self, x, labels, axis)
        counted = counted_labels(self, index, x.shape[axis], ignored_label(self))
        loss, prob = softmax_loss(x, index, counted, axis, loss_divisor(self, counted, axis))
        log_prob = torch.log_softmax(x.detach(), axis)
        picked = log_prob.gather(axis, index.clamp(0, x.shape[axis] - 1).unsqueeze(axis))
        rows = -(picked.squeeze(axis).clamp(min=LOG_FLT_MIN) * counted)
        return loss, prob, rows.reshape(self._rows(tuple(x.shape), tuple(labels.shape), axis))


register(SoftmaxWithLossOHEM, "SoftmaxLossOHEM")


@register
class SmoothL1LossOHEM(Function):
    """sum f(w (x - t)) / divisor, with f(d) = 0.5 d^2 where |d| < 1, else |d| - 0.5.

    Bottoms: x, t and optionally w, N x C x ...; tops: the loss, and its sums over the channels,
    N x 1 x ... . The divisor is that of loss_param, with every position counted
    (smooth_L1_loss_ohem_layer.cpp of R-FCN). The gradient is that of the first top.
    """

    bottoms, tops = (2, 3), (1, 2)
    auto_tops = 1
    no_gradient = (2,)
    leaves_gradients = True
    loss = True
    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index < 2

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        if len({math.prod(shape) for shape in bottoms}) > 1:
            raise self.shape_error(f"bottoms of shapes {list(bottoms)}; all need to be equal")
        return [(), (bottoms[0][0], 1, *bottoms[0][2:])]

    def compute(self, x: torch.Tensor, t: torch.Tensor, *weights: torch.Tensor) -> Tensors:
        difference = x - t.reshape(x.shape)
        if weights:
            difference = weights[0].reshape(x.shape) * difference
        distance = smooth_l1(difference)
        rows = distance.sum(1, keepdim=True)
        counted = torch.ones_like(rows, dtype=torch.bool)
        return distance.sum() / loss_divisor(self, counted, 1), rows.detach()


@register
class BoxAnnotatorOHEM(Function):
    """The labels and the box weights of the hardest regions of each image.

    Bottoms: ROIs R x 5 with the image first; losses, labels and box weights of the R regions. Of
    each image the roi_per_img regions with the largest losses keep their labels and weights; the
    others get ignore_label and weights of 0 (box_annotator_ohem_layer.cpp of R-FCN).
    """

    bottoms, tops = (4, 4), (2, 2)
    in_place = False
    differentiable = False
    replayable = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.layer_param.box_annotator_ohem_param.roi_per_img:
            raise self.error("roi_per_img is missing; it is the number of regions of an image")

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        rois, losses, labels, weights = bottoms
        rows = math.prod(losses)
        if not rois[0] == rows == math.prod(labels) == weights[0]:
            raise self.shape_error(
                f"bottoms of shapes {list(bottoms)}; ROIs, losses, labels and weights need equally "
                "many rows"
            )
        return [labels, weights]

    def compute(
        self,
        rois: torch.Tensor,
        losses: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor,
    ) -> Tensors:
        p = self.layer_param.box_annotator_ohem_param
        images = rois.flatten(1)[:, 0]
        order = losses.flatten().argsort(descending=True, stable=True)
        kept = torch.zeros(len(rois), dtype=torch.bool, device=rois.device)
        for image in images.unique():
            kept[order[images[order] == image][: p.roi_per_img]] = True
        hard = torch.full_like(labels, p.ignore_label)
        hard.view(-1)[kept] = labels.flatten()[kept]
        return hard, weights * kept.reshape(-1, *[1] * (weights.dim() - 1))
