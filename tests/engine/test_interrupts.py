"""Ctrl-C ends training after an iteration; no signal leaves an update half applied."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest
from caffe.train import rules
from caffe.train.interrupts import IterationHeld, UpdateHeld

from tests.engine import nets


class AlarmError(Exception):
    """What a program's handler of SIGALRM raises."""


@pytest.fixture
def alarm():
    def handler(*_):
        raise AlarmError

    before = signal.signal(signal.SIGALRM, handler)
    yield handler
    assert signal.getsignal(signal.SIGALRM) is handler
    signal.signal(signal.SIGALRM, before)


def solver_with_data(folder):
    solver = nets.solver(folder)
    rs = np.random.RandomState(0)
    solver.net.blobs["data"].data[...] = rs.uniform(size=(4, 5))
    solver.net.blobs["label"].data[...] = [0, 1, 2, 1]
    return solver


def trained(folder, iters):
    solver = solver_with_data(folder)
    solver.step(iters)
    return solver


def raise_in_first_update(monkeypatch, number):
    """Have solvers from now on raise a signal once in an update, before the weights change."""
    bind, count = rules.SGD.bind, []

    def interrupt():
        count.append(1)
        if len(count) == 1:
            signal.raise_signal(number)

    def interrupted(self, *arguments):
        *calls, change = bind(self, *arguments)
        return [*calls, interrupt, change]

    monkeypatch.setattr(rules.SGD, "bind", interrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM])
def test_a_signal_during_an_update_is_handled_after_it(tmp_path, monkeypatch, alarm, number):
    once = trained(tmp_path, 1)
    raise_in_first_update(monkeypatch, number)
    solver = solver_with_data(tmp_path)
    with pytest.raises((KeyboardInterrupt, AlarmError)):
        solver.step(3)
    assert solver.iter == 1 and nets.same_weights(solver.net, once.net)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    solver.step(2)
    monkeypatch.undo()
    assert nets.same_weights(solver.net, trained(tmp_path, 3).net)


def test_a_signal_during_a_call_of_apply_update_is_handled_after_it(tmp_path, monkeypatch):
    raise_in_first_update(monkeypatch, signal.SIGINT)
    solver = solver_with_data(tmp_path)
    solver.net.forward()
    solver.net.backward()
    with pytest.raises(KeyboardInterrupt):
        solver.apply_update()
    assert solver.iter == 1 and solver.net.params["ip"][1].diff.any()


def test_ctrl_c_during_an_iteration_is_handled_after_the_iteration(tmp_path):
    solver = solver_with_data(tmp_path)
    solver.add_callback(lambda: signal.raise_signal(signal.SIGINT), lambda: None)
    with pytest.raises(KeyboardInterrupt):
        solver.step(3)
    assert solver.iter == 1


def test_ctrl_c_twice_ends_an_iteration_at_once(tmp_path):
    solver = solver_with_data(tmp_path)
    weights = solver.net.params["ip"][0].data.copy()
    solver.net.before_backward(lambda layer: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        solver.step(1)
    assert solver.iter == 0
    np.testing.assert_array_equal(solver.net.params["ip"][0].data, weights)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_programs_own_handler_is_not_kept_waiting_by_a_pass(tmp_path, alarm):
    solver = solver_with_data(tmp_path)
    solver.net.before_forward(lambda layer: signal.raise_signal(signal.SIGALRM))
    with pytest.raises(AlarmError):
        solver.step(1)
    assert solver.iter == 0


def test_ctrl_c_twice_during_an_update_ends_the_iteration_after_the_update():
    reached = []
    with pytest.raises(KeyboardInterrupt), IterationHeld():
        with UpdateHeld():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            reached.append("end of the update")
        reached.append("end of the iteration")
    assert reached == ["end of the update"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_once_during_an_update_waits_for_the_end_of_the_iteration():
    reached = []
    with pytest.raises(KeyboardInterrupt), IterationHeld():
        with UpdateHeld():
            signal.raise_signal(signal.SIGINT)
        reached.append("end of the iteration")
    assert reached == ["end of the iteration"]


def test_every_handler_is_back_when_two_signals_have_waited(alarm):
    with pytest.raises((KeyboardInterrupt, AlarmError)), UpdateHeld():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGALRM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_solver_trains_in_another_thread_and_the_main_thread_keeps_its_handlers(tmp_path):
    solver, once = solver_with_data(tmp_path), trained(tmp_path, 5)
    thread = threading.Thread(target=solver.step, args=(5,))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    thread.join()
    assert nets.same_weights(solver.net, once.net)
