"""V-Net's Python layer DiceLoss, which runs here where its module `pyLayer` is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..base import Layer
from ..function import Function
from ..python import stand_in

#: What keeps the Dice coefficient finite where neither volume has a voxel.
EPSILON = 1e-5


class _Dice(torch.autograd.Function):
    """The sum of Dice coefficients, whose gradient lets the coefficients grow."""

    @staticmethod
    def forward(ctx: Any, p: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        predicted = (p[:, 1] > p[:, 0]).to(p.dtype)
        shared, union = (predicted * truth).sum(1), predicted.sum(1) + truth.sum(1)
        ctx.save_for_backward(p, truth, shared, union)
        return (2 * shared / (union + EPSILON)).sum()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:  # type: ignore[override]
        p, truth, shared, union = ctx.saved_tensors
        voxels = union.clamp(min=EPSILON)[:, None]
        step = 2 * (truth / voxels - 2 * p[:, 1] * shared[:, None] / voxels.square())
        return grad * torch.stack([step, -step], 1), None


class DiceLoss(Function):
    """The sum of the Dice coefficients of N volumes (Milletari et al. 2016, V-Net, section 3).

    Bottoms: probabilities N x 2 x V of background and object, and the truth, N values of V, above
    0.5 for the object. D = 2 sum(r t) / U, U = sum(r) + sum(t), where r is 1 for voxels whose
    object is the more probable one. The gradient of the object's probability p is
    -2 (t / U - 2 p sum(r t) / U^2), so that a step of a solver raises D; that of the background's
    is the negative (faustomilletari/VNet, pyLayer).
    """

    bottoms, tops = (2, 2), (1, 1)
    in_place = False
    no_gradient = (1,)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        p, truth = bottoms
        if len(p) != 3 or p[1] != 2 or math.prod(truth) != p[0] * p[2]:
            raise self.shape_error(
                f"bottoms of shapes {p} and {truth}; N x 2 x V and a value for each of N x V "
                "voxels are needed"
            )
        return [(1,)]

    def compute(self, p: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        objects = (truth.reshape(len(p), p.shape[2]) > 0.5).to(p.dtype)
        return _Dice.apply(p, objects).reshape(1)


@stand_in("pyLayer", "DiceLoss")
def dice_loss(param: Any) -> Layer:
    """Return the DiceLoss for V-Net's Python layer of a LayerParameter."""
    return DiceLoss(param)
