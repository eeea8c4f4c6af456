"""The update rules of Caffe's solvers: each rule is the formula of its solver.

In the formulas, w is a parameter, g its gradient (with weight decay), and `rate` the learning rate
times the parameter's lr_mult. The other letters in a formula are the parameter's history.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from ..errors import NetError
from ..native import instructions as ops
from ..native.instructions import Call


class Factors(NamedTuple):
    """What an update of parameters depends on besides the rule.

    rate: the learning rate, of shape (), which changes. lr_mult, decay: factors of the rate and of
    the weights.
    """

    rate: np.ndarray
    lr_mult: float
    decay: float


class Rule:
    """Turns the gradient of a parameter into the update that is subtracted from the parameter.

    param: the SolverParameter. Raises NetError for a field that the rule cannot work with.
    """

    #: The number of history tensors, each of the parameter's shape.
    histories: ClassVar[int] = 1
    #: Whether an update at rate 0 continues the previous update, and is zero if there is no
    #: history.
    has_momentum: ClassVar[bool] = False

    def __init__(self, param: Any) -> None:
        self.param = param
        if param.momentum_policy != "fixed" and not self.has_momentum:
            raise NetError(
                f"momentum_policy is {param.momentum_policy!r}; {type(self).__name__} has no "
                "momentum that changes, use SGD or Nesterov"
            )
        #: The momentum of the next update, which momentum_policy changes.
        self.momentum = param.momentum

    def update(
        self, g: torch.Tensor, history: Sequence[torch.Tensor], rate: float, iteration: int
    ) -> None:
        """Replace the gradient in `g` by the update, and write the new `history`.

        The tensors are float32, of equal shape, and lie on one device. `iteration` counts from 0.
        """
        raise NotImplementedError

    def bind(
        self,
        weights: np.ndarray,
        gradients: np.ndarray,
        history: Sequence[np.ndarray],
        factors: Factors,
    ) -> list[Call] | None:
        """Return calls that add the L2 decay, `update`, and subtract the update from the weights.

        None if the rule has no such calls.
        """
        return None


class SGD(Rule):
    """v = momentum * v + rate * g;  w -= v."""

    has_momentum = True

    def update(
        self, g: torch.Tensor, history: Sequence[torch.Tensor], rate: float, iteration: int
    ) -> None:
        (v,) = history
        g.copy_(v.mul_(self.momentum).add_(g, alpha=rate))

    def bind(
        self,
        weights: np.ndarray,
        gradients: np.ndarray,
        history: Sequence[np.ndarray],
        factors: Factors,
    ) -> list[Call] | None:
        if self.param.momentum_policy != "fixed":
            return None
        return [ops.sgd(weights, gradients, history[0], self.param.momentum, *factors)]

    def update_together(
        self, gradients: list[torch.Tensor], history: list[torch.Tensor], rate: float
    ) -> None:
        """As `update`, for several parameters with one history each."""
        torch._foreach_mul_(history, self.momentum)
        torch._foreach_add_(history, gradients, alpha=rate)
        torch._foreach_copy_(gradients, history)


class Nesterov(Rule):
    """v' = momentum * v + rate * g;  w -= (1 + momentum) * v' - momentum * v."""

    has_momentum = True

    def update(
        self, g: torch.Tensor, history: Sequence[torch.Tensor], rate: float, iteration: int
    ) -> None:
        (v,), momentum = history, self.momentum
        old = v * momentum
        v.mul_(momentum).add_(g, alpha=rate)
        torch.mul(v, 1 + momentum, out=g).sub_(old)


class AdaGrad(Rule):
    """h += g^2;  w -= rate * g / (sqrt(h) + delta)."""

    def __init__(self, param: Any) -> None:
        super().__init__(param)
        _refuse_momentum(param, "AdaGrad")

    def update(
        self, g: torch.Tensor, history: Sequence[torch.Tensor], rate: float, iteration: int
    ) -> None:
        (h,) = history
        h.addcmul_(g, g)
        g.div_(h.sqrt() + self.param.delta).mul_(rate)


class RMSProp(Rule):
    """h = decay * h + (1 - decay) * g^2;  w -= rate * g / (sqrt(h) + delta)."""

    def __init__(self, param: Any) -> None:
        super().__init__(param)
        _refuse_momentum(param, "RMSProp")
        if not 0 <= param.rms_decay < 1:
            raise NetError(
                f"rms_decay is {param.rms_decay:g}; RMSProp needs at least 0 and less than 1"
            )

    def update(
        self, g: torch.Tensor, history: Sequence[torch.Tensor], rate: float, iteration: int
    ) -> None:
        (h,), decay = history, self.param.rms_decay
        h.mul_(decay).addcmul_(g, g, value=1 - decay)
        g.div_(h.sqrt() + self.param.delta).mul_(rate)


class AdaDelta(Rule):
    """h = m h + (1-m) g^2;  u = g sqrt((d + k) / (d + h));  k = m k + (1-m) u^2;  w -= rate u.

    m is the momentum, d is delta.
    """

    histories = 2

    def update(
        self, g: torch.Tensor, history: Sequence[torch.Tensor], rate: float, iteration: int
    ) -> None:
        (h, k), m, delta = history, self.param.momentum, self.param.delta
        h.mul_(m).addcmul_(g, g, value=1 - m)
        g.mul_(((k + delta) / (h + delta)).sqrt_())
        k.mul_(m).addcmul_(g, g, value=1 - m)
        g.mul_(rate)


class Adam(Rule):
    """m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  w -= rate c m / (sqrt(v) + delta).

    b1 is the momentum, b2 is momentum2, and c = sqrt(1 - b2^t) / (1 - b1^t) in the t-th iteration,
    counted from 1.
    """

    histories = 2

    def __init__(self, param: Any) -> None:
        super().__init__(param)
        if abs(param.momentum) == 1:
            raise NetError(
                f"momentum is {param.momentum:g}; Adam divides by 1 - momentum^t, give another"
            )
        if abs(param.momentum2) > 1:
            raise NetError(
                f"momentum2 is {param.momentum2:g}; Adam takes the root of 1 - momentum2^t, give "
                "at most 1"
            )

    def update(
        self, g: torch.Tensor, history: Sequence[torch.Tensor], rate: float, iteration: int
    ) -> None:
        (m, v), b1, b2 = history, self.param.momentum, self.param.momentum2
        t = iteration + 1
        m.mul_(b1).add_(g, alpha=1 - b1)
        v.mul_(b2).addcmul_(g, g, value=1 - b2)
        correction = math.sqrt(1 - b2**t) / (1 - b1**t)
        torch.div(m, v.sqrt().add_(self.param.delta), out=g).mul_(rate * correction)


def _refuse_momentum(param: Any, rule: str) -> None:
    if param.momentum:
        raise NetError(f"momentum is {param.momentum:g}; {rule} uses none, remove it")
