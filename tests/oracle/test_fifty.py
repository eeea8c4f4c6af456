"""Fifty iterations: weights, losses and logs of each, and runs that change engines half-way."""

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


def run_engine(*arguments, env):
    command = [sys.executable, *map(str, arguments)]
    env = dict(env, PYTHONPATH=str(CHECKOUT))
    return subprocess.run(command, env=env, capture_output=True, text=True)


def logged(text):
    """Return run -> the texts and the numbers of its solver's lines, without speeds."""
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
            [NUMBER.sub("#", line) for line in messages],
            np.array([float(n) for line in messages for n in NUMBER.findall(line)]),
        )
        for run, messages in lines.items()
    }


@pytest.fixture(scope="module")
def runs(bvlc_caffe, tmp_path_factory):
    """The folder after both engines' runs, and each engine's log of the runs."""
    folder = tmp_path_factory.mktemp("fifty")
    result = bvlc_caffe(SCRIPT, folder, "seeds")
    assert result.returncode == 0, result.stderr
    logs = []
    for arguments in (("engine",), ("bvlc",), ("engine", "bvlc"), ("bvlc", "engine")):
        run = run_engine if arguments[0] == "engine" else bvlc_caffe
        env = dict(os.environ, GLOG_minloglevel="0" if len(arguments) == 1 else "2")
        result = run(SCRIPT, folder, *arguments, env=env)
        assert result.returncode == 0, result.stderr[-2000:]
        logs.append(result.stderr)
    return folder, *map(logged, logs[:2])


def numbers(folder, name, run):
    with np.load(folder / name) as arrays:
        return {key: arrays[key] for key in arrays.files if key.startswith(run + "/")}


def test_no_run_comes_near_a_tie(runs):
    seeds = json.loads((runs[0] / SEEDS).read_text())
    assert seeds.keys() == RUNS.keys()
    assert min(margin for _, margin in seeds.values()) >= MARGIN


@pytest.mark.parametrize("run", RUNS)
def test_weights_and_losses_of_all_fifty_iterations_agree(run, runs):
    pair = [numbers(runs[0], f"{name}/fifty.npz", run) for name in ("engine", "bvlc")]
    for i in range(ITERATIONS):
        assert not disagreements(*({k: v[i] for k, v in side.items()} for side in pair))


@pytest.mark.parametrize("run", RUNS)
def test_both_engines_log_the_same_losses_and_rates(run, runs):
    (texts, values), (bvlc_texts, bvlc_values) = runs[1][run], runs[2][run]
    assert texts == bvlc_texts and len(texts) >= 3 * ITERATIONS / 5
    # A log line has six digits, the last of them rounded.
    np.testing.assert_allclose(values, bvlc_values, rtol=1.5e-5, atol=1e-12)


@pytest.mark.parametrize("first, second", [("engine", "bvlc"), ("bvlc", "engine")])
@pytest.mark.parametrize("run", RUNS)
def test_a_run_may_change_engines_half_way(run, first, second, runs):
    continued = numbers(runs[0], f"{second}/continued.npz", run)
    uninterrupted = numbers(runs[0], "bvlc/fifty.npz", run)
    assert continued
    assert not disagreements(continued, {key: uninterrupted[key][-1] for key in continued})
