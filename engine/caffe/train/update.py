"""The update of all parameters: in pieces on the CPU, in one kernel launch on a CUDA device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Union

import torch

from .. import glog, mode
from ..blob import Blob
from ..memory import Memory, MemoryView
from ..native import library
from ..native.instructions import Call
from ..ops import cuda
from ..run.wiring import Parameter
from . import policies, rules
from .together import SmallParameters

AnyMemory = Union[Memory, MemoryView]

#: The values of a parameter that are updated at a time on the CPU: 1 MB of weights, and as much of
#: the gradient and of each history, so that a piece stays in the cache between a rule's operations.
PIECE = 1 << 18


class _Work(NamedTuple):
    """A parameter during an update: where its values are and which factors apply to it."""

    weights: AnyMemory
    gradient: AnyMemory
    history: Sequence[AnyMemory]
    lr_mult: float
    decay: float


class Updater:
    """Applies a rule to the parameters of a net.

    param: the SolverParameter, which says how gradients are clipped, normalized and regularized.
    history: for each of the rule's histories in turn, a blob for each parameter.
    """

    def __init__(
        self,
        rule: rules.Rule,
        param: Any,
        parameters: Sequence[Parameter],
        history: Sequence[Blob],
    ) -> None:
        self._rule, self._param = rule, param
        self._parameters, self._history = parameters, history
        plain = param.iter_size == 1 and param.regularization_type == "L2"
        in_c = plain and type(rule) is rules.SGD and library.load() is not None
        self._small = SmallParameters(parameters, history, in_c)
        self._bound = self._small.bind(rule, param.weight_decay) if plain else None
        self._kernel = cuda.SGD()
        self._logged_missing_kernel = False

    def calls(self) -> Sequence[Call] | None:
        """Return the calls of an update that repeats the last one; None if there are none.

        Before the calls, `begin_repeated` is to be called.
        """
        return None if self._bound is None or self._small.rest else self._bound.calls

    def repeats(self) -> bool:
        """Return whether the next update can be the calls of the last one, and nothing else."""
        return self._small.is_leased() and self._param.clip_gradients < 0

    def begin_repeated(self, rate: float) -> None:
        """Prepare for calls that repeat the last update, at another learning rate."""
        assert self._bound is not None
        self._small.count_update()
        self._bound.set_rate(rate)

    def apply(self, rate: float, iteration: int) -> None:
        """Turn the gradients into updates and subtract them from the weights.

        Afterwards `diff` of a parameter holds the update.
        """
        on = mode.device()
        self._rule.momentum = policies.momentum(self._param, iteration, rate)
        self._clip(self._parameters, on)
        numbers: Sequence[int] = range(len(self._parameters))
        if on.type == "cpu" and mode.fast() and self._small.begin():
            self._update_small(rate, iteration)
            numbers = self._small.rest
            if not numbers:
                return
        work = [parameter for parameter in map(self._work, numbers) if not self._rests(parameter)]
        if on.type == "cuda" and self._fits_one_launch():
            self._launch(work, rate, on)
            return
        if on.type == "cpu" and self._updates_together():
            small = [p.lr_mult != 0 and math.prod(p.weights.shape) <= PIECE for p in work]
            self._update_together([p for p, fits in zip(work, small) if fits], on, rate)
            work = [p for p, fits in zip(work, small) if not fits]
        for parameter in work:
            for piece in _pieces(parameter, on, self._moves(parameter, on)):
                self._update(piece, rate * parameter.lr_mult, parameter.decay, iteration)

    def _work(self, number: int) -> _Work:
        """Return where the values of a parameter, by number, are now."""
        blob, lr_mult, decay_mult = self._parameters[number]
        return _Work(
            blob.values,
            blob.gradient,
            [h.values for h in self._history[number :: len(self._parameters)]],
            lr_mult,
            self._param.weight_decay * decay_mult,
        )

    def _update_small(self, rate: float, iteration: int) -> None:
        """Update the small parameters, whose update has begun."""
        if self._bound is not None:
            self._bound.run(rate)
            return
        for piece in self._small.pieces:
            decay = self._param.weight_decay * piece.decay_mult
            self._update(piece.tensors, rate * piece.lr_mult, decay, iteration)

    def _clip(self, parameters: Sequence[Parameter], on: torch.device) -> None:
        """Scale all gradients down together if their L2 norm is above clip_gradients."""
        limit = self._param.clip_gradients
        if limit < 0:
            return
        gradients = [parameter.blob.gradient for parameter in parameters]
        tensors = [gradient.tensor(on).flatten() for gradient in gradients]
        norm = math.sqrt(float(sum(torch.dot(t, t) for t in tensors)))
        if norm > limit:
            glog.write(
                "sgd_solver.cpp:93",
                f"Gradient clipping: scaling down gradients (L2 norm {norm:g} > {limit:g}) "
                f"by scale factor {limit / norm:g}",
            )
            for gradient in gradients:
                gradient.mutable(on).mul_(limit / norm)

    def _rests(self, parameter: _Work) -> bool:
        """Return whether a parameter does not learn and never has.

        The gradient of such a parameter is set to zero, because it then is the update.
        """
        zero = all(h.is_zero() for h in parameter.history)
        rests = self._rule.has_momentum and parameter.lr_mult == 0 and zero
        if rests:
            parameter.gradient.zero()
        return rests

    def _moves(self, parameter: _Work, on: torch.device) -> bool:
        """Return whether the update can change the weights; momentum does so even at lr_mult 0."""
        if parameter.lr_mult != 0:
            return True
        pending = (h for h in parameter.history if self._rule.has_momentum and not h.is_zero())
        return any(bool(h.tensor(on).any()) for h in pending)

    def _update(
        self, piece: Sequence[torch.Tensor], rate: float, decay: float, iteration: int
    ) -> None:
        weights, gradient, *history = piece
        p = self._param
        if p.iter_size > 1:
            gradient /= p.iter_size
        if decay:
            penalty = weights if p.regularization_type == "L2" else weights.sign()
            gradient.add_(penalty, alpha=decay)
        self._rule.update(gradient, history, rate, iteration)
        weights -= gradient

    def _updates_together(self) -> bool:
        """Return whether small parameters are updated together: SGD on one batch, with L2 decay."""
        p = self._param
        plain = type(self._rule) is rules.SGD and p.iter_size == 1
        return plain and p.regularization_type == "L2" and mode.fast()

    def _update_together(self, work: Sequence[_Work], on: torch.device, rate: float) -> None:
        """Update parameters by SGD, with one call of PyTorch for each operation."""
        if not work:
            return
        rows = [next(iter(_pieces(parameter, on, changes=True))) for parameter in work]
        weights, gradients, history = (list(column) for column in zip(*rows))
        for decay in {p.decay for p in work} - {0}:
            # A NaN equals nothing, but is itself.
            same = [i for i, p in enumerate(work) if p.decay is decay or p.decay == decay]
            torch._foreach_add_(
                [gradients[i] for i in same], [weights[i] for i in same], alpha=decay
            )
        assert isinstance(self._rule, rules.SGD)
        for lr_mult in {p.lr_mult for p in work}:
            same = [i for i, p in enumerate(work) if p.lr_mult == lr_mult]
            self._rule.update_together(
                [gradients[i] for i in same], [history[i] for i in same], rate * lr_mult
            )
        torch._foreach_sub_(weights, gradients)

    def _fits_one_launch(self) -> bool:
        """Return whether the kernel of SGD computes this update, and can be compiled here."""
        p = self._param
        is_sgd = type(self._rule) is rules.SGD
        if not is_sgd or p.iter_size != 1 or p.regularization_type != "L2":
            return False
        if self._kernel.possible():
            return True
        if not self._logged_missing_kernel:
            self._logged_missing_kernel = True
            glog.write(
                "update.py:1",
                "The SGD kernel cannot be compiled on this device; updates run as separate "
                "PyTorch operations",
            )
        return False

    def _launch(self, work: Sequence[_Work], rate: float, on: torch.device) -> None:
        if not work:
            return
        rows = [(_alike(p, on, changes=True), p.lr_mult, p.decay) for p in work]
        self._kernel.update(rows, rate, self._rule.momentum)
        for parameter in work:
            _defer_update(parameter.gradient, parameter.history[0], on)


class _UpdateInHistory:
    """The update of a parameter, which SGD's kernel leaves in the history alone.

    The gradient's memory holds this object, by `values`, until the gradient is read or changed.
    Until then, the history calls `before_change` before its next values replace the update.
    """

    def __init__(self, history: AnyMemory, on: torch.device) -> None:
        self._history, self._on = history, on
        self._copy: torch.Tensor | None = None

    def values(self) -> torch.Tensor:
        """Return a copy of the update."""
        return self._history.tensor(self._on).clone() if self._copy is None else self._copy

    def before_change(self) -> None:
        """Copy the update while the history still holds it."""
        self._copy = self.values()


def _defer_update(gradient: AnyMemory, history: AnyMemory, on: torch.device) -> None:
    """Let the gradient be the update that `history` now holds, copied when it is first read."""
    if gradient.held() or not isinstance(gradient, Memory):
        gradient.set(history.tensor(on).clone())
        return
    update = _UpdateInHistory(history, on)
    gradient.defer(update.values)
    history.watch(gradient, update.before_change)


def _pieces(parameter: _Work, on: torch.device, changes: bool) -> Iterator[Sequence[torch.Tensor]]:
    """Yield the weights, the gradient and each history, a piece at a time on the CPU.

    Unless `changes`, the weights' memory does not count as changed.
    """
    if on.type != "cpu":
        yield _alike(parameter, on, changes)
        return
    others = (parameter.gradient, *parameter.history)
    tensors = [_in_axis_order(parameter.weights, on, changes)]
    tensors += [_in_axis_order(other, on, changes=True) for other in others]
    if tensors[0].numel() <= PIECE:
        yield tensors
        return
    yield from zip(*(tensor.view(-1).split(PIECE) for tensor in tensors))


def _alike(parameter: _Work, on: torch.device, changes: bool) -> list[torch.Tensor]:
    """Return the weights, the gradient and each history, all laid out in memory as the weights.

    Unless `changes`, the weights' memory does not count as changed.
    """
    memory = parameter.weights
    weights = memory.mutable(on) if changes else memory.tensor(on)
    others = (parameter.gradient, *parameter.history)
    return [weights, *(other.mutable_like(weights) for other in others)]


def _in_axis_order(memory: AnyMemory, on: torch.device, changes: bool) -> torch.Tensor:
    """Return the values, to be written, in memory in the order of their axes.

    Unless `changes`, the memory does not count as changed.
    """
    if not changes:
        return memory.tensor(on).contiguous()
    tensor = memory.mutable(on)
    if not tensor.is_contiguous():
        memory.set(tensor.contiguous())
        tensor = memory.mutable(on)
    return tensor
