"""Recurrent layers: RNN, LSTM, and LSTMUnit, one step of an LSTM.

T is the number of steps, N the number of sequences, D is num_output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from ..blob import Blob
from ..fillers import pass_over
from ..ops.slope import with_slope
from .function import Function, Tensors
from .registry import register
from .resume_values import decode_floats, encode_floats


def _lstm_step(
    c: torch.Tensor, gates: torch.Tensor, cont: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the next c and h, both N x D (lstm_unit_layer.cpp).

    c: N x D. gates: N x 4D, before the nonlinearity, in the order i, f, o, g. cont: N, 0 where a
    sequence starts.
    """
    i, f, o, g = gates.chunk(4, -1)
    # As in Caffe, the gradient is that of a sigmoid with the value cont * sigmoid(f).
    forget = with_slope(f, lambda f: cont[:, None] * torch.sigmoid(f), lambda _, y: y * (1 - y))
    c = forget * c + torch.sigmoid(i) * torch.tanh(g)
    return c, torch.sigmoid(o) * torch.tanh(c)


def _continued(state: torch.Tensor, cont: torch.Tensor) -> torch.Tensor:
    """Return cont times the state, N x D, and 0 for NaN and infinity where a sequence starts."""
    return (cont[:, None] * state).masked_fill(cont[:, None] == 0, 0)


class _Recurrent(Function):
    """A recurrence over the steps of x, T x N x ... (recurrent_layer.cpp).

    The second bottom, cont (T x N), is 0 where a sequence starts and else 1. A third bottom,
    N x ..., is an input to every step. The first top is T x N x D. The hidden state continues from
    one batch to the next; with expose_hidden the state is further bottoms and tops, each 1 x N x D.
    No gradient passes through the state. As in Caffe, all bottoms but cont get their gradient
    whatever `propagate_down` says.
    """

    bottoms, tops = (2, math.inf), (1, math.inf)
    in_place = False
    stateful = True
    replayable = False
    #: The number of hidden states, N x D each, and of the gates, which the input has N x D each.
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
            self.add_parameter(size, self._filler(size))
        # BVLC Caffe's unrolled net fills these parameters for each step, then shares the first.
        for size in self.hidden_shapes(d) * (self.steps - 1):
            pass_over(size, self._filler(size))

    def _filler(self, shape: tuple[int, ...]) -> Any:
        """Return the FillerParameter of a parameter of this shape."""
        p = self.layer_param.recurrent_param
        return p.bias_filler if len(shape) == 1 else p.weight_filler

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self._check_shapes(bottom)
        super().reshape(bottom, top)

    def _check_shapes(self, bottom: Sequence[Blob]) -> None:
        """Raise ShapeError for bottoms that the recurrence cannot read."""
        shape, cont = bottom[0].shape, bottom[1].shape
        if len(shape) < 3 or cont != shape[:2]:
            raise self.shape_error(
                f"x has shape {shape} and cont has {cont}; they need T x N x ... and T x N"
            )
        if shape[0] != self.steps or math.prod(shape[2:]) != self.features:
            raise self.shape_error(
                f"x has shape {shape}; it needs {self.steps} steps of {self.features} values each, "
                "as when the net was built"
            )
        if self.static and bottom[2].shape[:1] != shape[1:2]:
            raise self.shape_error(
                f"the static input has shape {bottom[2].shape} for x of shape {shape}; it needs "
                f"{shape[1]} rows"
            )
        if self.static and math.prod(bottom[2].shape[1:]) != self.static_features:
            raise self.shape_error(
                f"the static input has shape {bottom[2].shape}; it needs {self.static_features} "
                "values a row, as when the net was built"
            )
        state = (1, shape[1], self.layer_param.recurrent_param.num_output)
        for blob in bottom[3 if self.static else 2 :]:
            if blob.shape != state:
                raise self.shape_error(
                    f"a bottom of the hidden state has shape {blob.shape}; it needs {state}"
                )

    def hidden_shapes(self, d: int) -> list[tuple[int, ...]]:
        """Return the shapes of the parameters that follow those of the inputs."""
        raise NotImplementedError

    def step(
        self, state: Tensors, x: torch.Tensor, cont: torch.Tensor
    ) -> tuple[Tensors, torch.Tensor]:
        """Return the next state and the output of one step, N x D.

        x: the input after its linear transform, N x (gates * D). cont: N.
        """
        raise NotImplementedError

    def compute(self, x: torch.Tensor, cont: torch.Tensor, *more: torch.Tensor) -> Tensors:
        steps, n = x.shape[:2]
        w, b = self.weights[:2]
        gates = F.linear(x.reshape(steps, n, -1), w, b)
        if self.static:
            gates = gates + F.linear(more[0].reshape(n, -1), self.weights[2])
            more = more[1:]
        self.hidden_weights = self.weights[3 if self.static else 2 :]
        start = self._first_state(x, more)
        state: Tensors = tuple(s[:n] for s in start)
        outputs = []
        for t in range(steps):
            state, y = self.step(state, gates[t], cont[t].detach())
            outputs.append(y)
        last = tuple(s.detach() for s in state)
        if not x.is_meta:
            self.state = tuple(torch.cat([s, old[n:]]) for s, old in zip(last, start))
        if not self.layer_param.recurrent_param.expose_hidden:
            return (torch.stack(outputs),)
        return (torch.stack(outputs), *(s[None] for s in last))

    def _first_state(self, x: torch.Tensor, exposed: Tensors) -> Tensors:
        """Return the state before the first step, at least N x D: a bottom's or the last batch's.

        A batch that is smaller than the last continues with the state's first rows; a larger one
        starts from zero.
        """
        p, n = self.layer_param.recurrent_param, x.shape[1]
        if p.expose_hidden:
            return tuple(s.detach().reshape(n, p.num_output) for s in exposed)
        if self.state and len(self.state[0]) >= n and not x.is_meta:
            return tuple(s.to(x.device) for s in self.state)
        return tuple(x.new_zeros(n, p.num_output) for _ in range(self.states))

    def resume_state(self) -> Any:
        return [encode_floats(s) for s in self.state] if self.state else None

    def set_resume_state(self, values: Any) -> None:
        self.state = tuple(map(decode_floats, values)) if values else None

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        super().backward(top, [i != 1 for i in range(len(bottom))], bottom)


