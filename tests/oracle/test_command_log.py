"""The log of the command `caffe`: every line but for the numbers that differ from run to run."""

from __future__ import annotations

import re

import pytest
from caffe import __main__ as caffe_command

from tests.engine.nets import write
from tests.engine.test_command import NET, SOLVER
from tests.engine.test_debug_info import NET as CONSTANT_NET

pytestmark = pytest.mark.oracle
DEBUG = f"""solver_mode: CPU debug_info: true momentum: 0.9 display: 1 max_iter: 3 base_lr: 0.1
lr_policy: "fixed" snapshot_prefix: "debug"
net_param {{ {CONSTANT_NET} }} test_iter: 1 test_interval: 2
snapshot_after_train: false"""
#: A net whose layers share parameters and contain layers, and a solver without snapshot_prefix.
SHARED = """net_param {
layer { name: "d" type: "DummyData" top: "x" top: "label" dummy_data_param { shape { dim: 2 dim: 3 }
  shape { dim: 2 } data_filler { type: "constant" value: 1 } data_filler { type: "constant" } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 3 weight_filler { type: "constant" value: 0.5 } } }
layer { name: "s" type: "Scale" bottom: "a" top: "s" scale_param { bias_term: true } }
layer { name: "t" type: "Scale" bottom: "s" top: "t" }
layer { name: "b" type: "InnerProduct" bottom: "t" top: "b" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "b" bottom: "label" top: "loss" } }
solver_mode: CPU base_lr: 0.1 lr_policy: "fixed" display: 1 max_iter: 2
snapshot_after_train: false"""
PROGRAM = """
import os, subprocess, sys
sys.exit(subprocess.call(sys.argv[1:], env=dict(os.environ, GLOG_minloglevel="0")))
"""


def lines(log):
    """Return source lines and messages, without stamps, losses and times."""
    messages = [re.sub(r"^[IWE]\d{4} \S+ +\d+ ", "", line) for line in log.splitlines()]
    number = r"-?\d+(\.\d+)?(e[+-]\d+)?"
    return [
        re.sub(rf"(= |loss: |: |\(){number}( loss| iter/s, {number}s| ms\.)?", r"\1#", line)
        if "caffe.cpp" in line or "solver.cpp" in line
        else line
        for line in messages
    ]


@pytest.mark.parametrize(
    "command",
    [
        "train -solver solver.prototxt",
        "train -solver=solver.prototxt --snapshot snap_iter_8.solverstate",
        "train -solver=adam.prototxt --snapshot snap_iter_8.solverstate",
        "train -solver=solver.prototxt --weights snap_iter_8.caffemodel",
        "test -model net.prototxt -weights snap_iter_12.caffemodel -iterations 2",
        "time -model net.prototxt -iterations 2",
        "device_query",
        "train -solver=debug.prototxt",
        "train -solver=shared.prototxt",
    ],
)
def test_the_command_writes_bvlc_caffes_log(bvlc_caffe, tmp_path, monkeypatch, capfd, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLOG_minloglevel", "0")
    write(tmp_path, NET)
    write(tmp_path, SOLVER + "solver_mode: CPU", "solver.prototxt")
    write(tmp_path, SOLVER + 'solver_mode: CPU type: "Adam" momentum2: 0.9', "adam.prototxt")
    write(tmp_path, DEBUG, "debug.prototxt")
    write(tmp_path, SHARED, "shared.prototxt")
    if "snap_" in command:
        solver = "adam.prototxt" if "adam" in command else "solver.prototxt"
        assert caffe_command.main(["train", "-solver", solver]) == 0
    capfd.readouterr()
    assert caffe_command.main(command.split()) == 0
    engine = lines(capfd.readouterr().err)
    bvlc = bvlc_caffe("-c", PROGRAM, "caffe", *command.split())
    assert bvlc.returncode == 0, bvlc.stderr
    assert engine == lines(bvlc.stderr)
