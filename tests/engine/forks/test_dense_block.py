"""DenseBlock beyond one pass: its statistics, its two layouts of parameters, its refusals."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.errors import CaffeError

from tests.engine.nets import build

SHAPE = (3, 4, 5, 6)
NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 4 dim: 5 dim: 6 } } }
layer { name: "d" type: "DenseBlock" bottom: "x" top: "y"
  denseblock_param { numTransition: 1 %s Filter_Filler { type: "msra" } } }
"""


def run(folder, settings="growthRate: 2", phase=caffe.TRAIN, passes=1):
    net = build(folder, NET % settings, phase)
    net.blobs["x"].data[...] = np.random.RandomState(0).standard_normal(SHAPE) + 1
    for _ in range(passes):
        net.forward()
    return net


def test_training_sums_its_statistics_and_counts_their_weight(tmp_path):
    net = run(tmp_path, passes=2)
    x = net.blobs["x"].data
    *_, mean, variance, total = (blob.data.copy() for blob in net.params["d"])
    assert total.tolist() == pytest.approx([1.9])
    np.testing.assert_allclose(mean.ravel(), 1.9 * x.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(variance.ravel(), 1.9 * x.var((0, 2, 3), ddof=1), rtol=1e-5)
    path = str(tmp_path / "net.caffemodel")
    net.save(path)
    test = run(tmp_path, phase=caffe.TEST)
    test.copy_from(path)
    # The statistics of the batch are the running ones, but for the unbiased variance.
    np.testing.assert_allclose(test.forward()["y"], net.blobs["y"].data, atol=0.05)


def test_a_file_of_an_older_version_has_statistics_that_nothing_divides(tmp_path):
    net = run(tmp_path)
    layer = caffe.proto.caffe_pb2.LayerParameter(name="d", type="DenseBlock")
    arrays = [blob.data.copy() for blob in net.params["d"]][:-1]
    for values in arrays:
        layer.blobs.add().CopyFrom(caffe.io.array_to_blobproto(values))
    old = caffe.proto.caffe_pb2.NetParameter(layer=[layer])
    (tmp_path / "old.caffemodel").write_bytes(old.SerializeToString())
    path = tmp_path / "net.prototxt"
    test = caffe.Net(str(path), caffe.TEST, weights=str(tmp_path / "old.caffemodel"))
    assert len(test.params["d"]) == 5
    test.blobs["x"].data[...] = net.blobs["x"].data
    np.testing.assert_allclose(test.forward()["y"], net.blobs["y"].data, atol=0.05)


def test_dropout_drops_the_values_of_a_layer_and_not_those_before(tmp_path):
    net = run(tmp_path, "growthRate: 2 use_dropout: true dropout_amount: 0.5")
    y = net.blobs["y"].data
    assert np.array_equal(y[:, :4], net.blobs["x"].data)
    assert 0.3 < (y[:, 4:] == 0).mean() < 0.7


@pytest.mark.parametrize(
    "settings, reason",
    [
        ("growthRate: 0", "both at least 1"),
        ("growthRate: 2 conv_verticalStride: 2", "strides are not 1"),
        ("growthRate: 2 pad_h: 0", "changes the size"),
    ],
)
def test_blocks_whose_layers_do_not_fit_together_are_refused(tmp_path, settings, reason):
    with pytest.raises(CaffeError, match=reason):
        run(tmp_path, settings)
