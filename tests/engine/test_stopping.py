"""How the engine's commands end at a signal: with one line, and a snapshot where they train."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import caffe
import pytest
from caffe import start
from caffe.__main__ import main
from caffe.tools import time as time_tool

from tests.engine.nets import SCORER, TRAINED, write

SOLVER = """
net: "train.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1000 snapshot_prefix: "snap"
random_seed: 1
"""

#: A layer that fails in an iteration.
FAILS = """
layer { name: "fails" type: "Python" bottom: "data" top: "nothing"
  python_param { module: "failing_layer" layer: "Failing" } }
"""
FAILING = """
import caffe

class Failing(caffe.Layer):
    def setup(self, bottom, top):
        self.passes = 0

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.passes += 1
        if self.passes > {iteration}:
            raise OSError("the disk is gone")

    def backward(self, top, propagate_down, bottom):
        pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, SCORER)
    write(tmp_path, TRAINED, "train.prototxt")
    write(tmp_path, SOLVER, "solver.prototxt")
    return tmp_path


def signal_in_iteration(monkeypatch, number, iteration):
    real = caffe.SGDSolver.apply_update

    def update(solver):
        if solver.iter == iteration:
            os.kill(os.getpid(), number)
        real(solver)

    monkeypatch.setattr(caffe.SGDSolver, "apply_update", update)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_leaves_a_snapshot_of_its_iteration(folder, monkeypatch, number):
    """SIGINT as in BVLC Caffe; SIGTERM, with which a cluster announces the end, in the same way."""
    before = signal.getsignal(number)
    signal_in_iteration(monkeypatch, number, 3)
    assert main(["train", "-solver=solver.prototxt"]) == 0
    assert sorted(path.name for path in folder.glob("snap*")) == [
        f"snap_iter_4.{kind}" for kind in ("caffemodel", "resume.json", "solverstate")
    ]
    assert signal.getsignal(number) is before
    values = json.loads((folder / "snap_iter_4.resume.json").read_text())
    assert values["solver"]["losses"] is not None, "the average goes on after a stop"


@pytest.mark.parametrize(("iteration", "saved"), [(0, []), (3, [2, 3]), (4, [2, 4])])
def test_an_error_in_an_iteration_leaves_a_snapshot_of_the_one_before(
    folder, monkeypatch, capfd, iteration, saved
):
    write(folder, SOLVER + " snapshot: 2", "solver.prototxt")
    write(folder, FAILING.format(iteration=iteration), "failing_layer.py")
    write(folder, TRAINED + FAILS, "train.prototxt")
    sys.modules.pop("failing_layer", None)
    assert main(["train", "-solver=solver.prototxt", "-minloglevel=1"]) == 1
    states = sorted(int(p.stem.split("_")[-1]) for p in folder.glob("snap*.solverstate"))
    assert states == saved
    lines = capfd.readouterr().err.splitlines()
    assert "OSError: the disk is gone" in lines[-1]
    assert ("continue from snap_iter_3" in "".join(lines)) == (iteration == 3)


def test_an_interrupt_of_caffe_time_leaves_one_line(folder, monkeypatch, capfd):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    begin = time_tool.Timer.start

    def interrupted(timer):
        os.kill(os.getpid(), signal.SIGINT)
        begin(timer)

    monkeypatch.setattr(time_tool.Timer, "start", interrupted)
    assert main(["time", "-model=net.prototxt", "-minloglevel=1"]) == start.INTERRUPTED
    assert capfd.readouterr().err.splitlines() == ["caffe: interrupted"]


@pytest.mark.parametrize("name", ["caffe", "/usr/bin/convert_imageset", "-m"])
def test_a_command_that_loads_handles_interrupts_itself(monkeypatch, name):
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        monkeypatch.setattr(sys, "argv", [name])
        start.begin()
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        start.ready()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("argv", [[], ["train.py"], ["/usr/bin/ipython"]])
def test_a_script_that_imports_the_engine_keeps_its_handler(monkeypatch, argv):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "argv", argv)
    start.begin()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.1, 0.4, 0.8, 1.5])
@pytest.mark.parametrize("command", [["-m", "caffe", "time"], ["-m", "solvers.train", "my_set"]])
def test_an_interrupt_in_the_first_seconds_leaves_one_line(folder, command, seconds):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    process = subprocess.Popen(
        [sys.executable, *command],
        env=dict(os.environ, PYTHONPATH=root, GLOG_minloglevel="2"),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert len(error.splitlines()) == 1 and process.returncode in (130, 1)
