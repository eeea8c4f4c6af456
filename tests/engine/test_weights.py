import os
import subprocess
import sys
import threading

import caffe
import numpy as np
import pytest
from caffe import CaffeError
from caffe.proto import caffe_pb2

from tests.engine.nets import SCORER, build
from tests.engine.test_precision import full_again as full_again


@pytest.fixture
def net(tmp_path):
    caffe.set_random_seed(1)
    return build(tmp_path, SCORER)


def same_weights(a, b):
    return all(
        np.array_equal(x.data, y.data) for n in a.params for x, y in zip(a.params[n], b.params[n])
    )


@pytest.mark.parametrize("name", ["w.caffemodel", "w.caffemodel.h5"])
def test_saved_weights_come_back_bit_for_bit(tmp_path, net, name):
    path = str(tmp_path / name)
    net.save_hdf5(path) if name.endswith("h5") else net.save(path)
    caffe.set_random_seed(2)
    other = build(tmp_path, SCORER)
    assert not same_weights(net, other)
    other.copy_from(path)
    assert same_weights(net, other)


def test_protobuf_reads_what_is_written(tmp_path, net):
    net.save(str(tmp_path / "w.caffemodel"))
    message = caffe_pb2.NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes())
    assert [layer.name for layer in message.layer] == ["data", "conv", "relu", "pool", "score"]
    conv = message.layer[1]
    assert conv.phase == caffe.TEST and list(conv.blobs[0].shape.dim) == [4, 3, 3, 3]
    np.testing.assert_array_equal(conv.blobs[0].data, net.params["conv"][0].data.ravel())


def old_model(net, blob_shape):
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


def test_a_v1_file_with_four_sizes_is_read(tmp_path, net):
    path = tmp_path / "old.caffemodel"
    path.write_bytes(old_model(net, lambda shape: (1,) * (4 - len(shape)) + tuple(shape)))
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


def test_layers_that_only_one_side_has_are_left_alone(tmp_path, net):
    path = str(tmp_path / "w.caffemodel")
    net.save(path)
    other = build(tmp_path, SCORER.replace('name: "score"', 'name: "score2"'))
    before = other.params["score2"][0].data.copy()
    other.copy_from(path)
    np.testing.assert_array_equal(other.params["conv"][0].data, net.params["conv"][0].data)
    np.testing.assert_array_equal(other.params["score2"][0].data, before)


def test_weights_of_another_shape_are_refused_and_nothing_is_copied(tmp_path, net):
    path = str(tmp_path / "w.caffemodel")
    net.save(path)
    other = build(tmp_path, SCORER.replace("kernel_size: 1", "kernel_size: 2"))
    before = other.params["conv"][0].data.copy()
    message = (
        r"w\.caffemodel: layer 'score': blob 0 has the shape \(3, 4, 1, 1\) there and \(3, 4, 2"
    )
    with pytest.raises(CaffeError, match=message):
        other.copy_from(path)
    np.testing.assert_array_equal(other.params["conv"][0].data, before)
    other = build(tmp_path, SCORER.replace("num_output: 3", "num_output: 3 bias_term: false"))
    with pytest.raises(CaffeError, match="layer 'score' has 2 blobs there and 1 in this net"):
        other.copy_from(path)


def test_a_file_cut_anywhere_is_refused_and_nothing_is_copied(tmp_path, net):
    whole = tmp_path / "w.caffemodel"
    net.save(str(whole))
    content = whole.read_bytes()
    caffe.set_random_seed(5)
    other = build(tmp_path, SCORER)
    before = other.params["conv"][0].data.copy()
    cut = tmp_path / "cut.caffemodel"
    starts = layer_starts(content)
    for size in range(0, len(content), 7):
        if size in starts:
            continue  # a file cut between layers is a smaller file, not a broken one
        cut.write_bytes(content[:size])
        with pytest.raises(CaffeError, match=r"cut\.caffemodel: "):
            other.copy_from(str(cut))
    np.testing.assert_array_equal(other.params["conv"][0].data, before)


def layer_starts(content):
    """The offsets at which a field of the outermost message begins."""
    from caffe.weights import _varint

    at, starts = 0, {0}
    buffer = memoryview(content)
    while at < len(content):
        _, at = _varint(buffer, at)
        size, at = _varint(buffer, at)
        at += size
        starts.add(at)
    return starts - {0, layer_first(content)}


def layer_first(content):
    return 2 + content[1]  # after the net's name: no layer yet, so no .caffemodel


def test_a_file_that_is_something_else_is_refused(tmp_path, net):
    path = tmp_path / "photo.caffemodel"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(CaffeError, match=r"photo\.caffemodel: .*\.caffemodel file"):
        net.copy_from(str(path))
    with pytest.raises(CaffeError, match="HDF5"):
        path = tmp_path / "photo.h5"
        path.write_bytes(b"no")
        net.copy_from(str(path))


def test_a_failed_write_leaves_the_old_file(tmp_path, net, monkeypatch):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(CaffeError, match="cannot be written: disk full"):
        net.save(str(path))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir() if "caffemodel" in p.name] == ["w.caffemodel"]


