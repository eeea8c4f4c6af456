"""What a writer accepts, its reader reads back: names, shapes and kinds of blobs."""

from __future__ import annotations

import string

import caffe
import h5py
import numpy as np
import pytest
from caffe import hdf5, weights
from caffe.blob import Blob
from caffe.errors import FileError
from caffe.io import array_to_blobproto
from caffe.proto import caffe_pb2
from caffe.records import LayerWeights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.nets import build

# The alphabet has what paths, escapes, texts and C strings treat in a special way.
NAMES = st.one_of(
    st.sampled_from(["", ".", "..", "/", "a/b", "a/0", "0", "a//b", "a/", "%2F", "é✓", "k" * 4096]),
    st.text(alphabet="ab0/.% \n\t\0é✓\\\"'", max_size=12),
    st.text(alphabet=string.printable, max_size=30),
)
SHAPES = st.lists(st.integers(0, 3), max_size=5)
CHECKS = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def layers(draw):
    """Layers with other names each, and parameters with values and gradients."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    parts = []
    for name in names:
        blobs = [Blob(shape) for shape in draw(st.lists(SHAPES, max_size=3))]
        for i, blob in enumerate(blobs):
            blob.data[...] = np.arange(blob.count).reshape(blob.shape) + i
            blob.diff[...] = -1 - i
        parts.append(LayerWeights(caffe_pb2.LayerParameter(name=name, type="Scale"), blobs))
    return parts


def check_layers(path, expected):
    stored = dict(weights.read_net(path))
    for layer in expected:
        # A group without blobs that holds other layers is a part of their names.
        blobs = stored.get(layer.param.name, {}) if not layer.blobs else stored[layer.param.name]
        assert len(blobs) == len(layer.blobs)
        for i, blob in enumerate(layer.blobs):
            assert blobs[i].shape == blob.shape
            assert np.array_equal(np.reshape(blobs[i].data, blob.shape), blob.data)
    assert set(stored) <= {layer.param.name for layer in expected}


@pytest.mark.parametrize("with_diff", [False, True])
@given(parts=layers())
@CHECKS
def test_weights_are_read_back_under_every_name(tmp_path, with_diff, parts):
    path = str(tmp_path / "net.caffemodel")
    weights.write_net(path, "net/é", parts, with_diff)
    check_layers(path, parts)
    hdf5.write_net(f"{path}.h5", parts, with_diff)
    check_layers(f"{path}.h5", parts)


@given(learned_net=NAMES.map(lambda name: name.replace("\0", "")), shapes=st.lists(SHAPES))
@CHECKS
def test_solver_states_are_read_back(tmp_path, learned_net, shapes):
    history = [Blob(shape) for shape in shapes]
    for i, blob in enumerate(history):
        blob.data[...] = i
    for module, path in ((weights, tmp_path / "s.solverstate"), (hdf5, tmp_path / "s.h5")):
        module.write_state(str(path), 7, learned_net, 2, history)
        state = weights.read_state(str(path))
        assert (state.iter, state.learned_net, state.current_step) == (7, learned_net, 2)
        assert [blob.shape for blob in state.history] == [blob.shape for blob in history]
        for stored, blob in zip(state.history, history):
            assert np.array_equal(np.reshape(stored.data, blob.shape), blob.data)


@given(shape=SHAPES, kind=st.sampled_from(["float32", "float64", "uint8"]))
@CHECKS
def test_means_and_arrays_are_read_back(tmp_path, shape, kind):
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(kind)
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(array_to_blobproto(values).SerializeToString())
    assert np.array_equal(weights.read_blob(path), values)


@given(rows=st.integers(1, 4), shape=st.lists(st.integers(1, 3), max_size=3), name=NAMES)
@CHECKS
def test_hdf5_data_reads_every_dataset_that_hdf5_output_or_h5py_writes(tmp_path, rows, shape, name):
    values = np.arange(rows * np.prod(shape, dtype=int)).reshape(rows, *shape)
    param = caffe_pb2.NetParameter()
    param.layer.add(name=name, type="HDF5Data", top=["x"]).hdf5_data_param.batch_size = rows
    param.layer[0].hdf5_data_param.source = str(tmp_path / "files")
    (tmp_path / "files").write_text(str(tmp_path / "rows.h5"))
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["x"] = values
    net = caffe.Net.from_param(param)
    assert np.array_equal(net.forward()["x"], values)


def test_a_snapshot_of_a_net_with_slashes_in_its_names_is_restored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(
        """layer { name: "data" type: "DummyData" top: "x"
          dummy_data_param { shape { dim: 2 dim: 3 } data_filler { type: "gaussian" } } }
        layer { name: "in/1x1/0" type: "InnerProduct" bottom: "x" top: "y"
          inner_product_param { num_output: 2 weight_filler { type: "gaussian" } } }
        layer { name: "in" type: "InnerProduct" bottom: "y" top: "z"
          inner_product_param { num_output: 1 weight_filler { type: "gaussian" } } }
        layer { name: "loss" type: "Reduction" bottom: "z" top: "loss" loss_weight: 1 }"""
    )
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 max_iter: 4 '
        'snapshot_prefix: "s" snapshot_format: HDF5'
    )
    first = caffe.get_solver("solver.prototxt")
    first.step(2)
    first.snapshot()
    second = caffe.get_solver("solver.prototxt")
    second.restore("s_iter_2.solverstate.h5")
    for name, blobs in first.net.params.items():
        for blob, other in zip(blobs, second.net.params[name]):
            assert np.array_equal(blob.data, other.data)
    for blob, other in zip(first.history, second.history):
        assert np.array_equal(blob.data, other.data)


def test_layers_of_one_name_are_refused_by_the_writer(tmp_path):
    parts = [LayerWeights(caffe_pb2.LayerParameter(name="a/b"), [Blob((1,))])] * 2
    with pytest.raises(FileError, match="two layers have the name 'a/b'"):
        hdf5.write_net(str(tmp_path / "x.h5"), parts)


def test_a_dataset_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("data/ip/0", shape=(1 << 14, 1 << 14), chunks=(64, 64), dtype="f4")
    with pytest.raises(FileError, match=r"'/data/ip/0' has the shape .* 0 bytes of its values"):
        weights.read_net(str(tmp_path / "x.h5"))
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file.create_dataset("data/ip/0", shape=(1 << 20, 1 << 20), chunks=(64, 64), dtype="f4")
    with pytest.raises(FileError, match="at most 2147483647 values"):
        weights.read_net(str(tmp_path / "y.h5"))


def test_links_and_groups_that_lead_into_themselves_are_refused(tmp_path):
    for number, link in enumerate((h5py.SoftLink("/data"), h5py.ExternalLink("z.h5", "/data"))):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file.create_group("data")["ip"] = link
        with pytest.raises(FileError, match="'ip' is a link to another place"):
            weights.read_net(str(tmp_path / f"{number}.h5"))
    with h5py.File(tmp_path / "loop.h5", "w") as file:
        file.create_group("data")["ip"] = file["/"]
    with pytest.raises(FileError, match="more than 64 deep"):
        weights.read_net(str(tmp_path / "loop.h5"))


def test_blobs_by_name_are_one_dict_as_in_pycaffe(tmp_path):
    net = build(tmp_path, 'layer { name: "x" type: "Input" top: "x" }')
    assert net.blobs is net.blobs and net.params is net.params
