"""Iterations that are one call of the C library show what iterations layer by layer show."""

from __future__ import annotations

import signal

import caffe
import numpy as np
import pytest
from caffe.native import library
from caffe.train import joined

from tests.engine import nets

pytestmark = pytest.mark.skipif(library.load() is None, reason="needs the C library")


class AlarmError(Exception):
    """What the handler of SIGALRM raises."""


@pytest.fixture
def runs(monkeypatch):
    """The learning rates of all iterations that were one call."""
    rates, run = [], joined.JoinedIterations.run

    def counted(self, rate):
        rates.append(rate)
        run(self, rate)

    monkeypatch.setattr(joined.JoinedIterations, "run", counted)
    return rates


def solver_with_data(folder, text=""):
    solver = nets.solver(folder, text)
    solver.net.blobs["data"].data[...] = np.random.RandomState(0).uniform(size=(4, 5))
    solver.net.blobs["label"].data[...] = [0, 1, 2, 1]
    return solver


def observed(solver):
    """Have a solver run each iteration by several calls."""
    solver.add_callback(lambda: None, lambda: None)
    return solver


def state(solver):
    blobs = [*solver.net.blobs.values(), *(b for bs in solver.net.params.values() for b in bs)]
    arrays = [a.copy() for blob in blobs for a in (blob.data, blob.diff)]
    return [*arrays, *(h.data.copy() for h in solver.history), solver.smoothed_loss, solver.iter]


TEXTS = {
    "plain": "",
    "decay and mean loss": "weight_decay: 0.01 average_loss: 3",
    "rates that change": 'base_lr: 0.1 lr_policy: "multistep" gamma: 0.5 stepvalue: 4 stepvalue: 6',
    "lines of the log": "display: 4",
    "snapshots": "snapshot: 4",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_joined_iterations_have_the_bits_of_several_calls(tmp_path, runs, text):
    one, several = solver_with_data(tmp_path, text), observed(solver_with_data(tmp_path, text))
    for solver in (one, several):
        for _ in range(4):
            solver.step(1)
        solver.net.params["ip"][0].data[0] += 0.5
        solver.step(5)
    assert len(runs) >= 3
    for a, b in zip(state(one), state(several)):
        np.testing.assert_array_equal(a, b)


def test_a_label_that_is_not_a_class_is_refused_before_the_update(tmp_path, runs):
    solver = solver_with_data(tmp_path)
    solver.step(5)
    count, weights = len(runs), solver.net.params["ip"][0].data.copy()
    solver.net.blobs["label"].data[2] = 7
    with pytest.raises(caffe.CaffeError, match="'loss'.* a label is 7"):
        solver.step(1)
    assert len(runs) == count + 1 and solver.iter == 5
    np.testing.assert_array_equal(solver.net.params["ip"][0].data, weights)
    assert not solver.net.params["ip"][0].diff.any()
    solver.net.blobs["label"].data[2] = 2
    solver.step(1)
    assert solver.iter == 6


def test_iterations_that_somebody_watches_are_several_calls(tmp_path, runs):
    solver = solver_with_data(tmp_path)
    solver.step(5)
    count = len(runs)
    layers = []
    solver.net.after_backward(layers.append)
    solver.step(2)
    assert len(runs) == count > 0 and layers.count(0) == 2


def test_a_stop_that_is_requested_ends_the_call_of_step(tmp_path, runs):
    solver = solver_with_data(tmp_path)
    solver.step(8)
    count = len(runs)
    solver.requested_action = lambda: "stop" if solver.iter == 10 else "none"
    solver.step(10)
    assert solver.iter == 10 and len(runs) == count + 2


def raise_alarm(*_):
    raise AlarmError


@pytest.mark.parametrize("handler", [signal.default_int_handler, raise_alarm])
def test_a_signal_never_leaves_half_an_iteration(tmp_path, runs, handler):
    solver, other = solver_with_data(tmp_path), solver_with_data(tmp_path)
    solver.step(5)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for delay in np.linspace(2e-5, 1e-3, 40):
            with pytest.raises((KeyboardInterrupt, AlarmError)):
                signal.setitimer(signal.ITIMER_REAL, delay)
                solver.step(1 << 30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    solver.step(1)
    other.step(solver.iter)
    assert len(runs) > 40 and solver.iter > 40
    for a, b in zip(state(solver), state(other)):
        np.testing.assert_array_equal(a, b)
