"""Losses and margins between rows and domains: focal, triplet and lifted losses, MMD, CORAL."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ...blob import Blob
from ...proto import caffe_pb2
from ..axes import canonical_axis
from ..function import Function, Tensors
from ..labels import counted_labels, ignored_label, integer_labels, loss_divisor
from ..registry import register
from .faces import row_labels


@register
class FocalLoss(Function):
    """-alpha (1 - p)^gamma log p, with p the softmax of the label (Lin et al. 2017, section 3.2).

    Bottoms and divisor are those of SoftmaxWithLoss; a second top holds the softmax.
    """

    pure = True
    bottoms, tops = (2, 2), (1, 2)
    no_gradient = (1,)
    auto_tops = 1
    loss = True
    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.focal_loss_param
        if p.type != p.ORIGIN:
            raise self.error("type is LINEAR; it needs ORIGIN")

    def compute(self, x: torch.Tensor, labels: torch.Tensor) -> Tensors:
        p = self.layer_param.focal_loss_param
        axis = canonical_axis(self, self.layer_param.softmax_param.axis, x.shape)
        labels = integer_labels(self, x, labels, axis)
        counted = counted_labels(self, labels, x.shape[axis], ignored_label(self))
        log_all = torch.log_softmax(x, axis)
        index = labels.clamp(0, x.shape[axis] - 1).unsqueeze(axis)
        log_p = log_all.gather(axis, index).squeeze(axis).clamp(min=-87)
        terms = -p.alpha * (1 - log_p.exp()).pow(p.gamma) * log_p
        loss = (terms * counted).sum() / loss_divisor(self, counted, axis)
        return loss, log_all.exp().detach()


@register
class TripletLoss(Function):
    """sum of max(0, |a - p|^2 - |a - n|^2 + margin) / (2 N) (Schroff et al. 2015, FaceNet, 3.1).

    The bottoms are the anchors a, the positives p and the negatives n, N x ... each, and
    optionally N values of 0 for triplets that do not count.
    """

    pure = True
    bottoms, tops = (3, 4), (1, 1)
    auto_tops = 1
    loss = True
    in_place = False
    no_gradient = (3,)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index < 3

    def compute(self, a: torch.Tensor, p: torch.Tensor, n: torch.Tensor, *marks: Any) -> Any:
        if not a.shape == p.shape == n.shape:
            raise self.shape_error(
                f"bottoms of shapes {tuple(a.shape)}, {tuple(p.shape)} and {tuple(n.shape)}; all "
                "need to be equal"
            )
        near, far = ((a - b).flatten(1).square().sum(1) for b in (p, n))
        terms = (near - far + self.layer_param.triplet_loss_param.margin).clamp(min=0)
        if marks:
            terms = terms * marks[0].reshape(-1)
        return terms.sum() / (2 * len(a))


@register
class MMD(Function):
    """The distance of two samples in the mean of Gaussian kernels (Long et al. 2015, section 3).

    The mean over kernels of mean k(s, s') + mean k(t, t') - 2 mean k(s, t), for rows s of the first
    bottom and t of the second. The kernels are exp(-d^2 / b) for kernel_num widths b, a factor of
    kernel_mul apart around the mean of d^2 over all pairs of different rows, which counts as a
    constant.
    """

    bottoms, tops = (2, 2), (1, 1)
    auto_tops = 1
    loss = True
    in_place = False

    def compute(self, s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.mmd_param
        rows = torch.cat([s.flatten(1), t.flatten(1)])
        squares = (rows[:, None] - rows[None]).square().sum(2)
        pairs = max(len(rows) * (len(rows) - 1), 1)
        width = (squares.detach().sum() / pairs).clamp(min=1e-12)
        total = torch.zeros_like(squares)
        for i in range(p.kernel_num):
            total = total + torch.exp(-squares / (width * p.kernel_mul ** (i - p.kernel_num // 2)))
        n = len(s)
        kernels = total / p.kernel_num
        return kernels[:n, :n].mean() + kernels[n:, n:].mean() - 2 * kernels[:n, n:].mean()


@register
class CORALLoss(Function):
    """|cov(s) - cov(t)|^2 / (4 d^2), for rows s and t of d values (Sun & Saenko 2016, eq. 1-3).

    The bottoms are N x ... and M x ..., with as many values a row. The squares of the difference
    of their covariances, whose divisors are N - 1 and M - 1, are summed
    (VisionLearningGroup/CORAL).
    """

    pure = True
    bottoms, tops = (2, 2), (1, 1)
    auto_tops = 1
    loss = True
    in_place = False

    def compute(self, s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        rows = [x.flatten(1) for x in (s, t)]
        width = rows[0].shape[1]
        if rows[1].shape[1] != width or min(len(x) for x in rows) < 2:
            raise self.shape_error(
                f"bottoms of shapes {tuple(s.shape)} and {tuple(t.shape)}; each needs two rows or "
                "more, of equally many values"
            )
        centred = [x - x.mean(0) for x in rows]
        first, second = (x.T @ x / (len(x) - 1) for x in centred)
        return (first - second).square().sum() / (4 * width * width)


class _Scaled(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:  # type: ignore[override]
        return grad * ctx.factor, None


@register
class GradientScaler(Function):
    """y = x; the gradient is multiplied by -c (Ganin & Lempitsky 2015, equation 14).

    c goes from lower_bound to upper_bound: 2 (upper - lower) / (1 + exp(-alpha t / max_iter)) -
    (upper - lower) + lower, with t the number of passes forward in TRAIN.
    """

    bottoms, tops = (1, 1), (1, 1)
    keeps_shape = True
    stateful = True
    replayable = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.passes = 0

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        super().forward(bottom, top)
        self.passes += self.phase == caffe_pb2.TRAIN

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.gradient_scaler_param
        span, progress = p.upper_bound - p.lower_bound, self.passes / p.max_iter
        factor = 2 * span / (1 + math.exp(-p.alpha * progress)) - span + p.lower_bound
        return _Scaled.apply(x, -factor)


@register
class CosinAdd(Function):
    """cos(a + m) in place of the cosine cos a of each row's label (Deng et al. 2019, ArcFace, 2).

    x is N x classes, of cosines. Where a + m is over pi, the value is cos a - m sin m, as in
    xialuxi/arcface-caffe. TEST leaves x as it is, unless transform_test.
    """

    pure = True
    bottoms, tops = (2, 2), (1, 1)
    no_gradient = (1,)
    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def compute(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.cosin_add_param
        rows = x.flatten(1)
        index = row_labels(self, rows, labels)[:, None]
        if self.phase == caffe_pb2.TEST and not p.transform_test:
            return x.clone()
        cosine = rows.gather(1, index)
        sine = (1 - cosine.square()).clamp(min=1e-12).sqrt()
        moved = cosine * math.cos(p.m) - sine * math.sin(p.m)
        low = cosine <= math.cos(math.pi - p.m)
        value = torch.where(low, cosine - p.m * math.sin(p.m), moved)
        return rows.scatter(1, index, value).reshape(x.shape)


@register
class CombinedMargin(Function):
    """cos(m1 a + m2) - m3 in place of the cosine cos a of each row's label (Deng et al. 2019).

    x is N x classes, of cosines (ArcFace, section 2.1; xialuxi/arcface-caffe). TEST leaves x as it
    is, unless transform_test.
    """

    pure = True
    bottoms, tops = (2, 2), (1, 1)
    no_gradient = (1,)
    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.combined_margin_param
        missing = [name for name in ("m1", "m2", "m3") if not p.HasField(name)]
        if missing:
            raise self.error(f"combined_margin_param has no {' and no '.join(missing)}; set them")

    def compute(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.combined_margin_param
        rows = x.flatten(1)
        index = row_labels(self, rows, labels)[:, None]
        if self.phase == caffe_pb2.TEST and not p.transform_test:
            return x.clone()
        # The slope of the angle is infinite at cosines of -1 and 1.
        angle = rows.gather(1, index).clamp(-1 + 1e-6, 1 - 1e-6).acos()
        value = (p.m1 * angle + p.m2).cos() - p.m3
        return rows.scatter(1, index, value).reshape(x.shape)


@register
class LiftedStructSimilaritySoftmaxLoss(Function):
    """sum over pairs of a class of max(0, J)^2 / (2 pairs) (Song et al. 2016, equation 4).

    J = d(i, j) + log(sum over k of another class of exp(margin - d(i, k)) + exp(margin - d(j, k))),
    with d the Euclidean distance of rows. The bottoms are N x ... and N labels
    (rksltnl/Deep-Metric-Learning-CVPR16).
    """

    pure = True
    bottoms, tops = (2, 2), (1, 1)
    auto_tops = 1
    loss = True
    in_place = False
    no_gradient = (1,)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def compute(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        rows, labels = x.flatten(1), labels.reshape(-1)
        if len(labels) != len(rows):
            raise self.shape_error(f"{len(labels)} labels for {len(rows)} rows; one each is needed")
        squares = (rows[:, None] - rows[None]).square().sum(2)
        # The slope of a root is infinite at 0, where a row is compared with itself.
        apart = squares > 0
        distance = torch.where(apart, squares, torch.ones_like(squares)).sqrt() * apart
        same = labels[:, None] == labels[None]
        margin = self.layer_param.lifted_struct_sim_softmax_loss_param.margin
        far = torch.logsumexp((margin - distance).masked_fill(same, -1e30), 1)
        terms = (torch.logaddexp(far[:, None], far[None]) + distance).clamp(min=0).square()
        pairs = same.triu(1)
        return (terms * pairs).sum() / (2 * pairs.sum().clamp(min=1))
