"""Cases of Transpose, Reverse and Lstm."""

from __future__ import annotations

import numpy as np

from .case import Arrays, Case, normal


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def lstm(bottoms: Arrays, parameters: Arrays) -> np.ndarray:
    """Run the recurrence of T x N x inputs, one step and one sequence at a time."""
    x, (w_x, w_h, b) = bottoms[0], parameters
    d = w_h.shape[1]
    y = np.zeros((*x.shape[:2], d))
    for n in range(x.shape[1]):
        h = c = np.zeros(d)
        for t in range(x.shape[0]):
            if len(bottoms) > 1 and not bottoms[1][t, n]:
                h = c = np.zeros(d)
            gates = w_x @ x[t, n] + w_h @ h + b
            i, f, o = (sigmoid(gates[k * d : (k + 1) * d]) for k in range(3))
            c = f * c + i * np.tanh(gates[3 * d :])
            h = o * np.tanh(c)
            y[t, n] = h
    return y


def marked(random: np.random.RandomState) -> list[np.ndarray]:
    """Six steps of two sequences, with marks where sequences start."""
    marks = (random.uniform(size=(6, 2)) > 0.3).astype(float)
    marks[0] = 0
    return [random.standard_normal((6, 2, 3)), marks]


CTPN = "Tian et al. 2016, CTPN; tianzhi0549/CTPN"
LSTM = "Hochreiter & Schmidhuber 1997; junhyukoh/caffe-lstm"

CASES = [
    Case(
        "Transpose",
        "transpose_param { dim: 3 dim: 2 dim: 0 dim: 1 }",
        normal((2, 3, 4, 5)),
        CTPN,
        lambda b, p: np.moveaxis(b[0], (3, 2, 0, 1), (0, 1, 2, 3)),
    ),
    Case(
        "Reverse", "reverse_param { axis: 1 }", normal((2, 3, 4)), CTPN, lambda b, p: b[0][:, ::-1]
    ),
    Case(
        "Lstm",
        "lstm_param { num_output: 4 }",
        normal((6, 2, 3)),
        LSTM,
        lstm,
        "T x N x inputs",
        learns=(0, 1, 2),
    ),
    Case(
        "Lstm",
        "lstm_param { num_output: 4 batch_size: 2 }",
        lambda random: [random.standard_normal((12, 3))],
        LSTM,
        lambda b, p: lstm([b[0].reshape(6, 2, 3)], p).reshape(12, 4),
        "T N x inputs",
        learns=(0, 1, 2),
    ),
    Case(
        "Lstm",
        "lstm_param { num_output: 4 }",
        marked,
        LSTM,
        lstm,
        "with marks of starts",
        learns=(0, 1, 2),
    ),
]
