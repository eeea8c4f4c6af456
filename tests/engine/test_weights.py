"""Weights files of every age and format, and what is refused about them."""

import caffe
import h5py
import numpy as np
import pytest
from caffe import CaffeError, hdf5, weights, wire
from caffe.errors import FileError
from caffe.proto import caffe_pb2

from tests.engine.nets import SCORER, build, same_weights


@pytest.fixture
def net(tmp_path):
    caffe.set_random_seed(1)
    return build(tmp_path, SCORER)


@pytest.mark.parametrize("name", ["w.caffemodel", "w.caffemodel.h5"])
def test_saved_weights_are_loaded_bit_for_bit(tmp_path, net, name):
    path = str(tmp_path / name)
    net.save_hdf5(path) if name.endswith("h5") else net.save(path)
    caffe.set_random_seed(2)
    other = build(tmp_path, SCORER)
    assert not same_weights(net, other)
    other.copy_from(path)
    assert same_weights(net, other)


def test_protobuf_reads_a_saved_file(tmp_path, net):
    net.save(str(tmp_path / "w.caffemodel"))
    message = caffe_pb2.NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes())
    assert [layer.name for layer in message.layer] == ["data", "conv", "relu", "pool", "score"]
    conv = message.layer[1]
    assert conv.phase == caffe.TEST and list(conv.blobs[0].shape.dim) == [4, 3, 3, 3]
    np.testing.assert_array_equal(conv.blobs[0].data, net.params["conv"][0].data.ravel())


def v1_model(net, blob_shape):
    """The weights in the V1 form, with num, channels, height, width as VGG's file has them."""
    message = caffe_pb2.NetParameter()
    for name, blobs in net.params.items():
        layer = message.layers.add(name=name, type=caffe_pb2.V1LayerParameter.CONVOLUTION)
        for blob in blobs:
            stored = layer.blobs.add()
            fields = zip(("num", "channels", "height", "width"), blob_shape(blob.shape))
            for field, size in fields:
                setattr(stored, field, size)
            stored.data.extend(blob.data.ravel().tolist())
    return message.SerializeToString()


def test_a_v1_file_with_num_channels_height_width_is_read(tmp_path, net):
    path = tmp_path / "old.caffemodel"
    path.write_bytes(v1_model(net, lambda shape: (1,) * (4 - len(shape)) + tuple(shape)))
    other = build(tmp_path, SCORER)
    other.copy_from(str(path))
    assert same_weights(net, other)


def test_double_precision_and_unpacked_values_are_read(tmp_path, net):
    message = caffe_pb2.NetParameter()
    layer = message.layer.add(name="score")
    for blob in net.params["score"]:
        stored = layer.blobs.add()
        stored.shape.dim.extend(blob.shape)
        stored.double_data.extend(blob.data.ravel().tolist())
    path = tmp_path / "double.caffemodel"
    path.write_bytes(message.SerializeToString())
    other = build(tmp_path, SCORER)
    other.copy_from(str(path))
    np.testing.assert_array_equal(other.params["score"][0].data, net.params["score"][0].data)
    unpacked = bytearray()
    for value in net.params["score"][1].data:
        unpacked += b"\x2d" + np.float32(value).tobytes()  # field 5, one float at a time
    blob = bytes(unpacked) + b"\x3a\x02\x08\x03"  # shape { dim: 3 }, unpacked too
    weight = net.params["score"][0].data.tobytes()
    first = b"\x2a" + bytes([len(weight)]) + weight + b"\x3a\x06\x0a\x04\x03\x04\x01\x01"
    content = b"\x0a\x05score"
    for part in (first, blob):
        content += b"\x3a" + bytes([len(part)]) + part
    path.write_bytes(b"\xa2\x06" + bytes([len(content)]) + content)
    other.copy_from(str(path))
    np.testing.assert_array_equal(other.params["score"][1].data, net.params["score"][1].data)


