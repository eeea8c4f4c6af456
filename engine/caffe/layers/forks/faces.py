"""Layers of face recognition: losses with margins and centres, flips, scales of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ... import mode
from ...blob import Blob
from ...proto import caffe_pb2
from ..axes import canonical_axis
from ..function import Function, Tensors
from ..labels import check_rows, counted_labels, integer_labels
from ..registry import register


def row_labels(layer: Function, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the class of each row as int64. Raises LayerError for a class without a column."""
    check_rows(layer, rows.shape, labels.shape)
    labels = integer_labels(layer, rows, labels, 1)
    counted_labels(layer, labels, rows.shape[1], None)
    return labels.reshape(-1)


class _CentreLoss(torch.autograd.Function):
    """The centre loss. The centres get the step of Wen et al. in place of a gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, centres: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        distance = x - centres[labels]
        ctx.save_for_backward(distance, labels)
        ctx.classes = len(centres)
        return distance.square().sum() / (2 * len(x))

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:  # type: ignore[override]
        distance, labels = ctx.saved_tensors
        count = torch.bincount(labels, minlength=ctx.classes).to(distance.dtype)
        total = distance.new_zeros(ctx.classes, distance.shape[1]).index_add_(0, labels, distance)
        return grad * distance / len(distance), -total / (1 + count)[:, None], None


@register
class CenterLoss(Function):
    """sum |x_i - c_label(i)|^2 / (2 N) over N rows (Wen et al. 2016; ydwen/caffe-face).

    The parameter has the centres, num_output x values of a row from `axis` on. Its gradient is the
    step of the paper's equation 4, sum over the rows of a class of (c - x) / (1 + rows of the
    class), which lr_mult scales.
    """

    pure = True
    bottoms, tops = (2, 2), (1, 1)
    no_gradient = (1,)
    auto_tops = 1
    loss = True
    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.center_loss_param, bottom[0].shape
        if p.num_output < 1:
            raise self.error(f"num_output is {p.num_output}; it needs to be at least 1")
        if p.HasField("distance_type") and p.distance_type != "L2":
            raise self.error(f"distance_type is {p.distance_type!r}; it needs 'L2'")
        self.axis = canonical_axis(self, p.axis, shape)
        self.add_parameter((p.num_output, math.prod(shape[self.axis :])), p.center_filler)

    def compute(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        (centres,) = self.weights
        rows = x.flatten(self.axis).reshape(-1, math.prod(x.shape[self.axis :]))
        if rows.shape[1] != centres.shape[1]:
            raise self.shape_error(
                f"{rows.shape[1]} values a row; the centres need {centres.shape[1]}"
            )
        check_rows(self, rows.shape, labels.shape)
        classes = rows.new_empty(len(rows), len(centres))
        return _CentreLoss.apply(rows, centres, row_labels(self, classes, labels))


def margin_cosine(cosine: torch.Tensor, margin: int) -> torch.Tensor:
    """Return (-1)^k cos(m a) - 2 k for angles a in k pi / m .. (k + 1) pi / m.

    cosine: the cosines of the angles. margin: m, 1 to 4. (Liu et al. 2017, SphereFace, 3.2.)
    """
    # cos(m a) is Chebyshev's polynomial of the cosine.
    square = cosine * cosine
    multiple = (
        cosine,
        2 * square - 1,
        cosine * (4 * square - 3),
        8 * square * (square - 1) + 1,
    )[margin - 1]
    bounds = [math.cos(k * math.pi / margin) for k in range(1, margin)]
    k = sum(((cosine < bound).to(cosine.dtype) for bound in bounds), torch.zeros_like(cosine))
    return (1 - 2 * (k % 2)) * multiple - 2 * k


@register
class MarginInnerProduct(Function):
    """x W with a margin of the angle to the class of the label (Liu et al. 2017, SphereFace).

    y[i, j] = |x_i| cos a for the angle a between x_i and row j of W; where j is the label, it is
    |x_i| (lambda cos a + psi(a)) / (1 + lambda), with psi of `margin_cosine` and m = 1, 2, 3 or 4
    for type SINGLE, DOUBLE, TRIPLE or QUADRUPLE. The rows of W, num_output x values of a row, are
    scaled to length 1 before each pass. lambda is the larger of lambda_min and
    base (1 + gamma t)^-power, t being `iteration` plus the passes so far; a second top holds it.
    """

    bottoms, tops = (2, 2), (1, 2)
    no_gradient = (1,)
    in_place = False
    stateful = True
    replayable = False
    settings = "margin_inner_product_param"
    #: Whether the rows of W have length 1.
    unit_rows = True

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = getattr(self.layer_param, self.settings), bottom[0].shape
        if p.num_output < 1:
            raise self.error(f"num_output is {p.num_output}; it needs to be at least 1")
        self.axis = canonical_axis(self, p.axis, shape)
        self.iteration = p.iteration
        self.with_lambda = len(top) > 1
        self.add_parameter((p.num_output, math.prod(shape[self.axis :])), p.weight_filler)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.iteration += 1
        if self.unit_rows:
            weights = self.blobs[0].values.mutable(mode.device()).data
            weights /= weights.norm(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        super().forward(bottom, top)

    def current_lambda(self) -> float:
        """Return lambda of the present pass."""
        p = getattr(self.layer_param, self.settings)
        return max(p.lambda_min, p.base * (1 + p.gamma * self.iteration) ** -p.power)

    def compute(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor | Tensors:
        p = getattr(self.layer_param, self.settings)
        (w,) = self.weights
        rows = x.flatten(self.axis).reshape(-1, math.prod(x.shape[self.axis :]))
        if rows.shape[1] != w.shape[1]:
            raise self.shape_error(f"{rows.shape[1]} values a row; the weights need {w.shape[1]}")
        y = F.linear(rows, w)
        index = row_labels(self, y, labels)[:, None]
        weight = self.current_lambda()
        if p.type != p.SINGLE:
            length = rows.norm(dim=1, keepdim=True)
            if not self.unit_rows:
                length = length * w[index[:, 0]].norm(dim=1, keepdim=True)
            inner = y.gather(1, index)
            psi = margin_cosine(inner / length.clamp(min=1e-12), p.type + 1)
            y = y.scatter(1, index, (weight * inner + length * psi) / (1 + weight))
        y = y.reshape(*x.shape[: self.axis], len(w))
        return (y, x.new_full((1,), weight)) if self.with_lambda else y


@register
class LargeMarginInnerProduct(MarginInnerProduct):
    """MarginInnerProduct whose rows of W keep their lengths (Liu et al. 2016, L-Softmax, 3.2).

    |x_i| becomes |W_j| |x_i| in the formula (wy1iu/LargeMargin_Softmax_Loss).
    """

    settings = "largemargin_inner_product_param"
    unit_rows = False


@register
class LabelSpecificAdd(Function):
    """y = x, with `bias` added to each row's value of its label (Wang et al. 2018, AM-Softmax).

    x is N x classes. TEST leaves x as it is, unless transform_test.
    """

    bottoms, tops = (2, 2), (1, 1)
    no_gradient = (1,)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def compute(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.label_specific_add_param
        if x.dim() < 2:
            raise self.shape_error(f"the bottom has shape {tuple(x.shape)}; it needs N x classes")
        rows = x.flatten(1)
        index = row_labels(self, rows, labels)
        if self.phase == caffe_pb2.TEST and not p.transform_test:
            return x.clone()
        return (rows + p.bias * F.one_hot(index, rows.shape[1])).reshape(x.shape)


@register
class Flip(Function):
    """N x C x H x W mirrored left to right (flip_width) and upside down (flip_height)."""

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    precision = "kept"

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.flip_param
        if x.dim() != 4:
            raise self.shape_error(f"the bottom has shape {tuple(x.shape)}; it needs 4 axes")
        axes = [axis for axis, flipped in ((2, p.flip_height), (3, p.flip_width)) if flipped]
        return x.flip(axes) if axes else x.clone()


@register
class ChannelScale(Function):
    """y = s x, with one factor for all channels of a position (happynear/caffe-windows).

    x is N x C x any further axes; the second bottom, s, has a value for each position: N, N x 1 or
    N x 1 x H x W. Without do_forward y = x; without do_backward_feature or do_backward_scale the
    gradient does not reach x or s.
    """

    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.layer_param.channel_scale_param.global_scale:
            raise self.error("global_scale is not supported; use a Scale layer with num_axes: 0")

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        x, scale = bottoms
        if len(x) < 2 or math.prod(scale) * x[1] != math.prod(x) or scale[:1] != x[:1]:
            raise self.shape_error(
                f"bottoms of shapes {x} and {scale}; the second needs one value for each position"
            )
        return bottoms[:1]

    def compute(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.channel_scale_param
        if not p.do_forward:
            return x.clone()
        feature = x if p.do_backward_feature else x.detach()
        factor = scale if p.do_backward_scale else scale.detach()
        return feature * factor.reshape(x.shape[0], 1, *x.shape[2:])
