"""Learning-rate policies, as in BVLC Caffe's `SGDSolver::GetLearningRate`.

A policy computes the learning rate of an iteration from the fields of a SolverParameter. The
policies "step" and "multistep" also count how often the rate has dropped. A solver keeps that count
and writes it to its .solverstate as `current_step`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import glog
from ..errors import NetError

#: Exponents above this overflow a float64.
LARGEST_EXPONENT = 700.0
#: The policies whose rate goes up and down in cycles.
CYCLES = ("triangular", "triangular2")
#: The policies of the momentum.
MOMENTA = ("fixed", "opt", "poly")
#: The largest float32, in which BVLC Caffe computes rates.
LARGEST_RATE = float(np.finfo(np.float32).max)


def check(param: Any) -> None:
    """Check the fields of a SolverParameter that its policies read.

    Raises NetError for an unknown policy, a step size below 1 or a negative gamma.
    """
    policy = param.lr_policy
    if policy not in POLICIES:
        raise NetError(f"lr_policy is {policy!r}; it needs to be one of {', '.join(POLICIES)}")
    if policy in ("step", "sigmoid", *CYCLES) and param.stepsize < 1:
        raise NetError(f"lr_policy {policy!r} has stepsize {param.stepsize}; it needs at least 1")
    if policy == "multifixed" and not 0 < len(param.stagelr) == len(param.stageiter):
        raise NetError(
            f"lr_policy 'multifixed' has {len(param.stagelr)} stagelr and {len(param.stageiter)} "
            "stageiter; it needs equally many, at least 1"
        )
    if policy == "plateau" and not param.plateau_winsize:
        raise NetError("lr_policy 'plateau' has no plateau_winsize; it needs at least 1")
    if policy in CYCLES and not param.HasField("max_lr"):
        raise NetError(f"lr_policy {policy!r} has no max_lr; set the rate in the middle of a cycle")
    if policy in ("step", "exp", "inv", "multistep", "sigmoid") and param.gamma < 0:
        raise NetError(f"lr_policy {policy!r} has gamma {param.gamma}; it needs at least 0")
    if param.momentum_policy not in MOMENTA:
        raise NetError(
            f"momentum_policy is {param.momentum_policy!r}; it needs to be one of "
            f"{', '.join(MOMENTA)}"
        )
    if param.momentum_policy == "poly" and param.max_iter < 1:
        raise NetError(f"momentum_policy 'poly' has max_iter {param.max_iter}; set max_iter")


class Plateau:
    """Counts the drops of the policy "plateau" of SSD's fork.

    The rate drops when the smoothed loss has had no new minimum for plateau_winsize iterations; the
    values of plateau_winsize are those of the first drop, of the second, and so on.
    """

    def __init__(self) -> None:
        self._minimum = math.inf
        #: The iteration of the last minimum, or of the last drop.
        self._last = 0

    def state(self) -> list[Any]:
        """Return the minimum, None before the first, and its iteration, for a JSON file."""
        return [self._minimum if math.isfinite(self._minimum) else None, self._last]

    def set_state(self, values: Sequence[Any]) -> None:
        """Continue where `state` was called. Raises ValueError or TypeError."""
        minimum, last = values
        self._minimum, self._last = math.inf if minimum is None else float(minimum), int(last)

    def count_drops(self, param: Any, iteration: int, drops: int, loss: float) -> int:
        """Return how often the rate has dropped at `iteration`. loss: the smoothed loss."""
        if loss < self._minimum:
            self._minimum, self._last = loss, iteration
        sizes = param.plateau_winsize
        if drops < len(sizes) and iteration - self._last >= sizes[drops]:
            drops, self._last = drops + 1, iteration
            message = f"Plateau Status: Iteration {iteration}, step = {drops}"
            glog.write("sgd_solver.cpp:73", message)
        return drops


def count_drops(param: Any, iteration: int, drops: int) -> int:
    """Return how often the rate has dropped at `iteration`, which had dropped `drops` times before.

    The policy "multistep" passes at most one of its step values in a call, as in BVLC Caffe.
    """
    if param.lr_policy == "step":
        return iteration // param.stepsize
    if param.lr_policy == "multistep":
        steps = param.stepvalue
        if drops < len(steps) and iteration >= steps[drops]:
            drops += 1
            glog.write(
                "sgd_solver.cpp:49", f"MultiStep Status: Iteration {iteration}, step = {drops}"
            )
    return drops


def learning_rate(param: Any, iteration: int, drops: int) -> float:
    """Return the learning rate at `iteration`, after the rate has dropped `drops` times.

    As in NVCaffe, the rate rises linearly from rampup_lr during the first rampup_interval
    iterations, and is never below min_lr where that is set; as in intel/caffe, from
    warmup_start_lr during the first warmup_iter.

    Raises NetError for a rate that float32 lacks; BVLC Caffe then trains with inf or NaN.
    """
    try:
        rate = _bounded_rate(param, iteration, drops)
    except (OverflowError, ZeroDivisionError):
        rate = math.inf
    # Python's power of a negative number is complex, C's is NaN: "poly" behind max_iter.
    if isinstance(rate, complex):
        rate = math.nan
    if not abs(rate) <= LARGEST_RATE:
        raise NetError(_no_rate(param, iteration, rate))
    return rate


def _no_rate(param: Any, iteration: int, rate: float) -> str:
    fields = {
        "step": "gamma",
        "exp": "gamma",
        "inv": "gamma and power",
        "multistep": "gamma",
        "poly": "power and max_iter",
        "sigmoid": "gamma",
    }
    advice = f"set other values of {fields.get(param.lr_policy, 'base_lr')}"
    if param.lr_policy == "poly" and iteration > param.max_iter:
        advice = f"the policy ends at max_iter {param.max_iter}, raise max_iter"
    return (
        f"lr_policy {param.lr_policy!r} with base_lr {param.base_lr:g} gives the learning rate "
        f"{rate:g} at iteration {iteration}; {advice}"
    )


def _bounded_rate(param: Any, iteration: int, drops: int) -> float:
    rate = POLICIES[param.lr_policy](param, iteration, drops)
    if iteration < param.rampup_interval:
        return _risen(param, param.rampup_lr, iteration, param.rampup_interval)
    if iteration < param.warmup_iter:
        return _risen(param, param.warmup_start_lr, iteration, param.warmup_iter)
    # As in BVLC Caffe, "poly" behind max_iter has rates below 0.
    bounded = param.HasField("min_lr") and not isinstance(rate, complex)
    return max(rate, param.min_lr) if bounded else rate


def _risen(p: Any, start: float, iteration: int, length: int) -> float:
    """Return the rate on the way from `start` to base_lr, which takes `length` iterations."""
    return start + (p.base_lr - start) * iteration / length


def _fixed(p: Any, iteration: int, drops: int) -> float:
    return p.base_lr


def _step(p: Any, iteration: int, drops: int) -> float:
    return p.base_lr * p.gamma**drops


def _exp(p: Any, iteration: int, drops: int) -> float:
    return p.base_lr * p.gamma**iteration


def _inv(p: Any, iteration: int, drops: int) -> float:
    return p.base_lr * (1 + p.gamma * iteration) ** -p.power


def _multifixed(p: Any, iteration: int, drops: int) -> float:
    """Return the rate of the iteration's stage: stagelr up to stageiter; the last one stays."""
    stages = zip(p.stagelr, p.stageiter)
    return next((rate for rate, end in stages if iteration < end), p.stagelr[-1])


