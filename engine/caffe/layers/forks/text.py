"""Layers of text detection and recognition: Transpose, Reverse, Lstm, ContinuationIndicator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ...blob import Blob
from ..axes import canonical_axis
from ..function import Function, Tensors
from ..recurrent import LSTM as BVLCLSTM
from ..registry import register
from ..source import Source


@register
class Transpose(Function):
    """The bottom with its axes in the order of `dim` of transpose_param (CTPN)."""

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    precision = "kept"

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        order = list(self.layer_param.transpose_param.dim)
        if sorted(order) != list(range(x.dim())):
            raise self.shape_error(
                f"dim {order} for a bottom of shape {tuple(x.shape)}; it needs each of 0 .. "
                f"{x.dim() - 1} once"
            )
        return x.permute(order).contiguous()


@register
class Reverse(Function):
    """The bottom with the order along `axis` of reverse_param (0) turned around (CTPN)."""

    bottoms, tops = (1, 1), (1, 1)
    in_place = False
    precision = "kept"

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        canonical_axis(self, self.layer_param.reverse_param.axis, bottoms[0])
        return bottoms

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x.flip(canonical_axis(self, self.layer_param.reverse_param.axis, x.shape))


class _ClippedGradient(torch.autograd.Function):
    """The identity, whose gradient is limited to -limit .. limit."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, limit: float) -> torch.Tensor:
        ctx.limit = limit
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:  # type: ignore[override]
        return grad.clamp(-ctx.limit, ctx.limit), None


@register
class Lstm(Function):
    """Long short-term memory of whole sequences (junhyukoh/caffe-lstm; CTPN).

    gates = W_x x + b + W_h h; c' = f c + i g; h' = o tanh(c'), where i, f and o are the sigmoids
    and g is the tanh of a quarter of the gates each, in this order. The bottom is T x N x inputs,
    or more axes without batch_size, or T N x ... with N = batch_size; the top is T x N x D, or
    T N x D, with D = num_output. The parameters are W_x (4D x inputs), W_h (4D x D) and b (4D).

    A second bottom of T N values is 0 where a sequence starts; the state then goes on from the end
    of the last batch. Without one, every sequence starts at the first step of the batch. With
    clipping_threshold, the gradient of each gate is limited to +- the threshold.
    """

    bottoms, tops = (1, 2), (1, 1)
    in_place = False
    no_gradient = (1,)
    stateful = True
    replayable = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.lstm_param, bottom[0].shape
        if p.num_output < 1:
            raise self.error(f"num_output is {p.num_output}; it needs to be at least 1")
        #: h and c at the end of the last batch, N x D each, where a second bottom continues them.
        self.state: Tensors | None = None
        self.inputs = math.prod(self._rows(shape)[2:])
        gates = 4 * p.num_output
        self.add_parameter((gates, self.inputs), p.weight_filler)
        self.add_parameter((gates, p.num_output), p.weight_filler)
        self.add_parameter((gates,), p.bias_filler)

    def _has_steps(self, shape: Sequence[int]) -> bool:
        """Return whether a bottom of this shape is T x N x inputs, and not T N x inputs."""
        if len(shape) == 3:
            return True
        return math.prod(shape[2:]) > 1 and not self.layer_param.lstm_param.HasField("batch_size")

    def _rows(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Steps, sequences and inputs of a bottom of this shape."""
        if self._has_steps(shape):
            return shape[0], shape[1], math.prod(shape[2:])
        batch = self.layer_param.lstm_param.batch_size
        if len(shape) < 2 or batch < 1 or shape[0] % batch:
            raise self.shape_error(
                f"a bottom of shape {tuple(shape)}; it needs T x N x inputs, or rows that "
                f"batch_size {batch} divides"
            )
        return shape[0] // batch, batch, math.prod(shape[1:])

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        shape, outputs = bottoms[0], self.layer_param.lstm_param.num_output
        steps, sequences, inputs = self._rows(shape)
        if inputs != self.inputs or any(math.prod(b) != steps * sequences for b in bottoms[1:]):
            raise self.shape_error(
                f"bottoms of shapes {list(map(tuple, bottoms))}; they need {self.inputs} inputs a "
                f"step, and a mark for each of {steps * sequences} steps"
            )
        return [(*shape[:2], outputs) if self._has_steps(shape) else (shape[0], outputs)]

    def compute(self, x: torch.Tensor, cont: torch.Tensor | None = None) -> torch.Tensor:
        p = self.layer_param.lstm_param
        steps, sequences, inputs = self._rows(x.shape)
        w_x, w_h, b = self.weights
        from_inputs = F.linear(x.reshape(steps, sequences, inputs), w_x, b)
        h = c = x.new_zeros(sequences, p.num_output)
        if cont is not None and self.state is not None and self.state[0].shape == h.shape:
            h, c = (t.to(x.device) for t in self.state)
        marks = None if cont is None else cont.detach().reshape(steps, sequences, 1)
        hidden = []
        for t in range(steps):
            if marks is not None:
                h, c = h * marks[t], c * marks[t]
            gates = from_inputs[t] + F.linear(h, w_h)
            if p.clipping_threshold > 0:
                gates = _ClippedGradient.apply(gates, p.clipping_threshold)
            i, f, o, g = gates.chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            hidden.append(h)
        if cont is not None:
            self.state = h.detach(), c.detach()
        y = torch.stack(hidden)
        return y if self._has_steps(x.shape) else y.flatten(0, 1)


@register
class LSTM(BVLCLSTM):
    """BVLC's LSTM; with lstm_param and no recurrent_param the Lstm above (junhyukoh/caffe-lstm)."""

    def __new__(cls, param: Any) -> Any:
        """Return the layer of a LayerParameter."""
        if param.HasField("lstm_param") and not param.HasField("recurrent_param"):
            return Lstm(param)
        return super().__new__(cls)


@register
class ContinuationIndicator(Source):
    """The marks of sequences that start at the first step: 0 in the first row, 1 in the others.

    The top is time_step x batch_size, the second bottom of BVLC's LSTM.
    """

    tops = (1, 1)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.continuation_indicator_param
        if not (p.time_step and p.batch_size):
            raise self.error(
                f"time_step {p.time_step} and batch_size {p.batch_size} need to be above 0"
            )
        top[0].resize((p.time_step, p.batch_size))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        marks = torch.ones(top[0].shape)
        marks[0] = 0
        top[0].values.set(marks)
