"""Ristretto's layers in training, and what they refuse."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.errors import LayerError

from tests.engine.nets import build

LAYER = """
force_backward: true
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 5 } } }
layer { name: "c" type: "%s" bottom: "x" top: "y" convolution_param {
  num_output: 3 kernel_size: 3 weight_filler { type: "gaussian" std: 1 } bias_term: false }
  quantization_param { %s } }
"""
PLAIN = LAYER.replace("quantization_param { %s }", "")
BITS = "bw_params: 5 fl_params: 2 bw_layer_in: 9 fl_layer_in: 3 bw_layer_out: 16 fl_layer_out: 6"


def net(folder, type_="ConvolutionRistretto", settings=BITS, phase=caffe.TEST):
    caffe.set_random_seed(0)
    result = build(folder, LAYER % (type_, settings), phase)
    result.blobs["x"].data[...] = np.random.RandomState(0).standard_normal((1, 2, 4, 5))
    result.forward()
    return result


def test_training_rounds_weights_to_either_neighbour_by_their_nearness(tmp_path):
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 4 } } }
    layer { name: "f" type: "FcRistretto" bottom: "x" top: "y" inner_product_param {
      num_output: 500 bias_term: false } quantization_param { bw_params: 5 fl_params: 2 } }
    """
    caffe.set_random_seed(0)
    layer = build(tmp_path, text, caffe.TRAIN)
    # The tops for unit vectors are the weights, which are here 0.3125 of a step above -0.5.
    layer.blobs["x"].data[...] = 3 * np.eye(4)
    layer.params["f"][0].data[...] = -0.5 + 0.3125 / 4
    values, counts = np.unique(layer.forward()["y"], return_counts=True)
    assert values.tolist() == [-1.5, -0.75]
    assert counts[1] / counts.sum() == pytest.approx(0.3125, abs=0.05)


@pytest.mark.parametrize("type_", ["Convolution", "Deconvolution"])
def test_the_gradient_passes_the_rounding_and_uses_rounded_weights(tmp_path, type_):
    layer = net(tmp_path, f"{type_}Ristretto")
    w = layer.params["c"][0].data.copy()
    plain = build(tmp_path, PLAIN % type_)
    plain.params["c"][0].data[...] = (
        np.clip(np.floor(np.abs(w) * 4 + 0.5) * np.sign(w), -16, 15) / 4
    )
    x = layer.blobs["x"].data
    plain.blobs["x"].data[...] = np.floor(np.abs(x) * 8 + 0.5) * np.sign(x) / 8
    diff = np.random.RandomState(1).standard_normal(layer.blobs["y"].shape)
    for each in (plain, layer):
        each.forward()
        each.blobs["y"].diff[...] = diff
        each.clear_param_diffs()
        each.backward()
    np.testing.assert_allclose(layer.blobs["y"].data, plain.blobs["y"].data, atol=2**-7 + 1e-5)
    np.testing.assert_allclose(layer.blobs["x"].diff, plain.blobs["x"].diff, rtol=1e-5, atol=1e-6)
    ours, theirs = (each.params["c"][0].diff for each in (layer, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_minifloats_are_refused(tmp_path):
    with pytest.raises(LayerError, match="precision is MINIFLOAT"):
        net(tmp_path, settings="precision: MINIFLOAT")
