"""Large weights stay in their file until they are needed."""

import os
import threading

import caffe
import numpy as np
import pytest
import torch
from caffe import CaffeError, wire
from caffe.errors import FileError
from caffe.native import library

from tests.engine.nets import SCORER, build, same_weights
from tests.engine.test_precision import full_again as full_again


@pytest.fixture
def net(tmp_path):
    caffe.set_random_seed(1)
    return build(tmp_path, SCORER)


@pytest.fixture
def lazy(tmp_path, net, monkeypatch):
    """A net whose weights are read when they are first needed, and their file."""
    monkeypatch.setattr("caffe.lazy.LARGE", 1)
    path = tmp_path / "w.caffemodel"
    net.save(str(path))
    return build(tmp_path, SCORER, weights=str(path)), path


def open_files():
    return {os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")}


def test_several_threads_read_the_same_weights_as_one(tmp_path, net, monkeypatch):
    monkeypatch.setattr("caffe.lazy.PIECE", 16)
    net.save(str(tmp_path / "w.caffemodel"))
    other = build(tmp_path, SCORER, weights=str(tmp_path / "w.caffemodel"))
    assert same_weights(net, other)


def test_weights_stay_when_their_file_is_overwritten_or_truncated(tmp_path, net):
    path = tmp_path / "w.caffemodel"
    net.save(str(path))
    other = build(tmp_path, SCORER, weights=str(path))
    path.write_bytes(bytes(path.stat().st_size))
    path.write_bytes(b"")
    assert same_weights(net, other)


def test_large_weights_are_read_when_they_are_first_needed(lazy, net, tmp_path):
    other, path = lazy
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
def test_a_lower_precision_is_read_from_the_file_and_leaves_float32_there(
    lazy, net, monkeypatch, piece
):
    monkeypatch.setattr("caffe.lazy.PIECE", piece)
    other, path = lazy
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


@pytest.mark.parametrize("count", [1, 16, 1000])
def test_the_library_rounds_to_bfloat16_as_pytorch_does(count):
    native = library.load()
    if native is None:
        pytest.skip("the C library is not compiled")
    bits = np.random.RandomState(count).randint(0, 2**32, count, np.uint32)
    special = [
        0,
        1 << 31,
        0x7F800000,
        0xFF800000,
        0x7FC00000,
        0x7F7FFFFF,
        1,
        0x3F808000,
        0x3F818000,
    ]
    bits = np.append(bits, np.array(special, np.uint32))
    values = torch.from_numpy(bits.view(np.float32))
    rounded = torch.zeros(len(values) + 1, dtype=torch.bfloat16)
    native.round(values.data_ptr(), rounded.data_ptr(), len(values))
    torch.testing.assert_close(rounded[:-1], values.bfloat16(), rtol=0, atol=0, equal_nan=True)
    assert rounded[-1] == 0


def test_weights_that_are_still_in_their_file_can_be_written_to(lazy, net):
    other, _ = lazy
    other.params["conv"][0].data[0] = 5
    assert (other.params["conv"][0].data[0] == 5).all()
    np.testing.assert_array_equal(other.params["conv"][0].data[1], net.params["conv"][0].data[1])


def test_weights_can_be_read_while_the_interpreter_ends(lazy, program):
    _, path = lazy
    code = f"""
import atexit, caffe, caffe.lazy
caffe.lazy.LARGE = caffe.lazy.PIECE = 1
net = caffe.Net({os.path.join(path.parent, "net.prototxt")!r}, caffe.TEST, weights={str(path)!r})
atexit.register(lambda: print(net.params["conv"][0].data.sum()))
"""
    result = program("-c", code, PREFORK_END="complete")
    expected = lazy[0].params["conv"][0].data.sum()
    assert float(result.stdout) == pytest.approx(float(expected)), result.stderr


def test_weights_are_read_without_threads_where_no_thread_can_start(lazy, net, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("caffe.lazy.PIECE", 16)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert same_weights(net, lazy[0])


def test_an_error_in_a_reading_thread_reaches_the_caller(lazy, monkeypatch):
    def fail(*args):
        raise RuntimeError("unexpected")

    monkeypatch.setattr("caffe.lazy.PIECE", 16)
    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(RuntimeError, match="unexpected"):
        lazy[0].forward()


def test_a_reading_thread_without_memory_is_an_error_that_names_the_file(lazy, monkeypatch):
    empty = np.empty

    def fail_in_threads(*args, **options):
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError
        return empty(*args, **options)

    monkeypatch.setattr("caffe.lazy.PIECE", 16)
    monkeypatch.setattr(np, "empty", fail_in_threads)
    values = lazy[0].params["conv"][0].values
    with pytest.raises(FileError, match=r"w\.caffemodel: no memory for 108 of its values"):
        values.rounded(torch.bfloat16)


def test_weights_larger_than_the_memory_are_an_error_that_names_file_and_size(tmp_path, program):
    values = np.zeros(2**26, np.float32)
    blob = [*wire.delimited(7, wire.packed(1, values.shape)), *wire.delimited(5, [values])]
    layer = [*wire.delimited(1, [b"large"]), *wire.delimited(7, blob)]
    *head, values = wire.delimited(100, layer)
    path = tmp_path / "large.caffemodel"
    with open(path, "wb") as file:  # The values are a hole in the file.
        file.write(b"".join(head))
        file.truncate(file.tell() + values.nbytes)
    code = f"""
import resource, caffe
from caffe.blob import Blob
(_, stored), = caffe.weights.read_net({str(path)!r})
blob = Blob(stored[0].shape)
stored[0].copy_to(blob)
assert blob.values.is_deferred()
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 2**27
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    blob.data
except caffe.CaffeError as error:
    print(type(error).__name__, error)
"""
    result = program("-c", code)
    message = f"FileError {path}: no memory for 67108864 of its values (256 MB); "
    assert result.stdout.startswith(message), result.stderr


def test_values_that_are_held_as_an_array_are_read_at_once(lazy, net):
    other, path = lazy
    array = other.params["score"][0].data
    array[...] = 0
    other.copy_from(str(path))
    np.testing.assert_array_equal(array, net.params["score"][0].data)


def test_a_file_that_is_replaced_or_saved_over_keeps_the_loaded_weights(lazy, net):
    other, path = lazy
    before = net.params["conv"][0].data.copy()
    net.params["conv"][0].data[...] = 0
    net.save(str(path))
    np.testing.assert_array_equal(other.params["conv"][0].data, before)
    other.copy_from(str(path))
    other.save(str(path))
    other.copy_from(str(path))
    assert same_weights(net, other)


def test_threads_that_need_the_same_weights_read_them_once(lazy):
    other, _ = lazy
    tensors = []
    threads = [
        threading.Thread(target=lambda: tensors.append(other.params["conv"][0].values.tensor()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tensor.data_ptr() for tensor in tensors}) == 1


def test_a_file_that_changes_before_its_weights_are_read_is_refused(lazy):
    other, path = lazy
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(CaffeError, match=r"w\.caffemodel: was changed before its weights were"):
        other.forward()


def test_a_file_is_closed_when_its_weights_have_been_read(lazy):
    other, path = lazy
    assert str(path) in open_files()
    other.forward()
    assert str(path) not in open_files()
