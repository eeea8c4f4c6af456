"""A step in which layers learn together leaves what forward and backward layer by layer leave."""

from __future__ import annotations

import caffe
import numpy as np
import pytest

from tests.engine import nets

NET = """
layer { name: "data" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 4 dim: 3 dim: 9 dim: 8 } shape { dim: 4 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param {
  num_output: 6 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2" convolution_param {
  num_output: 6 kernel_size: 3 pad: 1 bias_term: false weight_filler { type: "msra" } } }
layer { name: "bn2" type: "BatchNorm" bottom: "conv2" top: "bn2" }
layer { name: "sum" type: "Eltwise" bottom: "pool1" bottom: "bn2" top: "sum" }
layer { name: "slice" type: "Slice" bottom: "sum" top: "a" top: "b" slice_param { axis: 1 } }
layer { name: "sig" type: "Sigmoid" bottom: "a" top: "a" }
layer { name: "cat" type: "Concat" bottom: "a" bottom: "b" top: "cat" }
layer { name: "flat" type: "Flatten" bottom: "cat" top: "flat" }
layer { name: "ip1" type: "InnerProduct" bottom: "flat" top: "ip1" param { name: "w" }
  inner_product_param { num_output: 54 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "ip1" top: "tanh" }
layer { name: "ip2" type: "InnerProduct" bottom: "tanh" top: "ip2" param { name: "w" }
  inner_product_param { num_output: 54 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "score" type: "InnerProduct" bottom: "ip2" top: "score" propagate_down: true
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "acc" type: "Accuracy" bottom: "score" bottom: "label" top: "acc" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
layer { name: "more" type: "EuclideanLoss" bottom: "ip2" bottom: "tanh" top: "more"
  loss_weight: 0.3 }
""".replace("54", "72")


def learn(folder, layer_by_layer, rule="", steps=3):
    """The solver after some steps, each with drawn data."""
    caffe.set_random_seed(1)
    solver = nets.solver(folder, rule, NET)
    net = solver.net
    if layer_by_layer:
        net.before_forward(lambda layer: None)
    draw = np.random.RandomState(2)
    for _ in range(steps):
        net.blobs["data"].data[...] = draw.randn(4, 3, 9, 8)
        net.blobs["label"].data[...] = draw.randint(0, 5, 4)
        solver.step(1)
    return solver


def check(ours, theirs, name):
    scale = max(abs(theirs).max(), 1e-12)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * scale, err_msg=name)


@pytest.mark.parametrize(
    "rule",
    ["", "weight_decay: 0.05", 'weight_decay: 0.05 regularization_type: "L1"', "iter_size: 2"],
)
def test_a_step_leaves_the_same_values_gradients_and_weights(tmp_path, rule):
    together, apart = (learn(tmp_path, way, rule) for way in (False, True))
    assert "learn together" in together.net.executor.choice.reason
    assert apart.net.executor.choice.reason == "callbacks are set"
    for name, blob in together.net.blobs.items():
        check(blob.data, apart.net.blobs[name].data, name)
        if name not in ("acc", "label", "data"):
            check(blob.diff, apart.net.blobs[name].diff, f"{name}.diff")
    for name, blobs in together.net.params.items():
        for blob, other in zip(blobs, apart.net.params[name]):
            check(blob.data, other.data, name)
            check(blob.diff, other.diff, f"{name}.diff")


def test_backward_after_a_step_uses_the_blobs_of_the_step(tmp_path):
    together, apart = (learn(tmp_path, way) for way in (False, True))
    for solver in (together, apart):
        solver.net.clear_param_diffs()
        solver.net.backward()
    check(together.net.params["conv1"][0].diff, apart.net.params["conv1"][0].diff, "conv1.diff")


def test_arrays_that_somebody_holds_have_the_values_of_each_step(tmp_path):
    solver = learn(tmp_path, False, steps=1)
    blob, weights = solver.net.blobs["tanh"], solver.net.params["ip1"][0]
    held = blob.data, blob.diff, weights.data
    other = learn(tmp_path, True, steps=1)
    for each in (solver, other):
        each.net.blobs["data"].data[...] = np.random.RandomState(7).randn(4, 3, 9, 8)
        each.step(1)
    check(held[0], other.net.blobs["tanh"].data, "tanh")
    check(held[1], other.net.blobs["tanh"].diff, "tanh.diff")
    check(held[2], other.net.params["ip1"][0].data, "ip1")
