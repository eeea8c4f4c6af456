"""A seed draws BVLC Caffe's fillers and dropout masks on the CPU, bit for bit."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe import boost_random

from oracle.seeds import READ, RECURRENT, SOURCES, write_images
from tests.engine.nets import build

#: BVLC Caffe's first weights after set_random_seed(3), for 3 inputs and 2 outputs.
WEIGHTS = {
    'type: "uniform" min: -2 max: 5': [1.8555853, -1.5049257, 2.957035, 3.879644],
    'type: "gaussian" std: 1': [-0.9288638, -0.09700564, 0.33809653, 1.2763106],
    'type: "xavier"': [0.10159576, -0.85855025, 0.41629565, 0.67989814],
    'type: "msra"': [-0.75841415, -0.079204775, 0.27605468, 1.0421033],
    'type: "positive_unitball"': [0.41423637, 0.05318978, 0.5325739, 0.6707882],
    'type: "gaussian" std: 1 sparse: 1': [-0.0, -0.0, 0.0, 1.2763106],
}
#: The first weights after a data layer, after set_random_seed(5).
READ_FIRST = {
    "ImageData": [-0.090842053, 0.27907404, 0.31963006],
    "ImageData, plain": [-0.16242526, 0.13537233, 0.12098385],
    "WindowData": [-0.19552055, -0.090842053, 0.27907404],
    "MemoryData": [-0.22240993, 0.18536615, 0.16566393],
}
INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }'


@pytest.mark.parametrize("filler", WEIGHTS)
def test_a_seed_draws_bvlc_caffes_weights(tmp_path, filler):
    caffe.set_random_seed(3)
    text = f"""{INPUT} layer {{ name: "ip" type: "InnerProduct" bottom: "x" top: "y"
      inner_product_param {{ num_output: 2 weight_filler {{ {filler} }} }} }}"""
    weights = build(tmp_path, text).params["ip"][0].data.ravel()
    np.testing.assert_allclose(weights[:4], WEIGHTS[filler], rtol=2e-7, atol=0)


@pytest.mark.parametrize(
    ("layer", "weights"),
    [("RNN", [-0.50868356, -0.5144183, 0.11912686]), ("LSTM", [0.28114593, 0.32196325, 0.0800302])],
)
def test_the_layer_after_a_recurrent_one_has_bvlc_caffes_weights(tmp_path, layer, weights):
    caffe.set_random_seed(4)
    net = build(tmp_path, RECURRENT % layer)
    np.testing.assert_allclose(net.params["ip"][0].data.ravel()[:3], weights, rtol=2e-7)


@pytest.mark.parametrize("source", READ_FIRST)
def test_the_layer_after_a_data_layer_has_bvlc_caffes_weights(tmp_path, source):
    write_images(str(tmp_path))
    caffe.set_random_seed(5)
    text = READ % (source.partition(",")[0], SOURCES[source])
    net = build(tmp_path, text.replace('source: "', f'source: "{tmp_path}/'), caffe.TRAIN)
    weights = net.params["ip"][0].data.ravel()[:3]
    np.testing.assert_allclose(weights, READ_FIRST[source], rtol=2e-7)


def test_a_seed_draws_bvlc_caffes_dropout_masks(tmp_path):
    caffe.set_random_seed(3)
    text = """layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 16 }
      data_filler { value: 1 } } } layer { name: "d" type: "Dropout" bottom: "x" top: "y"
      dropout_param { dropout_ratio: 0.4 } }"""
    net = build(tmp_path, text, caffe.TRAIN)
    masks = [(net.forward()["y"] > 0).astype(int).tolist()[:8] for _ in range(2)]
    assert masks == [[1, 1, 0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 1, 1, 1, 1]]


def test_normal_values_are_the_same_in_one_call_and_in_many():
    one, many = np.random.RandomState(1), np.random.RandomState(1)
    values = boost_random.normal(one, 1, 2, 30_000)
    parts = [boost_random.normal(many, 1, 2, n) for n in (1, 9_999, 0, 20_000)]
    np.testing.assert_array_equal(values, np.concatenate(parts))
    assert one.randint(2**31) == many.randint(2**31)
    standard = np.sort((values - 1) / 2)
    assert abs(standard.mean()) < 0.02 and abs(standard.std() - 1) < 0.02
    assert standard[-1] > 3.45  # beyond the layers of the ziggurat


def test_uniform_values_are_drawn_again_where_rounding_reaches_the_end(monkeypatch):
    numbers = [2**32 - 1, 2**31, 0]  # the first, as a float, is 2^32

    def raw(rng, n):
        return np.array([numbers.pop(0) for _ in range(n)], np.uint32)

    monkeypatch.setattr(boost_random, "raw", raw)
    values = boost_random.uniform(np.random.RandomState(1), 0, 1, 2)
    np.testing.assert_allclose(values, [0.5, 0], rtol=1e-6)


def test_bernoulli_draws_no_number_where_nothing_can_be_true():
    rng = np.random.RandomState(1)
    assert not boost_random.bernoulli(rng, 0, 5).any()
    assert rng.randint(2**31) == np.random.RandomState(1).randint(2**31)
    assert boost_random.bernoulli(rng, 1, 5).all()
