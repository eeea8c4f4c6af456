"""Writers of the recurrent layers."""

from __future__ import annotations

import math

import numpy as np

from .arrays import Array, constant, inputs, size_of
from .model import Model, Source, refusal, writes

#: The remedy for a layer that continues from one batch to the next.
EXPOSE = "set expose_hidden: true and give the state as blobs"


def _lstm_step(c: Array, gates: Array, cont: Array, width: int) -> tuple[Array, Array]:
    """Return the next c and h. gates: ... x 4D in the order i, f, o, g. cont: ... x 1."""
    i, f, o, g = (gates.slice(-1, n * width, (n + 1) * width) for n in range(4))
    i, f, o = (gate.apply("Sigmoid") for gate in (i, f, o))
    c = cont * f * c + i * g.apply("Tanh")
    return c, o * c.apply("Tanh")


def _input_gates(m: Model, source: Source, weights: list[np.ndarray]) -> Array:
    """Return the input after its linear transform, T x N x (gates D); takes its weights off."""
    bottoms = inputs(m, source)
    x = bottoms[0].reshape(0, 0, -1) if source.ndim > 3 else bottoms[0]
    gates = x.matmul(constant(m, weights.pop(0).T)) + constant(m, weights.pop(0))
    if source.layer.static:
        static = bottoms[2].reshape(0, -1)
        gates = gates + static.matmul(constant(m, weights.pop(0).T))
    return gates


def _start(m: Model, source: Source, states: int) -> tuple[Array, list[Array], int]:
    """Return cont, T x N x 1, the first states, N x D each, and the number of steps.

    Raises LayerError for a layer that continues from one batch to the next.
    """
    if not source.param.recurrent_param.expose_hidden:
        raise refusal(source.layer, "a state that continues from batch to batch", EXPOSE)
    bottoms, width = inputs(m, source), source.param.recurrent_param.num_output
    hidden = [state.reshape(-1, width) for state in bottoms[-states:]]
    return bottoms[1].unsqueeze(2), hidden, source.fixed_sizes((0,))[0]


def _join(outputs: list[Array]) -> str:
    steps = [y.unsqueeze(0) for y in outputs]
    return (steps[0].concat(0, *steps[1:]) if len(steps) > 1 else steps[0]).name


@writes
def LSTM(m: Model, source: Source) -> list[str]:
    """Write each step; the state is bottoms and tops (expose_hidden)."""
    cont, (h, c), steps = _start(m, source, 2)
    weights = source.parameters()
    gates = _input_gates(m, source, weights)
    hidden, width = constant(m, weights[0].T), source.param.recurrent_param.num_output
    outputs = []
    for t in range(steps):
        start = cont.slice(0, t, t + 1).reshape(-1, 1)
        step = gates.slice(0, t, t + 1).reshape(-1, 4 * width)
        c, h = _lstm_step(c, step + (start * h).matmul(hidden), start, width)
        outputs.append(h)
    return [_join(outputs), h.unsqueeze(0).name, c.unsqueeze(0).name]


@writes
def RNN(m: Model, source: Source) -> list[str]:
    """Write each step; the state is a bottom and a top (expose_hidden)."""
    cont, (h,), steps = _start(m, source, 1)
    weights = source.parameters()
    gates = _input_gates(m, source, weights)
    hidden, out = (constant(m, w.T) for w in weights[:2])
    bias, width = constant(m, weights[2]), source.param.recurrent_param.num_output
    outputs = []
    for t in range(steps):
        start = cont.slice(0, t, t + 1).reshape(-1, 1)
        step = gates.slice(0, t, t + 1).reshape(-1, width)
        h = (step + (start * h).matmul(hidden)).apply("Tanh")
        outputs.append((h.matmul(out) + bias).apply("Tanh"))
    return [_join(outputs), h.unsqueeze(0).name]


@writes
def LSTMUnit(m: Model, source: Source) -> list[str]:
    """Write one step of an LSTM."""
    c, gates, cont = inputs(m, source)
    c, h = _lstm_step(c, gates, cont.unsqueeze(2), source.shapes[0][2])
    return [c.name, h.name]


@writes
def Lstm(m: Model, source: Source) -> str:
    """Write LSTM over whole sequences."""
    if len(source.inputs) > 1:
        raise refusal(source.layer, "a second bottom, with which sequences continue,")
    p = source.param.lstm_param
    w_x, w_h, bias = source.parameters()
    # Caffe's order is i, f, o, g; ONNX's is i, o, f, c.
    order = np.concatenate([np.arange(p.num_output) + n * p.num_output for n in (0, 2, 1, 3)])
    x = Array(m, source.input)
    if source.ndim != 3:
        x = x.reshape(-1, p.batch_size, math.prod(source.shapes[0][1:]))
    biases = np.concatenate([bias[order], np.zeros_like(bias)])
    parameters = [m.constant(values[None]) for values in (w_x[order], w_h[order], biases)]
    y = x.node("LSTM", *(Array(m, name) for name in parameters), hidden_size=p.num_output)
    if source.ndim != 3:
        return y.reshape(-1, p.num_output).name
    return y.reshape(0, size_of(m, source, 1), p.num_output).name


@writes
def ContinuationIndicator(m: Model, source: Source) -> str:
    """Write the marks of the steps as a constant."""
    p = source.param.continuation_indicator_param
    marks = np.ones((p.time_step, p.batch_size))
    marks[0] = 0
    return constant(m, marks).name
