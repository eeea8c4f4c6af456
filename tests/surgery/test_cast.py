from __future__ import annotations

import errno
import functools
import os

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2

import net_gen
import surgery
from fcn_common.caffemodel import complete_model, complete_state
from solvers import chain
from surgery.cast import read_net
from tests import tiny

CLASSES = 10


def convolutional(path, pad, fc6_pad=0):
    """A deploy net: the FCN's trunk with conv1_1 padded by `pad`, and fc8 as a convolution."""
    net = net_gen.fcn("voc-fcn32s", "deploy", width=tiny.WIDTH)
    names = [layer.name for layer in net.layer]
    del net.layer[names.index("score_fr") :]
    score = net.layer.add(name="fc8", type="Convolution", bottom=["fc7"], top=["fc8"])
    score.convolution_param.num_output = CLASSES
    score.convolution_param.kernel_size.append(1)
    by_name = {layer.name: layer.convolution_param for layer in net.layer}
    by_name["conv1_1"].pad[:] = [pad]
    by_name["fc6"].pad[:] = [fc6_pad]
    net_gen.write(net, path)
    return str(path)


def scores(prototxt, weights, image, blob):
    net = caffe.Net(prototxt, weights, caffe.TEST)
    net.blobs["data"].reshape(*image.shape)
    net.reshape()
    net.blobs["data"].data[...] = image
    net.forward()
    return np.array(net.blobs[blob].data)


@pytest.mark.parametrize(("size", "fc6_pad"), [(224, 0), (96, 2)])
def test_a_cast_net_on_the_classifiers_own_size_gives_its_scores(tmp_path, size, fc6_pad):
    prototxt, weights = tiny.classifier(str(tmp_path), size, CLASSES)
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=1, fc6_pad=fc6_pad)
    out = str(tmp_path / "cast.caffemodel")
    report = surgery.cast(prototxt, weights, deploy, out)
    assert report.coerced == ["fc6", "fc7", "fc8"] and not report.dropped and not report.unfilled
    image = np.random.RandomState(0).uniform(-100, 100, (1, 3, size, size)).astype(np.float32)
    expected = scores(prototxt, weights, image, "fc8").reshape(1, CLASSES, 1, 1)
    actual = scores(deploy, out, image, "fc8")
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_cast_net_on_a_larger_image_scores_every_window(tmp_path):
    """Away from the border, shifting the image by 32 pixels shifts the map by a position."""
    prototxt, weights = tiny.classifier(str(tmp_path), 224, CLASSES)
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=1)
    out = str(tmp_path / "cast.caffemodel")
    surgery.cast(prototxt, weights, deploy, out)
    image = np.random.RandomState(0).uniform(-100, 100, (1, 3, 320, 320)).astype(np.float32)
    assert scores(deploy, out, image, "fc8").shape == (1, CLASSES, 4, 4)
    shifted = np.roll(image, (32, 32), (2, 3))
    still, moved = (scores(deploy, out, x, "pool5") for x in (image, shifted))
    inside = still[:, :, 3:6, 3:6], moved[:, :, 4:7, 4:7]
    assert np.abs(inside[0] - inside[1]).max() <= 1e-5 * np.abs(inside[0]).max()


def test_padding_by_100_gives_every_image_a_score_but_not_that_of_the_classifier(tmp_path):
    """A padding of 100 moves the grid of windows by 99 pixels, which is not a multiple of 32."""
    prototxt, weights = tiny.classifier(str(tmp_path), 224, CLASSES)
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=100)
    out = str(tmp_path / "cast.caffemodel")
    surgery.cast(prototxt, weights, deploy, out)
    image = np.random.RandomState(0).uniform(-100, 100, (1, 3, 224, 224)).astype(np.float32)
    actual = scores(deploy, out, image, "fc8")
    assert actual.shape == (1, CLASSES, 8, 8)
    expected = scores(prototxt, weights, image, "fc8").reshape(1, CLASSES, 1, 1)
    assert np.abs(actual - expected).max((1,)).min() > 1e-3 * np.abs(expected).max()
    assert scores(deploy, out, image[:, :, :16, :16], "fc8").shape == (1, CLASSES, 1, 1)


