"""RNN, LSTM and LSTMUnit."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from oracle.random_nets.draft import Draft


def add_recurrent(d: Draft, type_: str, states: int) -> None:
    """Add an unrolled layer with this number of hidden states."""
    bottom = d.pick(3, 4)
    shape = d.shapes[bottom]
    steps, batch, outputs = shape[0], shape[1], d.size(1, 4)
    cont = d.input((steps, batch), "label 2", "cont")
    bottoms, shapes = [bottom, cont], [(steps, batch, outputs)]
    fields = "num_output: %d" % outputs
    if d.chance(0.25):
        bottoms.append(d.input((batch, *d.shape(d.size(1, 2)))))
    if d.chance(0.25):
        bottoms += [d.input((1, batch, outputs)) for _ in range(states)]
        shapes += [(1, batch, outputs)] * states
        fields += " expose_hidden: true"
    fields = "recurrent_param { %s }" % fields
    tops = d.add(type_, bottoms, shapes, fields, protected=True, gradient=False)
    d.unrolled.update(tops)


def RNN(d: Draft) -> None:
    """Add an RNN."""
    add_recurrent(d, "RNN", 1)


def LSTM(d: Draft) -> None:
    """Add an LSTM."""
    add_recurrent(d, "LSTM", 2)


def LSTMUnit(d: Draft) -> None:
    """Add an LSTMUnit."""
    batch, units = d.size(1, 4), d.size(1, 4)
    c, gates = d.input((1, batch, units)), d.input((1, batch, 4 * units))
    cont = d.input((1, batch), "label 2", "cont")
    d.add("LSTMUnit", [c, gates, cont], [(1, batch, units)] * 2, protected=True, gradient=False)


MAKERS = (RNN, LSTM, LSTMUnit)
