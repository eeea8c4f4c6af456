from __future__ import annotations

import os

import numpy as np
import pytest
from caffe.proto import caffe_pb2

from experiments import seeds
from solvers import available, demo


@pytest.fixture
def narrow(tmp_path, monkeypatch):
    """The folders of a demo set and of trainings with one iteration at an eighth of the width."""
    monkeypatch.setattr(demo, "WIDTH", demo.WIDTH / 8)
    monkeypatch.setitem(demo.CLASSIFIER, "batch", 2)
    monkeypatch.setitem(demo.CLASSIFIER, "solver", {"base_lr": 1e-12, "max_iter": 2})
    counts = {"train": 1, "val": 1, "test": 1, "crops": 21, "crops_val": 21}
    monkeypatch.setattr(demo, "DATA", counts)
    return str(tmp_path / "data"), str(tmp_path / "out")


def read_weights(folder, layer):
    message = caffe_pb2.NetParameter()
    with open(available.weights_of(folder), "rb") as file:
        message.ParseFromString(file.read())
    return np.array({x.name: x for x in message.layer}[layer].blobs[0].data, np.float32)


@pytest.mark.long
def test_the_table_has_a_row_for_seeds_and_one_for_roundings(narrow):
    data, out = narrow
    lines = seeds.run(out, data, seeds=2, roundings=1, gpu="cpu")
    assert lines[2].startswith("| seeds 1 to 2 | 0.")
    assert lines[3].startswith("| seed 1, one weight moved to the next float | 0.")
    with open(os.path.join(out, "seeds.md")) as file:
        assert file.read().splitlines() == lines

    layer, index = seeds.ROUNDINGS[0]
    plain = read_weights(os.path.join(out, "seed1"), layer)
    moved = read_weights(os.path.join(out, "seed1-rounding1"), layer)
    assert np.flatnonzero(plain != moved).tolist() == [index]
    assert abs(moved[index] - plain[index]) <= 2 * np.spacing(abs(plain[index]))
