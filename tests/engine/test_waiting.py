"""Threads spin shortly while other programs use the cores, and as they are used to otherwise."""

from __future__ import annotations

import sys

import pytest
from caffe import waiting


class Machine:
    """A clock, the seconds for which threads have waited, and the teams that were started."""

    def __init__(self):
        self.now = self.waited = 0.0
        self.running = self.started = 0
        self.watch = waiting.Watch(lambda: self.now, lambda: self.waited, self.start)

    def start(self):
        self.started += 1
        self.running += 1
        return self

    def close(self):
        self.running -= 1

    def work(self, seconds, share):
        """Run passes of 0.1 s while the threads wait for this share of a core."""
        for _ in range(round(10 * seconds)):
            self.watch.before_pass()
            self.now += 0.1
            self.waited += 0.1 * share


def test_nothing_is_changed_on_a_quiet_machine():
    machine = Machine()
    machine.work(20, 0.01)
    assert machine.started == 0


def test_an_idle_team_runs_while_threads_wait_for_cores():
    machine = Machine()
    machine.work(5, 0.0)
    machine.work(5, 0.6)
    assert machine.running == 1 and machine.watch.team is machine
    machine.work(5, 0.0)
    assert machine.running == 0 and machine.watch.team is None and machine.started == 1


def test_the_first_pass_knows_how_long_the_import_has_waited():
    for share, teams in ((0.5, 1), (0.01, 0)):
        machine = Machine()
        machine.watch = waiting.Watch(
            lambda: 2.0, lambda share=share: 2 * share, machine.start, first=(0.0, 0.0)
        )
        machine.watch.before_pass()
        assert machine.started == teams


def test_the_first_pass_asks_whether_other_programs_run():
    machine = Machine()
    machine.watch = waiting.Watch(
        lambda: machine.now, lambda: 0.0, machine.start, (-1.0, 0.0), lambda: True
    )
    machine.watch.before_pass()
    assert machine.running == 1
    machine.now += 1
    machine.watch.before_pass()
    assert machine.running == 0


def test_a_load_between_the_limits_changes_nothing():
    machine = Machine()
    machine.work(5, 0.07)
    assert machine.started == 0
    machine.work(5, 0.5)
    machine.work(5, 0.07)
    assert machine.running == 1


def test_the_time_that_threads_wait_is_read_and_grows():
    if not sys.platform.startswith("linux"):
        pytest.skip("/proc/self/task is Linux's")
    first = waiting.waited()
    assert 0 <= first <= waiting.waited()


def test_an_idle_team_ends():
    team = waiting.IdleTeam()
    team.close()


@pytest.mark.parametrize("name", waiting.USER_SETTINGS)
def test_settings_of_the_user_stay(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    waiting.reason_against.cache_clear()
    try:
        assert waiting.reason_against() == f"{name} is set"
    finally:
        monkeypatch.undo()
        waiting.reason_against.cache_clear()
