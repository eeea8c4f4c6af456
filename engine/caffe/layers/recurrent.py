"""Recurrent layers: RNN, LSTM and the step of the latter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F

from ..blob import Blob
from ..fillers import fill
from .function import Function, Tensors
from .registry import register


def _lstm_step(
    c: torch.Tensor, gates: torch.Tensor, cont: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The next c and h (N x D each) from c, the gates (N x 4D: i, f, o, g) and cont (N)."""
    i, f, o, g = gates.chunk(4, -1)
    # Where cont is not 0 or 1, the gradient still is that of a sigmoid with this outcome.
    kept = (cont[:, None] * torch.sigmoid(f)).detach()
    f = kept + kept * (1 - kept) * (f - f.detach())
    c = f * c + torch.sigmoid(i) * torch.tanh(g)
    return c, torch.sigmoid(o) * torch.tanh(c)


class _Recurrent(Function):
    """A recurrence over axis 0 of x (T x N x ...); cont (T x N) is 0 where a sequence starts.

    A further bottom, N x ..., is seen at every step. The hidden state goes on from one batch to
    the next, or with expose_hidden is a bottom and a top; in both no gradient passes through it.
    All bottoms but cont get a gradient, wanted or not, as in Caffe.
    """

    tops = (1, math.inf)
    bottoms = (2, math.inf)
    in_place = False
    stateful = True
    replayable = False
    states: ClassVar[int]
    gates: ClassVar[int]

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.recurrent_param, bottom[0].shape
        exposed = self.states if p.expose_hidden else 0
        if p.num_output < 1:
            raise self.error(f"num_output is {p.num_output}; it needs to be at least 1")
        if len(bottom) not in (2 + exposed, 3 + exposed) or len(top) != 1 + exposed:
            raise self.error(
                f"has {len(bottom)} bottoms and {len(top)} tops; it needs {2 + exposed} or "
                f"{3 + exposed} bottoms and {1 + exposed} tops"
            )
        self.static = len(bottom) == 3 + exposed
        self.state: Tensors | None = None
        self.steps, self.features = (*shape, 0)[0], math.prod(shape[2:])
        self.static_features = math.prod(bottom[2].shape[1:]) if self.static else 0
        self._check_shapes(bottom)
        d = p.num_output
        inputs = [(d * self.gates, self.features), (d * self.gates,)]
        if self.static:
            inputs.append((d * self.gates, self.static_features))
        for size in [*inputs, *self.hidden_shapes(d)]:
            self.blobs.add_blob(*size)
            filler = p.bias_filler if len(size) == 1 else p.weight_filler
            fill(self.blobs[-1], filler, f"layer {self.name!r}")

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self._check_shapes(bottom)
        super().reshape(bottom, top)

    def _check_shapes(self, bottom: Sequence[Blob]) -> None:
        shape, cont = bottom[0].shape, bottom[1].shape
        if len(shape) < 3 or cont != shape[:2]:
            raise self.error(
                f"x has shape {shape} and cont {cont}; they need T x N x ... and T x N"
            )
        if shape[0] != self.steps or math.prod(shape[2:]) != self.features:
            raise self.error(
                f"x has shape {shape}; it needs {self.steps} steps of {self.features} values each, "
                "as when the net was built"
            )
        if self.static and bottom[2].shape[:1] != shape[1:2]:
            raise self.error(
                f"the static input has shape {bottom[2].shape} for x of shape {shape}; it needs "
                f"{shape[1]} rows"
            )
        if self.static and math.prod(bottom[2].shape[1:]) != self.static_features:
            raise self.error(
                f"the static input has shape {bottom[2].shape}; it needs {self.static_features} "
                "values a row, as when the net was built"
            )
        state = (1, shape[1], self.layer_param.recurrent_param.num_output)
        for blob in bottom[3 if self.static else 2 :]:
            if blob.shape != state:
                raise self.error(f"a bottom of its state has shape {blob.shape}; it needs {state}")

    def hidden_shapes(self, d: int) -> list[tuple[int, ...]]:
        """The shapes of the parameters behind those of the inputs."""
        raise NotImplementedError

    def step(
        self, state: Tensors, x: torch.Tensor, cont: torch.Tensor
    ) -> tuple[Tensors, torch.Tensor]:
        """The next state and the output from the transformed input x (N x gates * D)."""
        raise NotImplementedError

    def compute(self, x: torch.Tensor, cont: torch.Tensor, *more: torch.Tensor) -> Tensors:
        p, (steps, n) = self.layer_param.recurrent_param, x.shape[:2]
        w, b = self.weights[:2]
        gates = F.linear(x.reshape(steps, n, -1), w, b)
        if self.static:
            gates = gates + F.linear(more[0].reshape(n, -1), self.weights[2])
            more = more[1:]
        self.hidden_weights = self.weights[3 if self.static else 2 :]
        shape = (n, p.num_output)
        memory: Tensors = tuple(s.detach().reshape(shape) for s in more)
        if not p.expose_hidden:
            # A smaller batch goes on from the first rows, a larger one from zero.
            kept = self.state if not x.is_meta and self.state and len(self.state[0]) >= n else ()
            memory = tuple(s.to(x.device) for s in kept or [x.new_zeros(shape)] * self.states)
        state: Tensors = tuple(s[:n] for s in memory)
        outputs = []
        for t in range(steps):
            state, y = self.step(state, gates[t], cont[t].detach())
            outputs.append(y)
        last = tuple(s.detach() for s in state)
        if not x.is_meta:
            self.state = tuple(torch.cat([s, old[n:]]) for s, old in zip(last, memory))
        exposed = tuple(s[None] for s in last) if p.expose_hidden else ()
        return (torch.stack(outputs), *exposed)

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        super().backward(top, [i != 1 for i in range(len(bottom))], bottom)


