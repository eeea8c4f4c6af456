"""The inspector's memory of BVLC Caffe against the measured peak of its process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from caffe.inspect import inspect_net

import net_gen
from tests.engine.memory_nets import trained

SCRIPT = Path(__file__).parents[1] / "engine" / "peak_memory.py"


@pytest.mark.oracle
@pytest.mark.parametrize("action", ["inference", "Adam"])
def test_the_memory_of_bvlc_caffe_is_its_measured_peak(bvlc_caffe, tmp_path, action):
    path = tmp_path / "net.prototxt"
    net_gen.write(trained(1 / 4), path)
    solver = "SGD" if action == "inference" else action
    totals = inspect_net(path, solver=solver).totals
    memory = totals.bvlc_inference if action == "inference" else totals.bvlc_training
    result = bvlc_caffe(SCRIPT, action, path, env=dict(os.environ, GLOG_minloglevel="2"))
    assert 0.85 < memory.total / int(result.stdout.splitlines()[-1]) < 1.1, result.stderr
