from __future__ import annotations

import json
import os

import pytest

from experiments import report, running
from tests.experiments.results import RESULT

NAME = "counted"


def counted(out, demo, gpu=None, **arguments):
    with open(os.path.join(out, NAME, "calls"), "a") as file:
        file.write("x")
    return RESULT._replace(name=NAME, text=[repr(arguments)])


@pytest.fixture
def demo(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "settings.json").write_text('{"seed": 1}')
    return str(folder)


def test_an_experiment_runs_once(tmp_path, demo):
    first = running.make(NAME, counted, str(tmp_path), demo, "cpu")
    second = running.make(NAME, counted, str(tmp_path), demo, "cpu")
    assert (tmp_path / NAME / "calls").read_text() == "x"
    assert second == report.load(str(tmp_path), NAME) and second.text == first.text


def test_an_experiment_that_was_begun_with_other_settings_is_refused(tmp_path, demo):
    running.make(NAME, counted, str(tmp_path), demo, "cpu")
    with pytest.raises(
        ValueError, match=r"begun with split None, the present value is 'val'; remove"
    ):
        running.make(NAME, counted, str(tmp_path), demo, "cpu", split="val")
    with open(os.path.join(demo, "settings.json"), "w") as file:
        json.dump({"seed": 2}, file)
    with pytest.raises(
        ValueError, match=r"begun with demo .*'seed': 1.* present value .*'seed': 2"
    ):
        running.make(NAME, counted, str(tmp_path), demo, "cpu")


def test_the_seconds_include_those_of_an_interrupted_run(tmp_path, demo, monkeypatch):
    clock = iter([0.0, 50.0, 100.0, 107.0])
    monkeypatch.setattr(running.time, "time", lambda: next(clock))

    def interrupted(out, demo, gpu=None):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.make(NAME, interrupted, str(tmp_path), demo, "cpu")
    assert running.make(NAME, counted, str(tmp_path), demo, "cpu").seconds == 57.0
