"""The generated FCNs, narrow, under BVLC Caffe and under the engine, from one weights file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import net_gen
from oracle.compare import disagreements

pytestmark = pytest.mark.oracle
CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = str(CHECKOUT / "oracle" / "whole_nets.py")
WHOLE_NET = 1e-4


def run_engine(*arguments):
    environment = dict(os.environ, PYTHONPATH=str(CHECKOUT))
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def both(folder, bvlc_caffe, *arguments):
    """(the engine's, BVLC Caffe's) numbers; BVLC Caffe reads the engine's weights."""
    found = []
    for name, run in (("ours", run_engine), ("theirs", bvlc_caffe)):
        result = run(*(() if run is run_engine else (SCRIPT,)), folder, name, *arguments)
        assert result.returncode == 0, result.stderr
        with np.load(folder / (name + ".npz")) as numbers:
            found.append({key: numbers[key] for key in numbers.files})
    return found


@pytest.fixture(scope="module")
def narrow(bvlc_caffe, tmp_path_factory):
    return both(tmp_path_factory.mktemp("whole"), bvlc_caffe)


def of(numbers, *parts):
    return {k: v for k, v in numbers.items() if all(part in k.split("/") for part in parts)}


@pytest.mark.parametrize("variant", list(net_gen.VARIANTS))
@pytest.mark.parametrize("what", ["score", "data", "label", "loss", "update", "trained"])
def test_scores_and_training_agree_through_the_whole_net(variant, what, narrow):
    ours, theirs = (of(numbers, variant, what) for numbers in narrow)
    assert theirs and all(np.abs(array).max() > 0 for array in theirs.values() if what == "score")
    assert not disagreements(ours, theirs, 0.0 if what in ("data", "label") else WHOLE_NET)


def assert_same_labels(ours, theirs):
    """Equal wherever the best two of BVLC Caffe's scores differ by more than a rounding."""
    best = np.sort(theirs, axis=1)
    tie = best[:, -1] - best[:, -2] <= 1e-6 * np.abs(theirs).max()
    assert tie.mean() < 1e-3 and len(np.unique(theirs.argmax(1))) > 2
    np.testing.assert_array_equal(ours.argmax(1)[~tie], theirs.argmax(1)[~tie])


@pytest.mark.parametrize("variant", list(net_gen.VARIANTS))
def test_label_maps_are_identical(variant, narrow):
    ours, theirs = (numbers[variant + "/score"] for numbers in narrow)
    assert_same_labels(ours, theirs)


@pytest.mark.slow
def test_fcn8s_of_full_width_agrees(bvlc_caffe, tmp_path):
    options = ("--width", 1, "--size", 238, "--steps", 0, "--variants", "voc-fcn8s")
    ours, theirs = both(tmp_path, bvlc_caffe, *options)
    (tmp_path / "voc-fcn8s.caffemodel").unlink()
    assert not disagreements(ours, theirs, WHOLE_NET)
    key = "voc-fcn8s/score"
    assert_same_labels(ours[key], theirs[key])
