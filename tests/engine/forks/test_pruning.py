"""CConvolution and CInnerProduct: how masks change in training, and what learns."""

from __future__ import annotations

import json

import caffe
import numpy as np
import pytest
from caffe.errors import LayerError, ShapeError

from tests.engine.nets import build, solver
from tests.engine.test_fork_behaviour import layer

TEXT = (
    "type: 'CInnerProduct' inner_product_param { num_output: 3 } "
    "cinner_product_param { gamma: 0 power: 1 c_rate: 0.5 iter_stop: 2 }"
)
CONVOLUTION = (
    "type: 'CConvolution' convolution_param { num_output: 2 kernel_size: 3 } "
    "cconvolution_param { %s }"
)


def drawn(folder):
    """A net in training with drawn weights, and these."""
    net = build(folder, layer(TEXT, (4, 5)), caffe.TRAIN)
    random = np.random.RandomState(0)
    for blob in net.params["l"][:2]:
        blob.data[...] = random.standard_normal(blob.shape)
    net.blobs["x0"].data[...] = random.standard_normal((4, 5))
    return net, [blob.data.copy() for blob in net.params["l"][:2]]


def threshold_of(weights):
    values = np.abs(np.concatenate([w.ravel() for w in weights])).astype(np.float64)
    return values.mean() + 0.5 * values.std()


def test_small_weights_are_pruned_and_grown_ones_spliced_until_iter_stop(tmp_path):
    net, weights = drawn(tmp_path)
    threshold = threshold_of(weights)
    net.forward()
    masks = [blob.data for blob in net.params["l"][2:]]
    for w, m in zip(weights, masks):
        assert np.array_equal(m, np.abs(w) > 0.9 * threshold)
    assert 0 < np.sum(masks[0]) < masks[0].size
    pruned, kept = np.argwhere(masks[0] == 0), np.argwhere(masks[0] == 1)
    net.params["l"][0].data[tuple(pruned[0])] = 1.2 * threshold
    net.params["l"][0].data[tuple(pruned[1])] = 1.05 * threshold
    net.params["l"][0].data[tuple(kept[0])] = 0.95 * threshold
    net.forward()
    assert [masks[0][tuple(at)] for at in (pruned[0], pruned[1], kept[0])] == [1, 0, 1]
    net.params["l"][0].data[...] = 0
    net.forward()
    assert masks[0][tuple(pruned[0])] == 1


def test_the_top_has_masked_weights_and_all_weights_have_gradients(tmp_path):
    net, weights = drawn(tmp_path)
    net.forward()
    masks = [blob.data.copy() for blob in net.params["l"][2:]]
    x = net.blobs["x0"].data
    expected = x @ (weights[0] * masks[0]).T + weights[1] * masks[1]
    np.testing.assert_allclose(net.blobs["y0"].data, expected, rtol=1e-5, atol=1e-6)
    net.blobs["y0"].diff[...] = slope = np.random.RandomState(1).standard_normal((4, 3))
    net.clear_param_diffs()
    net.backward()
    np.testing.assert_allclose(net.params["l"][0].diff, slope.T @ x, rtol=1e-5)
    np.testing.assert_allclose(net.blobs["x0"].diff, slope @ (weights[0] * masks[0]), rtol=1e-4)


def test_masks_do_not_learn_or_decay(tmp_path):
    net = (
        'layer { name: "data" type: "Input" top: "data" top: "label" '
        "input_param { shape { dim: 4 dim: 5 } shape { dim: 4 } } }\n"
        f'layer {{ name: "ip" bottom: "data" top: "ip" {TEXT} }}\n'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }\n'
    ).replace("num_output: 3", 'num_output: 3 weight_filler { type: "gaussian" std: 1 }')
    s = solver(tmp_path, 'base_lr: 1 lr_policy: "fixed" weight_decay: 0.1', net)
    s.net.blobs["data"].data[...] = 1
    s.step(3)
    masks = s.net.params["ip"][2].data
    assert set(np.unique(masks)) == {0, 1}


def test_the_mean_of_the_first_pass_is_kept_for_a_resumed_training(tmp_path):
    first, weights = drawn(tmp_path)
    second, _ = drawn(tmp_path)
    first.forward()
    state = json.loads(json.dumps(first.layer_dict["l"].resume_state()))
    assert state["passes"] == 1
    second.layer_dict["l"].set_resume_state(state)
    second.params["l"][0].data[...] = 0.5 * weights[0]
    second.forward()
    expected = np.abs(0.5 * weights[0]) > 0.9 * threshold_of(weights)
    assert np.array_equal(second.params["l"][2].data, expected)


def test_training_needs_the_settings_of_the_pruning(tmp_path):
    with pytest.raises(LayerError, match="cconvolution_param has no power, iter_stop; TRAIN needs"):
        build(tmp_path, layer(CONVOLUTION % "gamma: 0 c_rate: 1", (1, 3, 5, 5)), caffe.TRAIN)
    with pytest.raises(ShapeError, match="needs 3 channels and a size of at least the kernel"):
        net = build(tmp_path, layer(CONVOLUTION % "", (1, 3, 5, 5)))
        net.blobs["x0"].reshape(1, 3, 2, 5)
        net.reshape()
