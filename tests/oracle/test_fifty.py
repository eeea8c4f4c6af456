"""Fifty iterations: weights, losses and logs all the way, and runs that change engines half-way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oracle.compare import disagreements
from oracle.fifty import ITERATIONS, MARGIN, RUNS, SEEDS

pytestmark = pytest.mark.oracle
CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = str(CHECKOUT / "oracle" / "fifty.py")
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]\d+)?")


def engine(*arguments, env):
    command = [sys.executable, *map(str, arguments)]
    env = dict(env, PYTHONPATH=str(CHECKOUT))
    return subprocess.run(command, env=env, capture_output=True, text=True)


def logged(text):
    """run -> the words and the numbers of its solver's lines, without rates and times."""
    lines = {}
    for line in text.splitlines():
        if line.startswith("run "):
            lines[line[4:]] = []
        elif match := re.match(
            r"I\d{4} \S+ +\d+ (?:sgd_)?solver\.cpp:\d+\] (.*(?:loss|lr) = .*)", line
        ):
            lines[list(lines)[-1]].append(re.sub(r"\(\S+ iter/s, \S+ iters\)", "", match[1]))
    return {
        run: (
            [NUMBER.sub("#", line) for line in found],
            np.array([float(n) for line in found for n in NUMBER.findall(line)]),
        )
        for run, found in lines.items()
    }


@pytest.fixture(scope="module")
def ran(bvlc_caffe, tmp_path_factory):
    """The folder after both engines' runs, and what each logged."""
    folder = tmp_path_factory.mktemp("fifty")
    result = bvlc_caffe(SCRIPT, folder, "seeds")
    assert result.returncode == 0, result.stderr
    logs = []
    for arguments in (("ours",), ("theirs",), ("ours", "theirs"), ("theirs", "ours")):
        run = engine if arguments[0] == "ours" else bvlc_caffe
        env = dict(os.environ, GLOG_minloglevel="0" if len(arguments) == 1 else "2")
        result = run(SCRIPT, folder, *arguments, env=env)
        assert result.returncode == 0, result.stderr[-2000:]
        logs.append(result.stderr)
    return folder, *map(logged, logs[:2])


def numbers(folder, name, run):
    with np.load(folder / name) as found:
        return {key: found[key] for key in found.files if key.startswith(run + "/")}


def test_no_run_comes_near_a_tie(ran):
    found = json.loads((ran[0] / SEEDS).read_text())
    assert found.keys() == RUNS.keys()
    assert min(apart for _, apart in found.values()) >= MARGIN


@pytest.mark.parametrize("run", RUNS)
def test_weights_and_losses_of_all_fifty_iterations_agree(run, ran):
    ours, theirs = (numbers(ran[0], f"{name}/fifty.npz", run) for name in ("ours", "theirs"))
    for i in range(ITERATIONS):
        assert not disagreements(*({k: v[i] for k, v in all.items()} for all in (ours, theirs)))


@pytest.mark.parametrize("run", RUNS)
def test_losses_and_rates_are_logged_alike(run, ran):
    (words, values), (their_words, their_values) = ran[1][run], ran[2][run]
    assert words == their_words and len(words) >= 3 * ITERATIONS / 5
    # A log line has six digits, the last of them rounded.
    np.testing.assert_allclose(values, their_values, rtol=1.5e-5, atol=1e-12)


@pytest.mark.parametrize("first, second", [("ours", "theirs"), ("theirs", "ours")])
@pytest.mark.parametrize("run", RUNS)
def test_a_run_may_change_engines_half_way(run, first, second, ran):
    at_end = numbers(ran[0], f"{second}/continued.npz", run)
    whole = numbers(ran[0], "theirs/fifty.npz", run)
    assert at_end
    assert not disagreements(at_end, {key: whole[key][-1] for key in at_end})
