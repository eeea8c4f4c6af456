"""Weights as safetensors and back: `caffe.tools.tensors` and `caffe export --to safetensors`."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
import torch
from caffe import layers as L
from caffe import weights
from caffe.errors import FileError
from caffe.proto import caffe_pb2
from caffe.tools import export, tensors

safetensors_numpy = pytest.importorskip("safetensors.numpy")
FILL = {"type": "gaussian", "std": 0.5}


@pytest.fixture
def model(tmp_path):
    """The path of a .caffemodel of a convolution, a normalization and a product."""
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [2, 3, 5, 5]})
    n["a/3x3"] = L.Convolution(n.data, num_output=4, kernel_size=3, weight_filler=FILL)
    n.b = L.BatchNorm(n["a/3x3"], in_place=True)
    n.c = L.InnerProduct(n.b, num_output=2, weight_filler=FILL, param=[{"lr_mult": 0.1}])
    path = tmp_path / "net.prototxt"
    path.write_text('name: "small"\n' + str(n.to_proto()))
    net = caffe.Net(str(path), caffe.TEST)
    net.save(str(tmp_path / "w.caffemodel"))
    return tmp_path / "w.caffemodel"


def test_a_parameter_is_the_tensor_of_its_layer_and_index(model):
    out = model.with_suffix(".safetensors")
    assert tensors.to_safetensors(str(model), str(out)) == 7
    values = safetensors_numpy.load_file(str(out))
    assert {name: array.shape for name, array in values.items()} == {
        "a/3x3/0": (4, 3, 3, 3),
        "a/3x3/1": (4,),
        "b/0": (4,),
        "b/1": (4,),
        "b/2": (1,),
        "c/0": (2, 36),
        "c/1": (2,),
    }


def test_the_way_back_gives_the_file_byte_for_byte(model, tmp_path):
    middle, back = tmp_path / "w.safetensors", tmp_path / "back.caffemodel"
    assert export.main(["--weights", str(model), "--to", "safetensors"]) == 0
    assert export.main(["--from", str(middle), "--to", "caffemodel", "--out", str(back)]) == 0
    assert back.read_bytes() == model.read_bytes()


@pytest.mark.parametrize("kind", ["safetensors", "caffemodel"])
def test_missing_folders_of_the_weights_are_created(model, tmp_path, kind):
    source = ["--weights", str(model)]
    if kind == "caffemodel":
        assert export.main([*source, "--to", "safetensors"]) == 0
        source = ["--from", str(tmp_path / "w.safetensors")]
    out = tmp_path / "a" / "b" / f"w.{kind}"
    assert export.main([*source, "--to", kind, "--out", str(out)]) == 0
    assert out.is_file()


def test_a_folder_that_cannot_be_created_is_refused_in_one_line(model, capsys):
    out = model / "w.safetensors"  # `model` is a file
    assert export.main(["--weights", str(model), "--to", "safetensors", "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert (
        error.startswith(f"error: {out}: cannot be written: Not a directory")
        and error.count("\n") == 1
    )


def test_old_shapes_and_double_values_come_back_as_they_were(tmp_path):
    net = caffe_pb2.NetParameter(name="old")
    layer = net.layer.add(name="fc", type="InnerProduct")
    layer.blobs.add(num=1, channels=1, height=2, width=3, data=[1.5, -2, 3, 0, 5, 6])
    layer.blobs.add(shape={"dim": [2]}, double_data=[0.1, 0.2])
    path, middle, back = (str(tmp_path / n) for n in ("w.caffemodel", "w.safetensors", "b"))
    (tmp_path / "w.caffemodel").write_bytes(net.SerializeToString())
    tensors.to_safetensors(path, middle)
    assert safetensors_numpy.load_file(middle)["fc/1"].dtype == np.float64
    tensors.to_caffemodel(middle, back)
    returned = caffe_pb2.NetParameter.FromString((tmp_path / "b").read_bytes())
    assert returned == net
    ((_, blobs),) = weights.read_net(back)
    assert blobs[0].legacy and blobs[0].shape == (1, 1, 2, 3)


def test_hdf5_weights_and_those_of_the_first_caffes_keep_names_and_values(model, tmp_path):
    # In HDF5, a slash in the name of a layer makes a group of its own.
    path = tmp_path / "plain.prototxt"
    path.write_text((tmp_path / "net.prototxt").read_text().replace("a/3x3", "a"))
    caffe.Net(str(path), caffe.TEST).save_hdf5(str(tmp_path / "w.h5"))
    first = caffe_pb2.NetParameter()
    blob = first.layers.add(name="c", type=caffe_pb2.V1LayerParameter.INNER_PRODUCT).blobs.add()
    blob.num = blob.channels = blob.height = 1
    blob.width = 72
    blob.data.extend(range(72))
    (tmp_path / "v1.caffemodel").write_bytes(first.SerializeToString())
    for name, count in (("w.h5", 7), ("v1.caffemodel", 1)):
        middle, back = str(tmp_path / "m.safetensors"), str(tmp_path / "m.caffemodel")
        assert tensors.to_safetensors(str(tmp_path / name), middle) == count
        tensors.to_caffemodel(middle, back)
        before = dict(weights.read_net(str(tmp_path / name)))
        after = dict(weights.read_net(back))
        stored = {layer: blobs for layer, blobs in before.items() if blobs}
        assert set(stored) == {layer for layer, blobs in after.items() if blobs}
        for layer, blobs in stored.items():
            for index, values in blobs.items():
                assert after[layer][index].shape == values.shape
                assert np.array_equal(after[layer][index].data, np.ravel(values.data))


def test_tensors_of_other_programs_become_weights_that_a_net_reads(model, tmp_path):
    values = {"c/0": np.ones((2, 36), np.float16), "c/1": np.arange(2, dtype=np.float32)}
    safetensors_numpy.save_file(values, str(tmp_path / "o.safetensors"))
    tensors.to_caffemodel(str(tmp_path / "o.safetensors"), str(tmp_path / "o.caffemodel"))
    net = caffe.Net(
        str(tmp_path / "net.prototxt"), caffe.TEST, weights=str(tmp_path / "o.caffemodel")
    )
    assert (net.params["c"][0].data == 1).all()
    assert net.params["c"][1].data.tolist() == [0, 1]


def test_a_state_dict_becomes_safetensors_under_its_names(tmp_path, capsys):
    state = {"features.0.weight": torch.arange(6.0).reshape(2, 3).half(), "epoch": 3}
    torch.save({"state_dict": state}, tmp_path / "s.pth")
    assert export.main(["--from", str(tmp_path / "s.pth"), "--to", "safetensors"]) == 0
    assert "1 tensors" in capsys.readouterr().out
    ((name, value),) = safetensors_numpy.load_file(str(tmp_path / "s.safetensors")).items()
    assert name == "features.0.weight" and value.tolist() == [[0, 1, 2], [3, 4, 5]]


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


def test_a_state_dict_that_would_run_a_program_is_refused(tmp_path, capsys):
    torch.save({"a": Harmful()}, tmp_path / "s.pth")
    assert export.main(["--from", str(tmp_path / "s.pth"), "--to", "safetensors"]) == 1
    printed = capsys.readouterr()
    assert "is not a PyTorch file of tensors alone" in printed.err and "run" not in printed.out
    assert not (tmp_path / "s.safetensors").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"features.0.weight": np.zeros(2, np.float32)}, "needs to be LAYER/INDEX"),
        ({"a/1": np.zeros(2, np.float32)}, r"layer 'a' has the blobs \[1\]; needs 0 to 0"),
    ],
)
def test_names_that_are_no_parameters_are_refused(content, message, tmp_path):
    path = tmp_path / "o.safetensors"
    safetensors_numpy.save_file(content, str(path))
    with pytest.raises(FileError, match=message):
        tensors.to_caffemodel(str(path), str(tmp_path / "o.caffemodel"))
    assert not (tmp_path / "o.caffemodel").exists()


def test_a_truncated_safetensors_file_is_refused(model, tmp_path):
    out = tmp_path / "w.safetensors"
    tensors.to_safetensors(str(model), str(out))
    out.write_bytes(out.read_bytes()[:-5])
    with pytest.raises(FileError, match="not a usable safetensors file"):
        tensors.to_caffemodel(str(out), str(tmp_path / "o.caffemodel"))


def test_a_file_is_not_written_over_the_one_that_is_read(model, capsys):
    same = ["--weights", str(model), "--to", "caffemodel", "--out", str(model)]
    assert export.main(same) == 1
    assert "name another file with --out" in capsys.readouterr().err
