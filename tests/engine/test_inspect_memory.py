"""The inspector's memory of a pass against the measured peak of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from caffe.inspect import inspect_net

import net_gen
from tests.engine.memory_nets import trained

SCRIPT = Path(__file__).with_name("peak_memory.py")
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")


def measured(action, path):
    result = subprocess.run(
        [sys.executable, str(SCRIPT), action, str(path)],
        capture_output=True, text=True, check=True, env=dict(os.environ, GLOG_minloglevel="2"),
    )  # fmt: skip
    return int(result.stdout)


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("action", ["inference", "SGD", "Adam"])
def test_the_estimate_of_this_engine_is_near_the_measured_peak(tmp_path, action):
    path = tmp_path / "net.prototxt"
    net_gen.write(trained(1 / 4), path)
    solver = "SGD" if action == "inference" else action
    totals = inspect_net(path, solver=solver).totals
    memory = totals.engine_inference if action == "inference" else totals.engine_training
    assert 0.6 < memory.total / measured(action, path) < 1.4