def test_a_folder_that_is_not_there_is_said(tmp_path, net):
    with pytest.raises(CaffeError, match=r"missing/w\.caffemodel: cannot be written"):
        net.save(str(tmp_path / "missing" / "w.caffemodel"))


def test_large_weights_are_read_by_several_threads(tmp_path, net, monkeypatch):
    monkeypatch.setattr("caffe.weights.PIECE", 16)
    net.save(str(tmp_path / "w.caffemodel"))
    other = build(tmp_path, SCORER, weights=str(tmp_path / "w.caffemodel"))
    assert same_weights(net, other)


def test_weights_stay_when_their_file_is_written_over_or_cut(tmp_path, net):
    path = tmp_path / "w.caffemodel"
    net.save(str(path))
    other = build(tmp_path, SCORER, weights=str(path))
    path.write_bytes(bytes(path.stat().st_size))
    path.write_bytes(b"")
    assert same_weights(net, other)


@pytest.fixture
def waiting(tmp_path, net, monkeypatch):
    """A net whose weights are read when they are first needed, and their file."""
    monkeypatch.setattr("caffe.weights.LARGE", 1)
    path = tmp_path / "w.caffemodel"
    net.save(str(path))
    return build(tmp_path, SCORER, weights=str(path)), path


def test_weights_that_were_not_needed_yet_are_read_when_they_are(waiting, net, tmp_path):
    other, path = waiting
    assert other.params["conv"][0].values.is_deferred()
    assert other.params["conv"][0].shape == net.params["conv"][0].shape
    sharing = build(tmp_path, SCORER)
    sharing.share_with(other)
    path.unlink()
    x = np.random.RandomState(0).rand(1, 3, 8, 8).astype(np.float32)
    expected = net.forward(data=x)["score"].copy()
    np.testing.assert_array_equal(sharing.forward(data=x)["score"], expected)
    np.testing.assert_array_equal(other.forward(data=x)["score"], expected)
    assert same_weights(net, other)


@pytest.mark.parametrize("piece", [1 << 23, 64])
def test_weights_are_rounded_from_their_file(waiting, net, monkeypatch, piece):
    monkeypatch.setattr("caffe.weights.PIECE", piece)
    other, path = waiting
    x = np.random.RandomState(0).rand(1, 3, 8, 8).astype(np.float32)
    caffe.set_precision("bfloat16")
    expected = net.forward(data=x)["score"].copy()
    for _ in range(2):
        np.testing.assert_array_equal(other.forward(data=x)["score"], expected)
    weights = [b.values for blobs in other.params.values() for b in blobs]
    assert all(memory.is_deferred() for memory in weights)
    assert str(path) in open_files()
    other.params["score"][0].data[...] *= 2
    other.params["score"][1].data[...] *= 2
    np.testing.assert_array_equal(other.forward(data=x)["score"], 2 * expected)
    other.params["score"][0].data[...] /= 2
    other.params["score"][1].data[...] /= 2
    assert same_weights(net, other)


def test_weights_that_were_not_needed_yet_are_written_to_like_others(waiting, net):
    other, _ = waiting
    other.params["conv"][0].data[0] = 5
    assert (other.params["conv"][0].data[0] == 5).all()
    np.testing.assert_array_equal(other.params["conv"][0].data[1], net.params["conv"][0].data[1])


def test_weights_can_be_read_while_the_process_ends(waiting):
    _, path = waiting
    code = f"""
import atexit, caffe, caffe.weights
caffe.weights.LARGE = caffe.weights.PIECE = 1
net = caffe.Net({os.path.join(path.parent, "net.prototxt")!r}, caffe.TEST, weights={str(path)!r})
atexit.register(lambda: print(net.params["conv"][0].data.sum()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = waiting[0].params["conv"][0].data.sum()
    assert float(done.stdout) == pytest.approx(float(expected)), done.stderr


def test_weights_that_somebody_holds_are_read_at_once(waiting, net):
    other, path = waiting
    held = other.params["score"][0].data
    held[...] = 0
    other.copy_from(str(path))
    np.testing.assert_array_equal(held, net.params["score"][0].data)


def test_a_file_that_is_replaced_or_saved_over_keeps_the_weights_that_were_loaded(waiting, net):
    other, path = waiting
    before = net.params["conv"][0].data.copy()
    net.params["conv"][0].data[...] = 0
    net.save(str(path))
    np.testing.assert_array_equal(other.params["conv"][0].data, before)
    again = waiting[0]
    again.copy_from(str(path))
    again.save(str(path))
    again.copy_from(str(path))
    assert same_weights(net, again)


def test_threads_that_need_weights_at_once_read_them_once(waiting, net, tmp_path):
    other, _ = waiting
    seen = []
    threads = [
        threading.Thread(target=lambda: seen.append(other.params["conv"][0].values.tensor()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tensor.data_ptr() for tensor in seen}) == 1


def test_a_file_that_is_changed_before_its_weights_are_read_is_refused(waiting):
    other, path = waiting
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(CaffeError, match=r"w\.caffemodel: was changed before its weights were"):
        other.forward()


def test_a_file_is_open_only_until_its_weights_are_read(waiting):
    other, path = waiting
    assert str(path) in open_files()
    other.forward()
    assert str(path) not in open_files()


def open_files():
    return {os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")}