def test_layers_that_only_the_file_or_the_net_has_stay_unchanged(tmp_path, net):
    path = str(tmp_path / "w.caffemodel")
    net.save(path)
    other = build(tmp_path, SCORER.replace('name: "score"', 'name: "score2"'))
    before = other.params["score2"][0].data.copy()
    other.copy_from(path)
    np.testing.assert_array_equal(other.params["conv"][0].data, net.params["conv"][0].data)
    np.testing.assert_array_equal(other.params["score2"][0].data, before)


def test_weights_without_any_layer_of_the_net_are_warned_of(tmp_path, net, capfd, monkeypatch):
    monkeypatch.delenv("GLOG_minloglevel", raising=False)
    path = str(tmp_path / "w.caffemodel")
    net.save(path)
    build(tmp_path, SCORER).copy_from(path)
    assert "no layer of this net has weights there" not in capfd.readouterr().err
    build(tmp_path, SCORER.replace('name: "', 'name: "other_')).copy_from(path)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("W")]
    assert f"{path}: no layer of this net has weights there, so all keep their values" in line


def test_weights_of_another_shape_are_refused_and_nothing_is_copied(tmp_path, net):
    path = str(tmp_path / "w.caffemodel")
    net.save(path)
    other = build(tmp_path, SCORER.replace("kernel_size: 1", "kernel_size: 2"))
    before = other.params["conv"][0].data.copy()
    message = (
        r"w\.caffemodel: Cannot copy param 0 weights from layer 'score'; shape mismatch\.  Source "
        r"param shape is 3 4 1 1 \(12\); target param shape is 3 4 2 2 \(48\)\. .* rename the layer"
    )
    with pytest.raises(CaffeError, match=message):
        other.copy_from(path)
    np.testing.assert_array_equal(other.params["conv"][0].data, before)
    other = build(tmp_path, SCORER.replace("num_output: 3", "num_output: 3 bias_term: false"))
    with pytest.raises(CaffeError, match="layer 'score' has 2 blobs there and 1 in this net"):
        other.copy_from(path)


def test_a_truncated_weights_file_is_refused_and_nothing_is_copied(tmp_path, net):
    complete = tmp_path / "w.caffemodel"
    net.save(str(complete))
    content = complete.read_bytes()
    caffe.set_random_seed(5)
    other = build(tmp_path, SCORER)
    before = other.params["conv"][0].data.copy()
    truncated = tmp_path / "cut.caffemodel"
    starts = layer_starts(content)
    for size in range(0, len(content), 7):
        if size in starts:
            continue  # A file that ends between layers is a smaller file, not a damaged one.
        truncated.write_bytes(content[:size])
        with pytest.raises(FileError, match=r"cut\.caffemodel: "):
            other.copy_from(str(truncated))
    np.testing.assert_array_equal(other.params["conv"][0].data, before)


def layer_starts(content):
    """The offsets at which a field of the outermost message begins, from the second layer on."""
    at, starts = 0, {0}
    buffer = memoryview(content)
    while at < len(content):
        _, at = wire.decode_varint(buffer, at)
        size, at = wire.decode_varint(buffer, at)
        at += size
        starts.add(at)
    first_layer = 2 + content[1]  # A file that ends behind the net's name has no layers.
    return starts - {0, first_layer}


def test_a_blob_with_too_few_values_is_refused(tmp_path, net):
    message = caffe_pb2.NetParameter()
    blob = message.layer.add(name="score").blobs.add(data=[1, 2])
    blob.shape.dim.extend([3, 4])
    path = tmp_path / "short.caffemodel"
    path.write_bytes(message.SerializeToString())
    with pytest.raises(FileError, match=r"short\.caffemodel: a blob of shape \(3, 4\) holds 2 va"):
        net.copy_from(str(path))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (caffe_pb2.NetParameter(name="empty"), "has no layers"),
        (
            caffe_pb2.NetParameter(
                layer=[caffe_pb2.LayerParameter(name="a")],
                layers=[caffe_pb2.V1LayerParameter(name="a")],
            ),
            "has both `layer` and `layers`",
        ),
    ],
    ids=["no layers", "two forms"],
)
def test_a_file_without_layers_or_with_two_forms_of_them_is_refused(tmp_path, net, message, reason):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(message.SerializeToString())
    with pytest.raises(FileError, match=rf"w\.caffemodel: {reason}"):
        net.copy_from(str(path))


