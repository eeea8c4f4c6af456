"""A run starts from any weights, and the report says what became of each layer."""

import os

import caffe
import numpy as np
import pytest

import net_gen
import surgery
from fcn_data import published
from solvers import first_weights, stage
from solvers.caffe_solver import copy_weights
from solvers.first_weights import mean_of_weights, resolve_weights, write_first_weights
from solvers.train_options import Options
from surgery.__main__ import main as surgery_main
from tests.fcn_data import own_folders

OPTIONS = Options(variant="voc-fcn32s", width="1/32", single=True)


@pytest.fixture
def source(tmp_path):
    """A trained FCN-32s for 21 classes: a net and the path of its weights."""
    path = tmp_path / "source.prototxt"
    net_gen.write(net_gen.fcn("voc-fcn32s", "deploy", width=1 / 32), path)
    net = caffe.Net(str(path), caffe.TEST)
    for k, blobs in enumerate(net.params.values()):
        blobs[0].data[...] = 0.01 * (k + 1)
    weights = str(tmp_path / "source.caffemodel")
    net.save(weights)
    net.save_hdf5(weights + ".h5")
    return net, weights


@pytest.fixture
def deploy(tmp_path):
    """The prototxt of an FCN-32s for 3 classes."""
    path = tmp_path / "deploy.prototxt"
    net_gen.write(net_gen.fcn("voc-fcn32s", "deploy", width=1 / 32, classes=3), path)
    return str(path)


def params(deploy, weights):
    net = caffe.Net(deploy, str(weights), caffe.TEST)
    return {name: np.array(blobs[0].data) for name, blobs in net.params.items()}


@pytest.mark.parametrize("suffix", ["", ".h5"])
def test_weights_of_another_class_count_fill_the_trunk(tmp_path, source, deploy, suffix):
    net, weights = source
    options = OPTIONS._replace(weights=weights + suffix)
    assert write_first_weights(str(tmp_path), deploy, options) == weights + suffix
    values = params(deploy, tmp_path / "base.caffemodel")
    for name in ("conv1_1", "conv5_3", "fc7"):
        assert np.array_equal(values[name], net.params[name][0].data)
    assert not values["score_fr"].any()
    assert np.array_equal(values["upscore"][0, 0], surgery.bilinear(64))
    report = (tmp_path / "base.txt").read_text()
    assert "new: score_fr (21 x 128 x 1 x 1, needs 3 x 128 x 1 x 1), upscore" in report


def test_only_the_named_layers_are_copied(tmp_path, source, deploy):
    options = OPTIONS._replace(weights=source[1], layers="conv[12]_*,fc7")
    write_first_weights(str(tmp_path), deploy, options)
    report = (tmp_path / "base.txt").read_text().splitlines()
    assert report[1] == "copied: conv1_1, conv1_2, conv2_1, conv2_2, fc7"
    assert "conv3_1 (not chosen)" in report[2]


def test_truncated_hdf5_weights_are_refused(tmp_path, source, deploy):
    path = source[1] + ".h5"
    with open(path, "rb+") as file:
        file.truncate(2000)
    with pytest.raises(ValueError, match=r"source.caffemodel.h5: truncated, or not Caffe's HDF5"):
        write_first_weights(str(tmp_path), deploy, OPTIONS._replace(weights=path))


def test_the_command_line_of_surgery_adapts_any_weights(tmp_path, source, deploy, capsys):
    out = str(tmp_path / "out.caffemodel")
    surgery_main(["adapt", source[1], deploy, out, "--layers", "conv*"])
    assert "new: fc6 (not chosen), fc7 (not chosen), score_fr" in capsys.readouterr().out
    assert np.array_equal(params(deploy, out)["conv4_2"], source[0].params["conv4_2"][0].data)


def test_published_weights_are_named_and_fetched(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(published, "ROOT", str(tmp_path))

    def fetch(name):
        fetched.append(name)
        path = tmp_path / published.PUBLISHED[name].target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")

    monkeypatch.setattr(first_weights.published, "fetch", fetch)
    for name, file in (("voc-fcn8s", "fcn8s-heavy-pascal.caffemodel"), ("vgg16", "VGG_ILSVRC")):
        weights = resolve_weights(Options(weights=name)).weights
        assert os.path.basename(weights).startswith(file)
    assert fetched == ["fcn8s", "vgg16"]
    with pytest.raises(OSError, match=r"sbd: no such file; "):
        resolve_weights(Options(weights="sbd"))


def test_a_narrow_net_starts_from_random_numbers_and_weights_without_a_run_have_no_mean(source):
    assert resolve_weights(OPTIONS).weights == "random"
    assert resolve_weights(Options()).weights == ""
    assert mean_of_weights(source[1]) is None


def test_layers_that_start_from_their_fillers_are_named(tmp_path, source, capsys):
    message = net_gen.fcn("voc-fcn8s-atonce", "deploy", width=1 / 32)
    for layer in message.layer:
        if layer.name in ("fc6", "fc7"):
            layer.name += "_new"
            layer.convolution_param.weight_filler.type = "msra"
    net_gen.write(message, tmp_path / "net.prototxt")
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    copy_weights(net, source[1])
    assert "warning: layers fc6_new, fc7_new are not in the weights" in capsys.readouterr().out


def test_a_stage_starts_from_weights_of_another_class_count(tmp_path, source, capsys):
    data = own_folders.write(tmp_path / "voc", "voc", 2)
    os.rename(
        os.path.join(data, "ImageSets", "Segmentation", "val.txt"),
        os.path.join(data, "ImageSets", "Segmentation", "seg11valid.txt"),
    )
    own_folders.write(tmp_path / "sbd", "sbd", 2, names=["a", "b"])
    (tmp_path / "sbd" / "train.txt").write_text("a\n")
    folder = tmp_path / "voc-fcn32s"
    arguments = {"sbdd_dir": str(tmp_path / "sbd"), "voc_dir": data, "classes": 3}
    fields = {"max_iter": 1, "test_iter": [1]}
    net_gen.generate("voc-fcn32s", folder, fields, width=1 / 32, **arguments)
    stage.run(str(folder), source[1], gpu="cpu")
    assert "layers made anew: score_fr, upscore, all others are copied" in capsys.readouterr().out
    trained = params(str(folder / "deploy.prototxt"), folder / "snapshot/train_iter_1.caffemodel")
    assert trained["score_fr"].shape[0] == 3
    assert np.allclose(trained["conv2_1"], source[0].params["conv2_1"][0].data, atol=1e-5)


def test_weights_that_cannot_be_fetched_name_what_else_to_start_from(tmp_path, monkeypatch):
    def fetch(name):
        raise OSError(f"{name}: no network")

    monkeypatch.setattr(first_weights.published, "fetch", fetch)
    monkeypatch.setattr(published, "ROOT", str(tmp_path))
    with pytest.raises(OSError, match=r"vgg16: no network\nor start without vgg16: .*--width 1/8"):
        resolve_weights(Options(weights="vgg16"))
