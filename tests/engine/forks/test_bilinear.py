"""CompactBilinear's parameters, and the layers after it."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.errors import CaffeError

from tests.engine.nets import build

NET = """
force_backward: true
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 9 dim: 2 dim: 2 } } }
layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 1 dim: 9 dim: 2 dim: 2 } } }
layer { name: "c" type: "CompactBilinear" bottom: "x" bottom: "y" top: "c"
  compact_bilinear_param { num_output: 5 %s } }
"""


def net(folder, settings="sum_pool: true"):
    caffe.set_random_seed(4)
    result = build(folder, NET % settings)
    random = np.random.RandomState(0)
    for name in ("x", "y"):
        result.blobs[name].data[...] = random.standard_normal((1, 9, 2, 2))
    return result


def test_places_and_signs_are_drawn_and_saved_and_never_learn(tmp_path):
    layer = net(tmp_path)
    h, s, k, t = (blob.data.copy() for blob in layer.params["c"])
    assert set(s) == set(t) == {1, -1} and not np.array_equal(h, k)
    assert {*h, *k} <= {0, 1, 2, 3, 4}
    top = layer.forward()["c"].copy()
    layer.blobs["c"].diff[...] = 1
    layer.backward()
    assert not any(blob.diff.any() for blob in layer.params["c"])
    layer.save(str(tmp_path / "saved"))
    caffe.set_random_seed(5)
    other = build(tmp_path, NET % "sum_pool: true", weights=str(tmp_path / "saved"))
    for name in ("x", "y"):
        other.blobs[name].data[...] = layer.blobs[name].data
    assert np.array_equal(other.forward()["c"], top)


def test_the_parameters_of_a_file_may_have_any_order(tmp_path):
    layer = net(tmp_path)
    top = layer.forward()["c"].copy()
    h, s, k, t = (blob.data.copy() for blob in layer.params["c"])
    for blob, values in zip(layer.params["c"], (h, k, s, t)):
        blob.data[...] = values
    assert np.array_equal(layer.forward()["c"], top)
    layer.params["c"][2].data[0] = 2
    with pytest.raises(CaffeError, match="two rows of places below num_output and two of signs"):
        layer.forward()


def test_settings_that_leave_the_size_open_are_refused(tmp_path):
    with pytest.raises(CaffeError, match="sum_pool to be set"):
        net(tmp_path, "")


def test_the_gradient_of_the_signed_root_is_zero_at_zero(tmp_path):
    text = (
        "force_backward: true layer { name: 'x' type: 'Input' top: 'x' input_param { shape { "
        "dim: 1 dim: 3 } } } layer { name: 'r' type: 'SignedSqrt' bottom: 'x' top: 'r' }"
    )
    layer = build(tmp_path, text)
    layer.blobs["x"].data[...] = [[-4, 0, 9]]
    assert layer.forward()["r"].tolist() == [[-2, 0, 3]]
    layer.blobs["r"].diff[...] = 1
    layer.backward()
    np.testing.assert_allclose(layer.blobs["x"].diff, [[1 / 4, 0, 1 / 6]], rtol=1e-6)


def test_rows_with_positions_are_not_normalized(tmp_path):
    text = (
        "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 3 dim: 2 } } } "
        "layer { name: 'n' type: 'L2Normalize' bottom: 'x' top: 'n' }"
    )
    with pytest.raises(CaffeError, match="N x C or N x C x 1 x 1 is needed"):
        build(tmp_path, text)