def test_a_classifier_without_a_name_is_recognised_by_its_layers(tmp_path, monkeypatch):
    weights = tiny.classifier(str(tmp_path), 224, CLASSES)[1]
    thin = functools.partial(net_gen.vgg16, width=tiny.WIDTH)
    monkeypatch.setitem(net_gen.CLASSIFIERS, "vgg16", thin)
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=100)
    out = str(tmp_path / "nets" / "cast.caffemodel")
    surgery.cast(None, weights, deploy, out)
    assert os.listdir(tmp_path / "nets") == ["cast.caffemodel"]
    kernel = caffe.Net(deploy, out, caffe.TEST).params["fc6"][0].data
    fc6 = caffe.Net(str(tmp_path / "vgg16.prototxt"), weights, caffe.TEST).params["fc6"][0].data
    assert np.array_equal(kernel.ravel(), fc6.ravel())


def random_classifier(folder, name, classes=CLASSES, **arguments):
    """A classifier of random weights at 1/16 of the width: its prototxt and caffemodel."""
    prototxt, weights = (str(folder / f"{name}.{end}") for end in ("prototxt", "caffemodel"))
    net = net_gen.CLASSIFIERS[name]("deploy", classes, 1 / 16, **arguments)
    net_gen.write(chain.with_fillers(net, "msra"), prototxt)
    chain.random_weights(prototxt, weights)
    return prototxt, weights


@pytest.mark.parametrize("trunk", surgery.BASES)
@pytest.mark.parametrize("size", [None, 96])
def test_a_trunk_gets_all_layers_of_its_classifier_but_the_scores(tmp_path, trunk, size):
    base = surgery.BASES[trunk]
    prototxt, weights = random_classifier(
        tmp_path, base.classifier, **({"size": size} if size else {})
    )
    deploy, out = str(tmp_path / "deploy.prototxt"), str(tmp_path / "out.caffemodel")
    net_gen.write(net_gen.fcn(base.variant, "deploy", width=1 / 16), deploy)
    report = surgery.cast(prototxt, weights, deploy, out)
    last = "loss3/classifier" if trunk == "googlenet" else "fc8"
    assert report.dropped == [last] and report.unfilled == ["score_fr", "upscore"]
    assert report.coerced == ([] if trunk == "googlenet" else ["fc6", "fc7"])
    net, cast = caffe.Net(prototxt, weights, caffe.TEST), caffe.Net(deploy, out, caffe.TEST)
    for name, blobs in net.params.items():
        if name != last:
            old, new = blobs[0].data, cast.params[name][0].data
            assert np.array_equal(new[new != 0], old[old != 0].ravel()), name


@pytest.mark.parametrize("name", net_gen.CLASSIFIERS)
def test_a_cast_classifier_scores_its_own_size_as_before_and_larger_images_everywhere(
    tmp_path, name
):
    prototxt, weights = random_classifier(tmp_path, name)
    out = str(tmp_path / "whole.caffemodel")
    report = surgery.cast(prototxt, weights, None, out)
    assert not report.dropped and not report.unfilled
    deploy = str(tmp_path / "whole.prototxt")
    last = report.coerced[-1]
    assert last == ("loss3/classifier" if name == "googlenet" else "fc8")
    size = net_gen.CLASSIFIERS[name]("deploy").layer[0].input_param.shape[0].dim[2]
    image = np.random.RandomState(0).uniform(-100, 100, (1, 3, size, size)).astype(np.float32)
    expected = scores(prototxt, weights, image, last)
    actual = scores(deploy, out, image, last)
    assert actual.shape == (1, CLASSES, 1, 1)
    assert np.abs(actual.reshape(1, -1) - expected).max() <= 1e-5 * np.abs(expected).max()
    larger = np.zeros((1, 3, size + 64, size + 96), np.float32)
    assert scores(deploy, out, larger, last).shape == (1, CLASSES, 3, 4)


