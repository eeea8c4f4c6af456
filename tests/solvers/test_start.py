"""A training that starts wrong is noticed, in one line with the names of the layers."""

import math

import caffe
import numpy as np
import pytest

import net_gen
import surgery
from net_gen import Head
from solvers.start import (
    PATIENCE,
    LossWatch,
    averages_pixels,
    check_heads,
    first_not_finite,
    start_warnings,
)


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
    for blobs in net.params.values():  # as an update after the pass leaves them
        blobs[0].data[...] = np.nan
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


def test_a_weighted_loss_that_stays_at_ln_classes_is_noticed():
    watch, net = LossWatch(), Labels()
    watch.class_weights = np.array([0.5, 1, 1, 1, 1])
    loss = math.log(5) * 80 * 0.5
    assert any(watch.warning(net, loss, 5, False) for _ in range(PATIENCE))


def heads_net(tmp_path, tops):
    """A net of Input layers: blob -> shape."""
    message = caffe.proto.caffe_pb2.NetParameter()
    for name, shape in tops.items():
        layer = message.layer.add(name=name, type="Input", top=[name])
        layer.input_param.shape.add(dim=shape)
    net_gen.write(message, tmp_path / "val.prototxt")
    return caffe.Net(str(tmp_path / "val.prototxt"), caffe.TEST)


SCORES, LABELS = (1, 5, 8, 9), (1, 1, 8, 9)
TWO_HEADS = (Head("_sem", "sem"), Head("_geo", "geo", "loss_geo"))


@pytest.mark.parametrize(
    "tops, heads, message",
    [
        ({"label": LABELS}, (Head(),), r"has no blob score, needed for the scores, N x classes"),
        ({"score": SCORES}, (Head(),), r"has no blob label, needed for the labels; it has score"),
        ({"score_sem": SCORES, "sem": LABELS}, TWO_HEADS, r"has no blob score_geo"),
        ({"score": (1, 1, 8, 9), "label": LABELS}, (Head(),), r"score has 1 channel, needs a"),
        ({"score": (1, 5, 8, 8), "label": LABELS}, (Head(),), r"score is 1 x 5 x 8 x 8 and label"),
    ],
)
def test_a_net_that_cannot_be_scored_is_refused_in_one_line(tmp_path, tops, heads, message):
    with pytest.raises(ValueError, match=rf"val.prototxt: {message}"):
        check_heads(heads_net(tmp_path, tops), heads, "val.prototxt")


def test_nets_with_one_head_and_with_two_are_accepted(tmp_path):
    check_heads(heads_net(tmp_path, {"score": SCORES, "label": LABELS}), (Head(),), "val.prototxt")
    tops = {"score_sem": SCORES, "sem": LABELS, "score_geo": (1, 3, 8, 9), "geo": LABELS}
    check_heads(heads_net(tmp_path, tops), TWO_HEADS, "val.prototxt")


@pytest.mark.parametrize(
    "fields, averaged",
    [
        ({"normalize": False}, False),
        ({"normalize": True}, True),
        ({}, True),
        ({"normalization": 2}, False),
        ({"normalization": 0, "normalize": False}, True),
    ],
)
def test_the_form_of_the_loss_follows_from_its_settings(fields, averaged):
    message = caffe.proto.caffe_pb2.NetParameter()
    layer = message.layer.add(name="loss", type="SoftmaxWithLoss")
    for name, value in fields.items():
        setattr(layer.loss_param, name, value)
    assert averages_pixels(message) is averaged
