"""The benchmark under load: its table, and the programs that keep cores busy."""

from __future__ import annotations

import os

import pytest

from bench import load


def test_the_table_has_medians_and_their_shares_of_the_quiet_rate():
    ways = list(load.WAYS)
    rates = {
        (0, ways[0]): [[10.0, 20.0], [12.0, 24.0], [11.0, 22.0]],
        (2, ways[0]): [[5.0, 11.0], [7.0, 11.0], [5.5, 11.0]],
        (0, ways[1]): [[10.0, 20.0]],
        (2, ways[1]): [[1.0, 4.0]],
    }
    lines = load.report(rates).splitlines()
    assert "quiet" in lines[0] and "busy cores: 2" in lines[0]
    assert [word in lines[2] for word in ("11.00", "5.50 (50%)", ways[0])] == [True] * 3
    assert [word in lines[5] for word in ("20.00", "4.00 (20%)", ways[1])] == [True] * 3


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_competing_programs_end_with_the_measurement(monkeypatch):
    started = []

    class Program:
        def __init__(self, command):
            started.append(self)
            self.killed = self.waited = False

        def kill(self):
            self.killed = True

        def wait(self):
            self.waited = True

    monkeypatch.setattr(load.subprocess, "Popen", Program)
    with pytest.raises(RuntimeError), load.competitors(1):
        assert len(started) == 1 and not started[0].killed
        raise RuntimeError
    assert started[0].killed and started[0].waited
