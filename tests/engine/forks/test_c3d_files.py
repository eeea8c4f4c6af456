"""Weights and means of C3D, whose blobs have a length: the numbers of their fields are others."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe import weights, wire
from caffe.errors import FileError

from tests.engine.nets import build

NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 2 dim: 4 dim: 5 dim: 6 } } }
layer { name: "conv" type: "Convolution3D" bottom: "data" top: "conv"
  convolution_param { num_output: 3 kernel_size: 3 kernel_depth: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 2 } }
"""


def blob(values):
    """The bytes of a BlobProto of C3D: num, channels, length, height, width, data."""
    shape = (1,) * (5 - values.ndim) + values.shape
    parts = [wire.integer(number, size) for number, size in enumerate(shape, 1)]
    parts += wire.delimited(6, [values.astype("<f4").tobytes()])
    return b"".join(bytes(part) for part in parts)


def layer(name, *arrays):
    """The bytes of a V1 layer with these blobs."""
    parts = wire.delimited(4, [name.encode()])
    for values in arrays:
        parts += wire.delimited(6, [blob(values)])
    return b"".join(bytes(part) for part in parts)


@pytest.fixture
def arrays():
    random = np.random.RandomState(0)
    shapes = [(3, 2, 2, 3, 3), (3,), (2, 108), (2,)]
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.fixture
def path(tmp_path, arrays):
    layers = [layer("conv", *arrays[:2]), layer("ip", *arrays[2:])]
    content = b"".join(bytes(part) for item in layers for part in wire.delimited(2, [item]))
    (tmp_path / "c3d.caffemodel").write_bytes(content)
    return str(tmp_path / "c3d.caffemodel")


def test_weights_of_c3d_fill_volumes_biases_and_inner_products(tmp_path, path, arrays):
    net = build(tmp_path, NET, weights=path)
    stored = [blob.data for name in ("conv", "ip") for blob in net.params[name]]
    assert [a.shape for a in stored] == [a.shape for a in arrays]
    assert all(np.array_equal(a, b) for a, b in zip(stored, arrays))


def test_a_mean_of_c3d_is_an_array_of_five_axes(tmp_path):
    values = np.arange(120, dtype=np.float32).reshape(1, 3, 2, 4, 5)
    (tmp_path / "mean").write_bytes(blob(values))
    assert np.array_equal(weights.read_blob(tmp_path / "mean"), values)


def test_weights_of_c3d_are_written_again_as_they_were(tmp_path, path):
    layers = [
        weights.LayerWeights(caffe.proto.caffe_pb2.LayerParameter(name=name), list(blobs.values()))
        for name, blobs in weights.read_net(path)
    ]
    weights.write_net(str(tmp_path / "again"), "c3d", layers)
    read = weights.read_net(str(tmp_path / "again"))
    assert [b.shape for _, blobs in read for b in blobs.values()] == [
        b.shape for _, blobs in weights.read_net(path) for b in blobs.values()
    ]


def test_a_blob_of_c3d_with_missing_values_is_refused(tmp_path):
    (tmp_path / "mean").write_bytes(
        blob(np.zeros((1, 3, 2, 4, 5), np.float32)).replace(b"\x08\x01", b"\x08\x02", 1)
    )
    with pytest.raises(FileError, match=r"shape \(2, 3, 2, 4, 5\) holds 120 values"):
        weights.read_blob(tmp_path / "mean")


def test_an_input_of_c3d_has_five_input_dim(tmp_path):
    text = "input: 'a' input: 'b' " + "".join(f"input_dim: {n} " for n in (1, 3, 4, 5, 6) * 2)
    net = build(tmp_path, text + "layer { name: 's' type: 'Silence' bottom: 'a' bottom: 'b' }")
    assert [net.blobs[name].data.shape for name in "ab"] == [(1, 3, 4, 5, 6)] * 2