def test_a_named_classifier_has_as_many_classes_as_its_weights(tmp_path, monkeypatch):
    weights = random_classifier(tmp_path, "googlenet", 7)[1]
    thin = functools.partial(net_gen.googlenet, width=1 / 16)
    monkeypatch.setitem(net_gen.CLASSIFIERS, "googlenet", thin)
    out = str(tmp_path / "whole.caffemodel")
    surgery.cast("googlenet", weights, None, out)
    net = caffe.Net(str(tmp_path / "whole.prototxt"), out, caffe.TEST)
    assert net.blobs["prob"].data.shape == (1, 7, 1, 1)


def test_alexnet_and_caffenet_cannot_be_distinguished_by_their_layers(tmp_path):
    weights = random_classifier(tmp_path, "caffenet")[1]
    assert surgery.classifiers_of(weights) == ["alexnet", "caffenet"]
    with pytest.raises(ValueError, match="the layers of alexnet and of caffenet.*name the class"):
        surgery.cast(None, weights, None, str(tmp_path / "out.caffemodel"))


def test_weights_of_an_unknown_classifier_are_refused(tmp_path):
    net = caffe_pb2.NetParameter()
    net.layer.add(name="res2a").blobs.add(data=[1.0]).shape.dim.append(1)
    path = tmp_path / "resnet.caffemodel"
    path.write_bytes(net.SerializeToString())
    with pytest.raises(ValueError) as refusal:
        surgery.cast(None, str(path), None, str(tmp_path / "out.caffemodel"))
    assert str(refusal.value) == (
        f"{path}: has layers res2a, needs those of one of vgg16, alexnet, caffenet, googlenet; "
        "name the prototxt of this classifier"
    )


def test_the_program_needs_all_files_for_a_classifier_that_is_not_a_trunk(tmp_path, program):
    result = program("-m", "surgery", "net.prototxt", "net.caffemodel", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == (
        "error: classifier net.prototxt: is not a trunk (vgg16, alexnet, googlenet), needs "
        "WEIGHTS, DEPLOY and OUT too\n"
    )


@pytest.mark.parametrize("content", [b"layer {", b"\xa2\xff", b"layer { nonsense: 1 }"])
def test_an_error_of_reading_a_prototxt_names_the_file(tmp_path, content):
    path = tmp_path / "net.prototxt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{path}: "):
        read_net(str(path))


def test_an_error_of_writing_names_the_weights_that_were_to_be_written(tmp_path, monkeypatch):
    def save(net, path):
        raise RuntimeError(f"{path}: cannot be written: No space left on device")

    prototxt, weights = random_classifier(tmp_path, "alexnet")
    monkeypatch.setattr(caffe.Net, "save", save)
    out = tmp_path / "out.caffemodel"
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match=rf"^{out}: cannot be written: No space left on device$"):
        surgery.cast(prototxt, weights, None, str(out))
    assert sorted(tmp_path.iterdir()) == before  # no prototxt without its weights


