"""Rarefied nets under BVLC Caffe and under the engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oracle.compare import WHOLE_NET, disagreements
from tests import rarefied_nets as nets

pytestmark = pytest.mark.oracle
CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = str(CHECKOUT / "oracle" / "rarefied.py")


def run_engine(*arguments):
    environment = dict(os.environ, PYTHONPATH=str(CHECKOUT))
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def numbers(bvlc_caffe, tmp_path_factory):
    """The engine's and BVLC Caffe's numbers, from the same weights."""
    folder, sides = tmp_path_factory.mktemp("rarefied"), []
    for name, run in (("engine", run_engine), ("bvlc", bvlc_caffe)):
        result = run(SCRIPT, folder, name)
        assert result.returncode == 0, result.stderr
        with np.load(folder / (name + ".npz")) as arrays:
            sides.append({key: arrays[key] for key in arrays.files})
    return sides


@pytest.mark.parametrize("net", [*nets.CHAINS, *nets.POOLINGS, "small"])
def test_both_engines_give_the_same_dense_map(net, numbers):
    engine, bvlc = ({k: v for k, v in n.items() if k.startswith(net + "/")} for n in numbers)
    assert bvlc and all(np.std(array) > 0 for array in bvlc.values())
    assert not disagreements(engine, bvlc, WHOLE_NET)


@pytest.mark.parametrize("net", nets.CHAINS)
def test_bvlc_caffes_rarefied_net_keeps_every_score_of_the_strided_net(net, numbers):
    _, bvlc = numbers
    old = bvlc[net + "/strided"]
    for stride in (1, 8):
        new = bvlc[f"{net}/rarefied{stride}"][:, :: 32 // stride, :: 32 // stride]
        common = new[:, : old.shape[1], : old.shape[2]]
        assert np.abs(common - old).max() < 1e-5 * np.abs(old).max()


def test_bvlc_caffe_stitches_the_scores_of_its_rarefied_net(numbers):
    _, bvlc = numbers
    stitched, dense = bvlc["small/stitched"], bvlc["small/dense"]
    assert np.abs(stitched - dense).max() < 1e-5 * np.abs(dense).max()