@register
class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997; lstm_layer.cpp).

    c' = f c + i g, h' = o tanh(c'); i, f and o are sigmoids and g is the tanh of their part of
    W_x x + b + W_h h. The parameters are W_x (4D x inputs), b (4D) and W_h (4D x D).
    """

    states = 2
    gates = 4

    def hidden_shapes(self, d: int) -> list[tuple[int, ...]]:
        return [(4 * d, d)]

    def step(
        self, state: Tensors, x: torch.Tensor, cont: torch.Tensor
    ) -> tuple[Tensors, torch.Tensor]:
        h, c = state
        gates = x + F.linear(_continued(h, cont), self.hidden_weights[0])
        c, h = _lstm_step(c, gates, cont)
        return (h, c), h


@register
class RNN(_Recurrent):
    """h' = tanh(W_hh h + W_xh x + b_h), y = tanh(W_ho h' + b_o) (rnn_layer.cpp).

    The parameters are W_xh (D x inputs), b_h (D), W_hh (D x D), W_ho (D x D) and b_o (D).
    """

    states = 1
    gates = 1

    def hidden_shapes(self, d: int) -> list[tuple[int, ...]]:
        return [(d, d), (d, d), (d,)]

    def step(
        self, state: Tensors, x: torch.Tensor, cont: torch.Tensor
    ) -> tuple[Tensors, torch.Tensor]:
        w_hh, w_ho, b_o = self.hidden_weights
        h = torch.tanh(x + F.linear(_continued(state[0], cont), w_hh))
        return (h,), torch.tanh(F.linear(h, w_ho, b_o))


@register
class LSTMUnit(Function):
    """One step of an LSTM (lstm_unit_layer.cpp).

    The bottoms are c (1 x N x D), the gates before their nonlinearity (1 x N x 4D) and cont
    (1 x N); the tops are the next c and h, 1 x N x D each.
    """

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
            raise self.shape_error(
                f"bottoms of shapes {shape}, {tuple(gates.shape)}, {tuple(cont.shape)}; they need "
                "1 x N x D, 1 x N x 4D and 1 x N"
            )
        c, h = _lstm_step(c[0], gates[0], cont[0].detach())
        return c[None], h[None]
