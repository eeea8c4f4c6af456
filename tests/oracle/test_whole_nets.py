"""The FCNs and published classifiers under BVLC Caffe and the engine, from one weights file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oracle.classifiers import CLASSIFIERS
from oracle.compare import WHOLE_NET, assert_same_scores, disagreements
from oracle.whole_nets import FCNS

pytestmark = pytest.mark.oracle
CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = str(CHECKOUT / "oracle" / "whole_nets.py")


def run_engine(*arguments):
    environment = dict(os.environ, PYTHONPATH=str(CHECKOUT))
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def both(folder, bvlc_caffe, *arguments):
    """Return the engine's and BVLC Caffe's numbers; BVLC Caffe reads the engine's weights."""
    sides = []
    for name, run in (("engine", run_engine), ("bvlc", bvlc_caffe)):
        result = run(*(() if run is run_engine else (SCRIPT,)), folder, name, *arguments)
        assert result.returncode == 0, result.stderr
        with np.load(folder / (name + ".npz")) as numbers:
            sides.append({key: numbers[key] for key in numbers.files})
    return sides


@pytest.fixture(scope="module")
def narrow(bvlc_caffe, tmp_path_factory):
    return both(tmp_path_factory.mktemp("whole"), bvlc_caffe)


def select(numbers, *parts):
    """Return the numbers whose keys have all these parts."""
    return {k: v for k, v in numbers.items() if all(part in k.split("/") for part in parts)}


@pytest.mark.parametrize("variant", FCNS)
@pytest.mark.parametrize("part", ["score", "data", "label", "loss", "update", "trained"])
def test_scores_and_training_agree_through_the_whole_net(variant, part, narrow):
    engine, bvlc = (select(numbers, variant, part) for numbers in narrow)
    assert bvlc and all(np.abs(array).max() > 0 for array in bvlc.values() if part == "score")
    assert not disagreements(engine, bvlc, 0.0 if part in ("data", "label") else WHOLE_NET)


@pytest.mark.parametrize("variant", FCNS)
def test_label_maps_are_identical(variant, narrow):
    engine, bvlc = (numbers[variant + "/score"] for numbers in narrow)
    assert len(np.unique(bvlc.argmax(1))) > 1
    assert_same_scores(engine, bvlc)


@pytest.fixture(scope="module")
def narrow_classifiers(bvlc_caffe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifiers")
    return both(folder, bvlc_caffe, "--width", 1 / 8, "--nets", *CLASSIFIERS)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_agree_with_bvlc_caffe(name, narrow_classifiers):
    assert_same_scores(*(numbers[name + "/score"] for numbers in narrow_classifiers))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FCNS, *CLASSIFIERS])
def test_whole_nets_of_full_width_agree(name, bvlc_caffe, tmp_path):
    """The FCNs read an image of PASCAL VOC's usual size."""
    options = ("--width", 1, "--size", 375, 500, "--steps", 0, "--nets", name)
    engine, bvlc = both(tmp_path, bvlc_caffe, *options)
    (tmp_path / f"{name}.caffemodel").unlink()
    assert_same_scores(engine[name + "/score"], bvlc[name + "/score"])
