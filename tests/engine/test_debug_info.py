"""`debug_info: true` logs the mean magnitude of every blob and gradient, as BVLC Caffe does."""

from __future__ import annotations

import re

import caffe
import pytest

from tests.engine import nets

NET = """
layer { name: "d" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 }
  data_filler { type: "constant" value: 1 } data_filler { type: "constant" value: 0 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" param { name: "w" }
  inner_product_param { num_output: 2 weight_filler { type: "constant" value: 0.3 } } }
layer { name: "r" type: "ReLU" bottom: "y" top: "y" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "t" top: "loss" }
layer { name: "acc" type: "Accuracy" bottom: "y" bottom: "t" top: "acc" include { phase: TEST } }
"""
SOLVER = "weight_decay: 0.01 debug_info: true "

#: BVLC Caffe 1.0's lines for the first iteration of NET with SOLVER, base_lr 0.1.
FIRST_ITERATION = """\
    [Forward] Layer d, top blob x data: 1
    [Forward] Layer d, top blob t data: 0
    [Forward] Layer ip, top blob y data: 0.9
    [Forward] Layer ip, param blob w data: 0.3
    [Forward] Layer ip, param blob 1 data: 0
    [Forward] Layer r, top blob y data: 0.9
    [Forward] Layer loss, top blob loss data: 0.693147
    [Backward] Layer loss, bottom blob y diff: 0.125
    [Backward] Layer r, bottom blob y diff: 0.125
    [Backward] Layer ip, param blob 0 diff: 0.5
    [Backward] Layer ip, param blob 1 diff: 0.5
    [Backward] All net params (data, diff): L1 norm = (1.8, 4); L2 norm = (0.734847, 1.41421)
""".splitlines()


def debug_lines(log):
    """Return the lines of debug_info in a log, without their stamps."""
    marks = r"^.*?net\.cpp:\d+\] (    \[(?:Forward|Backward|Update)\] .*)$"
    return re.findall(marks, log, re.M)


@pytest.fixture(autouse=True)
def full_log(monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "0")


def test_a_solvers_debug_info_logs_the_displayed_iterations(tmp_path, capfd):
    solver = nets.solver(tmp_path, SOLVER + "display: 2", NET)
    solver.step(1)
    assert debug_lines(capfd.readouterr().err) == FIRST_ITERATION
    solver.step(1)
    assert debug_lines(capfd.readouterr().err) == []
    solver.step(1)
    assert len(debug_lines(capfd.readouterr().err)) == len(FIRST_ITERATION)


def test_the_norms_are_logged_as_an_error_line_with_their_place(tmp_path, capfd):
    nets.solver(tmp_path, SOLVER + "display: 1", NET).step(1)
    lines = [line for line in capfd.readouterr().err.splitlines() if "All net params" in line]
    assert len(lines) == 1 and lines[0].startswith("E") and " net.cpp:721] " in lines[0]


def test_a_nets_debug_info_logs_a_forward_and_runs_layer_by_layer(tmp_path, capfd):
    net = nets.build(tmp_path, "debug_info: true " + NET, caffe.TRAIN)
    capfd.readouterr()
    net.forward()
    assert debug_lines(capfd.readouterr().err) == FIRST_ITERATION[:7]
    assert net.executor.choice == ("layers", "debug_info reads every blob")
    net.backward()
    assert debug_lines(capfd.readouterr().err) == FIRST_ITERATION[7:-1]


def test_a_solver_without_debug_info_logs_no_magnitudes(tmp_path, capfd):
    nets.solver(tmp_path, "display: 1", NET).step(2)
    assert debug_lines(capfd.readouterr().err) == []
