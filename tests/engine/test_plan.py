"""A plan, which runs an inference as a list of calls, shows what the layers one by one show."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
import torch
from caffe.errors import LayerError
from caffe.memory import Memory
from caffe.ops import prepared

from tests.engine.nets import build, write

#: Folded layers in place and with tops of their own, a sum, a grouped convolution, a Split.
NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 20 dim: 18 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param {
  num_output: 32 kernel_size: 3 pad: 1 stride: 2 weight_filler { type: "msra" } } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "bn1" }
layer { name: "scale1" type: "Scale" bottom: "bn1" top: "bn1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "bn1" top: "bn1" }
layer { name: "conv2" type: "Convolution" bottom: "bn1" top: "conv2" convolution_param {
  num_output: 32 kernel_size: 3 pad: 1 group: 32 bias_term: false weight_filler { type: "msra" } } }
layer { name: "bn2" type: "BatchNorm" bottom: "conv2" top: "conv2" }
layer { name: "conv3" type: "Convolution" bottom: "conv2" top: "conv3" convolution_param {
  num_output: 32 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "sum" type: "Eltwise" bottom: "bn1" bottom: "conv3" top: "sum" }
layer { name: "relu3" type: "ReLU" bottom: "sum" top: "relu3" relu_param { negative_slope: 0.1 } }
layer { name: "bn4" type: "BatchNorm" bottom: "relu3" top: "bn4" }
layer { name: "drop" type: "Dropout" bottom: "bn4" top: "bn4" }
layer { name: "relu4" type: "ReLU" bottom: "bn4" top: "bn4" }
layer { name: "prelu" type: "PReLU" bottom: "bn4" top: "prelu" }
layer { name: "pool" type: "Pooling" bottom: "prelu" top: "pool"
  pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "slice" type: "Slice" bottom: "pool" top: "a" top: "b" slice_param { axis: 1 } }
layer { name: "cat" type: "Concat" bottom: "b" bottom: "a" top: "cat" }
layer { name: "flat" type: "Flatten" bottom: "cat" top: "flat" }
layer { name: "ip" type: "InnerProduct" bottom: "flat" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""
#: Blobs that a pass of NET does not compute.
HIDDEN = ["conv1", "conv3", "sum"]


def equal_nets(folder):
    """Two nets with equal weights and inputs: one that runs as a plan, one layer by layer."""
    planned, plain = (build(folder, NET) for _ in range(2))
    plain.before_forward(lambda layer: None)
    draw = np.random.RandomState(1)
    for name in planned.params:
        for blob, other in zip(planned.params[name], plain.params[name]):
            values = 0.1 * draw.randn(*blob.shape)
            if planned.layer_dict[name].type == "BatchNorm":
                values = 1 + abs(values)
            blob.data[...] = other.data[...] = values
    feed(planned, plain, 0)
    return planned, plain


@pytest.fixture
def pair(tmp_path):
    """Two nets with equal weights and inputs, of which the first runs as a plan."""
    return equal_nets(tmp_path)


def feed(planned, plain, seed):
    """Give both nets the same drawn input."""
    values = np.random.RandomState(seed).randn(*planned.blobs["data"].shape)
    for net in (planned, plain):
        net.blobs["data"].data[...] = values


def run(planned, plain):
    """Run both nets forward."""
    planned.forward()
    plain.forward()
    assert planned.executor.choice.way == "plan" and plain.executor.choice.way == "layers"


def check(planned, plain, names):
    """Compare blobs of the two nets."""
    for name in names:
        ours, theirs = planned.blobs[name].data, plain.blobs[name].data
        np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=1e-5 * abs(theirs).max(), err_msg=name
        )


def test_layers_are_computed_together_and_the_result_is_the_same(pair):
    planned, plain = pair
    run(planned, plain)
    assert planned.executor.choice.reason.split(", ")[0] == "19 layers in 12 calls"
    check(planned, plain, ["prob"])


def test_blobs_that_a_pass_has_not_computed_are_there_when_somebody_asks(pair):
    planned, plain = pair
    run(planned, plain)
    check(planned, plain, reversed(list(planned.blobs)))
    feed(planned, plain, 1)
    run(planned, plain)
    assert planned.executor.choice.reason.split(", ")[0] == "19 layers in 17 calls"
    check(planned, plain, planned.blobs)


def test_a_pass_like_the_last_defers_no_blob_again(pair, monkeypatch):
    planned, plain = pair
    deferred = []
    defer = Memory.defer
    monkeypatch.setattr(Memory, "defer", lambda *args: [deferred.append(args), defer(*args)])
    counts = []
    for seed in range(3):
        feed(planned, plain, seed)
        run(planned, plain)
        counts.append(len(deferred))
    assert counts == [3, 3, 3]
    check(planned, plain, ["conv3"])
    feed(planned, plain, 3)
    run(planned, plain)
    check(planned, plain, planned.blobs)


@pytest.mark.parametrize("name", HIDDEN)
def test_a_blob_read_late_has_the_values_of_its_pass_after_any_change(pair, name):
    planned, plain = pair
    run(planned, plain)
    expected = plain.blobs[name].data.copy()
    for layer in planned.params:
        for blob in planned.params[layer]:
            blob.data[...] = 7
    for blob in ("data", "bn1", "conv2"):
        planned.blobs[blob].data[...] = 3
    ours = planned.blobs[name].data
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * abs(expected).max())


def test_a_change_of_any_weight_is_seen(pair):
    planned, plain = pair
    run(planned, plain)
    for name in planned.params:
        for i, blob in enumerate(planned.params[name]):
            blob.data[...] *= 1.5
            plain.params[name][i].data[...] *= 1.5
            run(planned, plain)
            check(planned, plain, ["pool", "prob"])


def test_weights_in_an_array_that_somebody_holds_may_change_between_passes(pair):
    planned, plain = pair
    names = ["conv1", "bn1", "scale1", "conv3", "prelu", "ip"]
    held = [planned.params[name][0].data for name in names]
    run(planned, plain)
    for name, array in zip(names, held):
        array *= 1.25
        plain.params[name][0].data[...] *= 1.25
        run(planned, plain)
        check(planned, plain, ["prob"])
    del held, array
    run(planned, plain)
    check(planned, plain, ["prob"])
    assert planned.executor.choice.reason.split(", ")[0] == "19 layers in 12 calls"


def test_an_array_of_a_blob_within_a_group_has_the_values_of_each_pass(pair):
    planned, plain = pair
    held = planned.blobs["conv1"].data
    for seed in range(2):
        feed(planned, plain, seed)
        run(planned, plain)
        expected = plain.blobs["conv1"].data
        np.testing.assert_allclose(held, expected, rtol=0, atol=1e-5 * abs(expected).max())


def test_an_input_in_an_array_that_somebody_holds_does_not_change_past_blobs(pair):
    planned, plain = pair
    held = planned.blobs["data"].data
    run(planned, plain)
    held[...] = 0
    check(planned, plain, ["conv1"])


def test_a_plan_runs_inputs_of_several_sizes(pair):
    planned, plain = pair
    for size in ((1, 3, 20, 18), (2, 3, 20, 18), (3, 3, 20, 18)) * 2:
        for net in pair:
            net.blobs["data"].reshape(*size)
        feed(planned, plain, size[0])
        run(planned, plain)
        check(planned, plain, ["conv1", "relu3", "prob"])


def test_a_plan_uses_weights_that_it_shares_with_another_net(pair):
    planned, plain = pair
    run(planned, plain)
    planned.share_with(plain)
    for name in plain.params:
        plain.params[name][0].data[...] *= 2
    run(planned, plain)
    check(planned, plain, ["prob"])
    plain.params["conv3"][0].data[...] *= 2
    run(planned, plain)
    check(planned, plain, ["conv3", "prob"])


def test_a_plan_uses_a_blob_that_is_put_into_the_list_of_a_layer(pair):
    planned, plain = pair
    run(planned, plain)
    plain.params["conv1"][0].data[...] *= 2
    planned.layer_dict["conv1"].blobs[0] = plain.params["conv1"][0]
    run(planned, plain)
    check(planned, plain, ["prob"])


def test_backward_follows_a_plan(tmp_path):
    """In TEST, too, a net with a loss can run backward, pass after pass."""
    label = 'layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 2 } } }'
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "l" top: "loss" }'
    caffe.set_random_seed(1)  # with some weights the scores are so large that no gradient is left
    planned, plain = (build(tmp_path, NET + label + loss) for _ in range(2))
    plain.before_forward(lambda layer: None)
    plain.share_with(planned)
    for seed in range(2):
        feed(planned, plain, seed)
        run(planned, plain)
        for net in (planned, plain):
            net.clear_param_diffs()
            net.backward()
        for name in ("conv1", "conv3", "ip"):
            ours, theirs = (net.params[name][0].diff for net in (planned, plain))
            assert abs(theirs).max() > 0
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * abs(theirs).max())


def test_a_net_that_learns_runs_layer_by_layer(tmp_path):
    net = build(tmp_path, "force_backward: true\n" + NET)
    net.forward()
    assert net.executor.choice.way == "layers"


def test_layers_between_segments_see_the_values_and_may_change_them(tmp_path):
    text = """layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "a" type: "Power" bottom: "x" top: "a" power_param { scale: 2 } }
    layer { name: "p" type: "Python" bottom: "a" top: "p"
      python_param { module: "tests.engine.test_plan" layer: "AddsOne" } }
    layer { name: "b" type: "Power" bottom: "p" top: "b" power_param { scale: 3 } }
    layer { name: "s" type: "Silence" bottom: "a" }"""
    net = caffe.Net(write(tmp_path, text), caffe.TEST)
    for value in (1.0, 5.0):
        net.blobs["x"].data[...] = value
        assert net.forward()["b"].tolist() == [[3 * (2 * value + 1)] * 3] * 2
    assert net.executor.choice.way == "plan"


class AddsOne(caffe.Layer):
    """Adds 1."""

    def reshape(self, bottom, top):
        """Give the top the shape of the bottom."""
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        """Add."""
        top[0].data[...] = bottom[0].data + 1


def test_a_layer_that_refuses_its_input_leaves_the_blobs_before_it(tmp_path):
    text = """layer { name: "in" type: "Input" top: "x" top: "l"
      input_param { shape { dim: 1 dim: 3 } shape { dim: 1 } } }
    layer { name: "a" type: "Power" bottom: "x" top: "a" power_param { scale: 2 } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "a" bottom: "l" top: "loss" }"""
    net = build(tmp_path, text)
    net.blobs["x"].data[...] = 4
    net.blobs["l"].data[...] = 9
    with pytest.raises(LayerError):
        net.forward()
    assert (net.blobs["a"].data == 8).all()
    net.blobs["l"].data[...] = 1
    assert net.forward()["loss"] == pytest.approx(np.log(3), abs=1e-6)


@pytest.mark.parametrize("layout", ["planes", "channels last"])
def test_a_large_pointwise_convolution_is_that_of_its_weights(layout):
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(1, 16, 256, 260, generator=draw)
    w, b = torch.randn(8, 16, 1, 1, generator=draw), torch.randn(8, generator=draw)
    other = torch.randn(1, 8, 256, 260, generator=draw)
    geometry = prepared.Geometry((1, 1), (0, 0), (1, 1), 1)
    call = prepared.convolution(x.shape, w, b, geometry, 0.0, adds=True)
    exact = torch.relu(torch.conv2d(x.double(), w.double(), b.double()) + other)
    if layout != "planes":
        x = x.contiguous(memory_format=torch.channels_last)
    assert float((call(x, other) - exact).abs().max() / exact.max()) < 1e-6


@pytest.mark.parametrize("slope", [None, 0.0, 0.1])
@pytest.mark.parametrize("adds", [False, True])
def test_a_prepared_convolution_adds_and_rectifies(monkeypatch, slope, adds):
    monkeypatch.setattr(prepared, "MOST_PRODUCTS", 0)
    draw = torch.Generator().manual_seed(1)
    x, w = torch.randn(1, 8, 9, 9, generator=draw), torch.randn(4, 8, 3, 3, generator=draw)
    other = torch.randn(1, 4, 9, 9, generator=draw)
    geometry = prepared.Geometry((1, 1), (1, 1), (1, 1), 1)
    call = prepared.convolution(x.shape, w, None, geometry, slope, adds)
    exact = torch.conv2d(x.double(), w.double(), padding=1) + (other if adds else 0)
    if slope is not None:
        exact = torch.nn.functional.leaky_relu(exact, slope)
    y = call(x, other) if adds else call(x)
    np.testing.assert_allclose(y, exact, rtol=0, atol=1e-5)