def _poly(p: Any, iteration: int, drops: int) -> float:
    return p.base_lr * (1 - iteration / p.max_iter) ** p.power


def _sigmoid(p: Any, iteration: int, drops: int) -> float:
    exponent = min(-p.gamma * (iteration - p.stepsize), LARGEST_EXPONENT)
    return p.base_lr / (1 + math.exp(exponent))


def _triangular(p: Any, iteration: int, drops: int) -> float:
    """Return the rate of a cycle of 2 stepsize iterations, up to max_lr and back (Smith 2017).

    The cycles begin at start_lr_policy.
    """
    cycle, place = divmod(max(iteration - p.start_lr_policy, 0), 2 * p.stepsize)
    height = 1 - abs(place / p.stepsize - 1)
    if p.lr_policy == "triangular2":
        height /= 2**cycle
    return p.base_lr + (p.max_lr - p.base_lr) * height


def momentum(param: Any, iteration: int, rate: float) -> float:
    """Return the momentum at an iteration with the learning rate `rate`, as NVCaffe's policies say.

    "poly" goes from momentum to max_momentum, m + (max - m) (iteration / max_iter)^momentum_power;
    "opt" is (1 - sqrt(rate) / 2)^2, at most max_momentum where that is set.
    """
    if param.momentum_policy == "poly":
        share = (iteration / param.max_iter) ** param.momentum_power
        return param.momentum + (param.max_momentum - param.momentum) * share
    if param.momentum_policy == "opt":
        best = (1 - math.sqrt(max(rate, 0)) / 2) ** 2
        return min(best, param.max_momentum) if param.HasField("max_momentum") else best
    return float(param.momentum)


POLICIES: dict[str, Callable[[Any, int, int], float]] = {
    "fixed": _fixed,
    "step": _step,
    "exp": _exp,
    "inv": _inv,
    "multifixed": _multifixed,
    "multistep": _step,
    "plateau": _step,
    "poly": _poly,
    "sigmoid": _sigmoid,
    "triangular": _triangular,
    "triangular2": _triangular,
}
