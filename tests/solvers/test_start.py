"""A training that starts wrong is noticed, in one line with the names of the layers."""

import math

import caffe
import numpy as np
import pytest

import net_gen
import surgery
from solvers.start import PATIENCE, LossWatch, first_not_finite, start_warnings


@pytest.fixture
def start(tmp_path):
    """A small net whose weights are good to start from, and its message."""
    message = net_gen.fcn("voc-fcn16s", "deploy", classes=3, width=1 / 32)
    message.layer[0].input_param.shape[0].dim[2:] = [32, 32]
    net_gen.write(message, tmp_path / "deploy.prototxt")
    net = caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST)
    for name, blobs in net.params.items():
        if not name.startswith("score"):
            blobs[0].data[...] = 0.01
    surgery.interp(net, surgery.interp_layers(net))
    return net, message


def test_a_good_start_has_no_warning(start):
    assert start_warnings(*start) == []


def test_a_trunk_of_zeros_is_named(start):
    for name in ("conv3_1", "fc7"):
        start[0].params[name][0].data[...] = 0
    (line,) = start_warnings(*start)
    assert line.startswith("layers conv3_1, fc7 are all zero")


def test_an_upsampling_layer_without_a_bilinear_kernel_is_named(start):
    start[0].params["upscore2"][0].data[...] = 0.25
    (line,) = start_warnings(*start)
    assert line.startswith("layers upscore2 do not learn and have no bilinear kernel")


def test_the_first_layer_that_is_not_finite_is_named(start):
    net = start[0]
    net.forward()
    assert first_not_finite(net) == ""
    net.params["conv4_2"][0].data.flat[0] = np.inf
    assert first_not_finite(net) == "the weights of layer conv4_2 are not finite"
    net.params["conv4_2"][0].data.flat[0] = 0
    net.params["conv2_1"][1].data[...] = 3e38
    net.params["conv2_2"][0].data[...] = 3e38
    net.forward()
    assert first_not_finite(net).startswith("layer conv2_2 is the first whose values")


class Labels:
    """A net with 100 pixels of labels, of which 20 are ignored."""

    def __init__(self):
        label = type("Blob", (), {"data": np.array([0] * 80 + [255] * 20)})
        self.blobs = {"label": label}


@pytest.mark.parametrize("normalized", [False, True])
def test_a_loss_that_stays_at_ln_classes_is_noticed(normalized):
    watch, net = LossWatch(), Labels()
    loss = math.log(5) * (1 if normalized else 80)
    lines = [watch.warning(net, loss, 5, normalized) for _ in range(PATIENCE + 5)]
    assert [k for k, line in enumerate(lines) if line] == [PATIENCE - 1]
    assert "the loss is still ln(5) = 1.6094 a pixel after 20 iterations" in lines[PATIENCE - 1]


def test_a_loss_that_moves_gives_no_warning():
    watch, net = LossWatch(), Labels()
    losses = [80 * math.log(5) * (1 - 0.002 * k) for k in range(PATIENCE + 5)]
    assert not any(watch.warning(net, loss, 5, False) for loss in losses)