@register
class LSTM(_Recurrent):
    """Long short-term memory: c' = f c + i g, h' = o tanh(c')."""

    states = 2
    gates = 4

    def hidden_shapes(self, d: int) -> list[tuple[int, ...]]:
        return [(4 * d, d)]

    def step(
        self, state: Tensors, x: torch.Tensor, cont: torch.Tensor
    ) -> tuple[Tensors, torch.Tensor]:
        h, c = state
        gates = x + F.linear(cont[:, None] * h, self.hidden_weights[0])
        c, h = _lstm_step(c, gates, cont)
        return (h, c), h


@register
class RNN(_Recurrent):
    """h' = tanh(W_hh h + x), y = tanh(W_ho h' + b_o)."""

    states = 1
    gates = 1

    def hidden_shapes(self, d: int) -> list[tuple[int, ...]]:
        return [(d, d), (d, d), (d,)]

    def step(
        self, state: Tensors, x: torch.Tensor, cont: torch.Tensor
    ) -> tuple[Tensors, torch.Tensor]:
        w_hh, w_ho, b_o = self.hidden_weights
        h = torch.tanh(x + F.linear(cont[:, None] * state[0], w_hh))
        return (h,), torch.tanh(F.linear(h, w_ho, b_o))


@register
class LSTMUnit(Function):
    """One step of LSTM: c (1 x N x D), gates (1 x N x 4D), cont (1 x N) to the next c and h."""

    bottoms, tops = (3, 3), (2, 2)
    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 2

    def compute(self, c: torch.Tensor, gates: torch.Tensor, cont: torch.Tensor) -> Tensors:
        shape = tuple(c.shape)
        if (
            len(shape) != 3
            or shape[0] != 1
            or tuple(gates.shape) != (1, shape[1], 4 * shape[2])
            or tuple(cont.shape) != shape[:2]
        ):
            raise self.error(
                f"bottoms of shapes {shape}, {tuple(gates.shape)}, {tuple(cont.shape)}; they need "
                "1 x N x D, 1 x N x 4D and 1 x N"
            )
        c, h = _lstm_step(c[0], gates[0], cont[0].detach())
        return c[None], h[None]
