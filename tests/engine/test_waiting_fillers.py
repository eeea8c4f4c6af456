"""When fillers draw. test_golden.py and tests/oracle/test_fillers.py test what they draw."""

from __future__ import annotations

import threading

import caffe
import numpy as np
import pytest

from tests.engine.nets import SCORER, build


@pytest.fixture
def unseeded(monkeypatch):
    """Runs a function in a thread without a random seed, where fillers of any size wait."""
    monkeypatch.setattr("caffe.fillers.LARGE", 1)

    def run(function):
        results = []
        thread = threading.Thread(target=lambda: results.append(function()))
        thread.start()
        thread.join()
        return results[0]

    return run


def weights(net, name="conv"):
    return net.params[name][0]


def test_without_a_seed_weights_are_drawn_when_they_are_first_read(unseeded, tmp_path):
    net = unseeded(lambda: build(tmp_path, SCORER))
    assert weights(net).values.is_deferred() and net.params["conv"][1].values.is_deferred()
    assert 0.05 < weights(net).data.std() < 0.2 and (net.params["conv"][1].data == 0.2).all()
    np.testing.assert_array_equal(weights(net).data, weights(net).data)


def test_weights_from_a_file_are_never_drawn(unseeded, tmp_path, monkeypatch):
    path = str(tmp_path / "w.caffemodel")
    caffe.set_random_seed(1)
    saved = build(tmp_path, SCORER)
    saved.save(path)
    part = SCORER.replace('name: "score"', 'name: "other"')

    def drawing(*args):
        raise AssertionError("drawn")

    with monkeypatch.context() as patch:
        patch.setattr("caffe.fillers.in_pieces", drawing)
        net = unseeded(lambda: build(tmp_path, part, weights=path))
        np.testing.assert_array_equal(weights(net).data, weights(saved).data)
    assert weights(net, "other").data.std() > 0.1, "the layer that the file lacks was not drawn"


def test_with_a_seed_weights_are_drawn_in_the_order_of_the_layers(tmp_path, monkeypatch):
    monkeypatch.setattr("caffe.fillers.LARGE", 1)
    runs = []
    for order in (("conv", "score"), ("score", "conv")):
        caffe.set_random_seed(3)
        net = build(tmp_path, SCORER)
        runs.append({name: weights(net, name).data.copy() for name in order})
    for name in ("conv", "score"):
        np.testing.assert_array_equal(runs[0][name], runs[1][name])


def test_data_is_drawn_into_an_array_that_a_script_holds(unseeded, tmp_path):
    net = unseeded(
        lambda: build(
            tmp_path,
            """layer { name: 'd' type: 'DummyData' top: 'x' dummy_data_param {
                 shape { dim: 3 } data_filler { type: 'gaussian' std: 1 } } }""",
        )
    )
    held = net.blobs["x"].data

    def passes():
        before = held.copy()
        net.forward()
        return not np.array_equal(before, held)

    assert unseeded(passes)