def test_an_error_of_writing_the_prototxt_of_a_complete_cast_names_it(tmp_path, monkeypatch):
    def write(message, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    prototxt, weights = random_classifier(tmp_path, "alexnet")
    monkeypatch.setattr(net_gen, "write", write)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space left on device") as error:
        surgery.cast(prototxt, weights, None, str(tmp_path / "out.caffemodel"))
    assert error.value.filename == str(tmp_path / "out.prototxt")
    assert sorted(tmp_path.iterdir()) == before


def test_the_program_casts_a_complete_classifier_and_prints_the_paths(tmp_path, program):
    prototxt, weights = random_classifier(tmp_path, "googlenet")
    result = program("-m", "surgery", prototxt, weights, tmp_path / "out.caffemodel", "--whole")
    assert result.returncode == 0, result.stderr
    assert "into convolutions throughout" in result.stdout
    assert "coerced: loss3/classifier" in result.stdout
    assert f"wrote {tmp_path}/out.prototxt\nwrote {tmp_path}/out.caffemodel" in result.stdout


def test_contents_gives_the_layers_and_their_shapes(tmp_path):
    weights = tiny.classifier(str(tmp_path), 64, CLASSES)[1]
    shapes = surgery.contents(weights)
    assert list(shapes)[:2] == ["conv1_1", "conv1_2"]
    assert shapes["conv1_1"] == [(4, 3, 3, 3), (4,)]
    assert shapes["fc6"] == [(256, 32 * 2 * 2), (256,)]


def test_contents_reads_the_old_format(tmp_path):
    net = caffe_pb2.NetParameter()
    layer = net.layers.add(name="fc6")
    layer.blobs.add(num=1, channels=1, height=3, width=4, data=[0.0] * 12)
    path = tmp_path / "old.caffemodel"
    path.write_bytes(net.SerializeToString())
    assert surgery.contents(str(path)) == {"fc6": [(1, 1, 3, 4)]}


def test_a_file_truncated_anywhere_is_not_complete(tmp_path):
    weights = tiny.classifier(str(tmp_path), 64, CLASSES)[1]
    with open(weights, "rb") as file:
        content = file.read()
    assert complete_model(weights) and not complete_state(weights)
    part = tmp_path / "part.caffemodel"
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        part.write_bytes(content[:length])
        assert not complete_model(str(part))
    part.write_bytes(b"<html>404 Not Found</html>")
    assert not complete_model(str(part))


def test_the_program_refuses_a_truncated_file(tmp_path, program):
    prototxt, weights = tiny.classifier(str(tmp_path), 64, CLASSES)
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=100)
    with open(weights, "r+b") as file:
        file.truncate(1000)
    before = sorted(os.listdir(tmp_path))
    result = program("-m", "surgery", prototxt, weights, deploy, tmp_path / "out.caffemodel")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1, result.stderr
    assert weights in result.stderr and "truncated, or not a .caffemodel" in result.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_the_program_refuses_the_weights_of_another_net(tmp_path, program):
    prototxt, _ = tiny.classifier(str(tmp_path / "a"), 64, CLASSES)
    _, weights = tiny.classifier(str(tmp_path / "b"), 96, CLASSES)
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=100)
    result = program("-m", "surgery", prototxt, weights, deploy, tmp_path / "out.caffemodel")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1, result.stderr
    assert "layer fc6, blob 0: found 256 x 288, this net needs 256 x 128" in result.stderr
    assert not (tmp_path / "out.caffemodel").exists()


def test_a_net_without_a_layer_of_the_classifier_is_refused(tmp_path):
    prototxt, weights = tiny.classifier(str(tmp_path), 64, CLASSES)
    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text(
        "input: 'data' input_shape { dim: 1 dim: 3 dim: 9 dim: 9 } layer { name: 'other' "
        "type: 'Convolution' bottom: 'data' top: 'a' "
        "convolution_param { num_output: 1 kernel_size: 1 } }"
    )
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ValueError, match="has layers other, needs some with the names of the"):
        surgery.cast(prototxt, weights, str(deploy), str(tmp_path / "out.caffemodel"))
    assert sorted(os.listdir(tmp_path)) == before


def test_the_program_names_a_missing_file(tmp_path, program):
    result = program("-m", "surgery", tmp_path / "no.prototxt", "w", "d", "o", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == (
        f"error: {tmp_path}/no.prototxt: no such file; it is needed to cast the classifier\n"
    )


def test_the_program_casts_and_prints_what_became_of_each_layer(tmp_path, program):
    prototxt, weights = tiny.classifier(str(tmp_path), 64, CLASSES)
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=100)
    result = program("-m", "surgery", prototxt, weights, deploy, tmp_path / "out.caffemodel")
    assert result.returncode == 0, result.stderr
    assert "coerced: fc6, fc7, fc8" in result.stdout
    assert "conv1_1" in surgery.contents(str(tmp_path / "out.caffemodel"))