def test_a_file_of_another_kind_is_refused(tmp_path, net):
    path = tmp_path / "photo.caffemodel"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(FileError, match=r"photo\.caffemodel: .*\.caffemodel file"):
        net.copy_from(str(path))
    with pytest.raises(FileError, match="HDF5"):
        path = tmp_path / "photo.h5"
        path.write_bytes(b"no")
        net.copy_from(str(path))


@pytest.mark.parametrize("name", ["w.hdf5", "w.caffemodel", "w"])
def test_hdf5_weights_are_recognized_by_their_content(tmp_path, net, name):
    path = str(tmp_path / name)
    net.save_hdf5(path)
    other = build(tmp_path, SCORER)
    other.copy_from(path)
    assert same_weights(net, other)


def test_binary_weights_are_read_from_a_file_with_the_name_of_an_hdf5_file(tmp_path, net):
    path = str(tmp_path / "w.h5")
    net.save(path)
    other = build(tmp_path, SCORER)
    other.copy_from(path)
    assert same_weights(net, other)


def test_hdf5_is_found_behind_a_user_block(tmp_path):
    path = str(tmp_path / "w")
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["x"] = 1
    assert hdf5.is_hdf5(path)


def test_a_mean_with_too_few_values_is_refused(tmp_path):
    path = tmp_path / "mean.binaryproto"
    blob = caffe_pb2.BlobProto(data=[1, 2])
    blob.shape.dim.extend([3, 4])
    path.write_bytes(blob.SerializeToString())
    with pytest.raises(FileError, match=r"mean\.binaryproto: BlobProto with 2 values"):
        caffe.weights.read_blob(path)


def test_a_failed_save_keeps_the_old_file(tmp_path, net, monkeypatch):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(FileError, match="cannot be written: disk full"):
        net.save(str(path))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir() if "caffemodel" in p.name] == ["w.caffemodel"]


@pytest.mark.parametrize("save", ["save", "save_hdf5"])
def test_saving_into_a_missing_folder_is_refused(tmp_path, net, save):
    with pytest.raises(FileError, match=r"missing/w\.caffemodel: cannot be written"):
        getattr(net, save)(str(tmp_path / "missing" / "w.caffemodel"))


@pytest.mark.parametrize(
    "storage, dtype", [("FLOAT", "<f4"), ("FLOAT16", "<f2"), ("DOUBLE", "<f8")]
)
def test_the_raw_data_of_nvcaffe_is_read(tmp_path, storage, dtype):
    values = np.array([[1.5, -2.25, 0], [8, 0.125, -64]])
    blob = caffe_pb2.BlobProto(raw_data_type=storage, raw_data=values.astype(dtype).tobytes())
    blob.shape.dim.extend(values.shape)
    net = caffe_pb2.NetParameter(layer=[{"name": "ip", "type": "InnerProduct", "blobs": [blob]}])
    path = tmp_path / "nv.caffemodel"
    path.write_bytes(net.SerializeToString())
    ((name, blobs),) = weights.read_net(str(path))
    assert name == "ip" and blobs[0].shape == values.shape
    assert blobs[0].data.dtype in (np.float32, np.float64)
    np.testing.assert_array_equal(blobs[0].data.reshape(values.shape), values)
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob), values)


def test_raw_data_of_an_unknown_type_is_refused(tmp_path):
    blob = caffe_pb2.BlobProto(raw_data_type="INT", raw_data=b"\0\0\0\0")
    blob.shape.dim.append(1)
    net = caffe_pb2.NetParameter(layer=[{"name": "ip", "blobs": [blob]}])
    path = tmp_path / "nv.caffemodel"
    path.write_bytes(net.SerializeToString())
    with pytest.raises(CaffeError, match=r"nv.caffemodel: raw_data of the type 3"):
        weights.read_net(str(path))
