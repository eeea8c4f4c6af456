"""Rarefied nets under BVLC Caffe and the engine: the layers that they are made of are Caffe's."""

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
    """(the engine's, BVLC Caffe's) numbers, from the same weights."""
    folder, found = tmp_path_factory.mktemp("rarefied"), []
    for name, run in (("ours", run_engine), ("theirs", bvlc_caffe)):
        result = run(SCRIPT, folder, name)
        assert result.returncode == 0, result.stderr
        with np.load(folder / (name + ".npz")) as arrays:
            found.append({key: arrays[key] for key in arrays.files})
    return found


@pytest.mark.parametrize("net", [*nets.CHAINS, *nets.POOLINGS, "small"])
def test_both_engines_give_the_same_dense_map(net, numbers):
    ours, theirs = ({k: v for k, v in n.items() if k.startswith(net + "/")} for n in numbers)
    assert theirs and all(np.std(array) > 0 for array in theirs.values())
    assert not disagreements(ours, theirs, WHOLE_NET)


@pytest.mark.parametrize("net", nets.CHAINS)
def test_bvlc_caffe_keeps_every_old_position(net, numbers):
    _, theirs = numbers
    old = theirs[net + "/strided"]
    for stride in (1, 8):
        new = theirs[f"{net}/rarefied{stride}"][:, :: 32 // stride, :: 32 // stride]
        kept = new[:, : old.shape[1], : old.shape[2]]
        assert np.abs(kept - old).max() < 1e-5 * np.abs(old).max()


def test_bvlc_caffe_stitches_what_its_rarefied_net_gives(numbers):
    _, theirs = numbers
    stitched, dense = theirs["small/stitched"], theirs["small/dense"]
    assert np.abs(stitched - dense).max() < 1e-5 * np.abs(dense).max()
