"""`caffe train` warns, by the layers' names, of a training that cannot learn."""

import math

import caffe
import pytest
from caffe import __main__ as program
from caffe.train.start_watch import PATIENCE

NET = """
layer {{ name: "x" type: "DummyData" top: "x" top: "t"
  dummy_data_param {{ shape {{ dim: [2, 3, 4, 4] }} shape {{ dim: [2, 1, 4, 4] }}
    data_filler {{ type: "gaussian" std: 1 }} data_filler {{ type: "constant" value: 1 }} }} }}
layer {{ name: "a" type: "Convolution" bottom: "x" top: "a"
  convolution_param {{ num_output: 4 kernel_size: 1 weight_filler {{ {a} }} }} }}
layer {{ name: "b" type: "Convolution" bottom: "a" top: "b"
  convolution_param {{ num_output: 5 kernel_size: 1 weight_filler {{ {b} }} }} }}
layer {{ name: "up" type: "Deconvolution" bottom: "b" top: "up" param {{ lr_mult: 0 }}
  convolution_param {{ num_output: 5 kernel_size: 1 bias_term: false weight_filler {{ {up} }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "up" bottom: "t" top: "loss" }}
"""
GOOD, ZERO = 'type: "xavier"', 'type: "constant"'


@pytest.fixture
def warnings(tmp_path, capfd, monkeypatch):
    """A function that trains and returns the lines of level W in the log."""
    monkeypatch.setenv("GLOG_minloglevel", "0")

    def train(a=GOOD, b=GOOD, up=GOOD, iters=1, rate=0.1):
        net, solver = tmp_path / "net.prototxt", tmp_path / "solver.prototxt"
        net.write_text(NET.format(a=a, b=b, up=up))
        solver.write_text(
            f'net: "{net}" base_lr: {rate} lr_policy: "fixed" max_iter: {iters} display: 1 '
            "snapshot_after_train: false random_seed: 1"
        )
        assert program.main(["train", "-solver", str(solver)]) == 0
        return [line for line in capfd.readouterr().err.splitlines() if line.startswith("W")]

    return train


def test_a_good_start_has_no_warning(warnings):
    assert warnings(iters=PATIENCE + 1) == []


def test_a_single_layer_of_zeros_that_learns_has_no_warning(warnings):
    assert warnings(b=ZERO) == []


def test_layers_of_zeros_one_behind_another_are_named(warnings):
    (line,) = warnings(a=ZERO, b=ZERO)
    assert "layers a, b are all zero and one behind another" in line


def test_a_fixed_layer_of_zeros_is_named(warnings):
    (line,) = warnings(up=ZERO)
    assert "layer up (Deconvolution) does not learn (lr_mult: 0) and its weights are all" in line


def test_a_loss_that_stays_at_ln_classes_is_named_after_20_iterations(warnings):
    lines = warnings(a=ZERO, b=ZERO, up=GOOD, iters=PATIENCE - 1)
    assert len(lines) == 1
    lines = warnings(up=ZERO, iters=PATIENCE)
    assert f"layer loss: the loss is still ln(5) = {math.log(5):.4f} a label" in lines[-1]


def test_the_first_layer_with_nan_or_infinity_is_named_once(warnings):
    huge = 'type: "constant" value: 3e38'
    lines = warnings(b=huge, iters=3, rate=0)
    assert len(lines) == 1
    assert (
        "the loss of iteration 0 is not finite: layer b (Convolution) is the first with"
        in (lines[0])
    )
    lines = warnings(a='type: "constant" value: inf', iters=1, rate=0)
    assert "parameter 0 of layer a (Convolution) has NaN or infinity" in lines[0]


def test_pycaffe_solvers_write_no_warnings(tmp_path, warnings, capfd):
    warnings(a=ZERO, b=ZERO)
    caffe.get_solver(str(tmp_path / "solver.prototxt")).step(1)
    assert not [line for line in capfd.readouterr().err.splitlines() if line.startswith("W")]
