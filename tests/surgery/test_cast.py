from __future__ import annotations

import os

import numpy as np
import pytest

import net_gen
import surgery
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
    import caffe

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
    found = scores(deploy, out, image, "fc8")
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_cast_net_on_a_larger_image_scores_every_window(tmp_path):
    """Away from the border one fc6 position sees what the classifier sees 32 pixels further."""
    prototxt, weights = tiny.classifier(str(tmp_path), 224, CLASSES)
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=1)
    out = str(tmp_path / "cast.caffemodel")
    surgery.cast(prototxt, weights, deploy, out)
    image = np.random.RandomState(0).uniform(-100, 100, (1, 3, 320, 320)).astype(np.float32)
    assert scores(deploy, out, image, "fc8").shape == (1, CLASSES, 4, 4)
    shifted = np.roll(image, (32, 32), (2, 3))
    whole, moved = (scores(deploy, out, x, "pool5") for x in (image, shifted))
    inside = whole[:, :, 3:6, 3:6], moved[:, :, 4:7, 4:7]
    assert np.abs(inside[0] - inside[1]).max() <= 1e-5 * np.abs(inside[0]).max()


def test_padding_by_100_gives_every_image_a_score_but_not_the_classifiers_own(tmp_path):
    """100 moves the grid of windows by 99 pixels, which is no multiple of 32."""
    prototxt, weights = tiny.classifier(str(tmp_path), 224, CLASSES)
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=100)
    out = str(tmp_path / "cast.caffemodel")
    surgery.cast(prototxt, weights, deploy, out)
    image = np.random.RandomState(0).uniform(-100, 100, (1, 3, 224, 224)).astype(np.float32)
    found = scores(deploy, out, image, "fc8")
    assert found.shape == (1, CLASSES, 8, 8)
    expected = scores(prototxt, weights, image, "fc8").reshape(1, CLASSES, 1, 1)
    assert np.abs(found - expected).max((1,)).min() > 1e-3 * np.abs(expected).max()
    assert scores(deploy, out, image[:, :, :16, :16], "fc8").shape == (1, CLASSES, 1, 1)


def test_the_published_vgg16_is_the_default_classifier(tmp_path, monkeypatch):
    import caffe

    weights = tiny.classifier(str(tmp_path), 224, CLASSES)[1]
    real = net_gen.vgg16
    monkeypatch.setattr(net_gen, "vgg16", lambda split: real(split, 10, tiny.WIDTH))
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=100)
    out = str(tmp_path / "nets" / "cast.caffemodel")
    surgery.cast(None, weights, deploy, out)
    assert os.listdir(tmp_path / "nets") == ["cast.caffemodel"]
    kernel = caffe.Net(deploy, out, caffe.TEST).params["fc6"][0].data
    fc6 = caffe.Net(str(tmp_path / "vgg16.prototxt"), weights, caffe.TEST).params["fc6"][0].data
    assert np.array_equal(kernel.ravel(), fc6.ravel())


def test_contents_names_the_layers_and_their_shapes(tmp_path):
    weights = tiny.classifier(str(tmp_path), 64, CLASSES)[1]
    found = surgery.contents(weights)
    assert list(found)[:2] == ["conv1_1", "conv1_2"]
    assert found["conv1_1"] == [(4, 3, 3, 3), (4,)]
    assert found["fc6"] == [(256, 32 * 2 * 2), (256,)]


def test_contents_reads_the_old_format(tmp_path):
    from caffe.proto import caffe_pb2

    net = caffe_pb2.NetParameter()
    layer = net.layers.add(name="fc6")
    layer.blobs.add(num=1, channels=1, height=3, width=4, data=[0.0] * 12)
    path = tmp_path / "old.caffemodel"
    path.write_bytes(net.SerializeToString())
    assert surgery.contents(str(path)) == {"fc6": [(1, 1, 3, 4)]}


def test_a_file_that_is_cut_off_anywhere_is_told_from_a_whole_one(tmp_path):
    from surgery.caffemodel import complete_model, complete_state

    weights = tiny.classifier(str(tmp_path), 64, CLASSES)[1]
    with open(weights, "rb") as file:
        whole = file.read()
    assert complete_model(weights) and not complete_state(weights)
    part = tmp_path / "part.caffemodel"
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        part.write_bytes(whole[:length])
        assert not complete_model(str(part))
    part.write_bytes(b"<html>404 Not Found</html>")
    assert not complete_model(str(part))


def test_the_program_refuses_a_file_that_is_cut_off(tmp_path, program):
    prototxt, weights = tiny.classifier(str(tmp_path), 64, CLASSES)
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=100)
    with open(weights, "r+b") as file:
        file.truncate(1000)
    before = sorted(os.listdir(tmp_path))
    result = program("-m", "surgery", prototxt, weights, deploy, tmp_path / "out.caffemodel")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1, result.stderr
    assert weights in result.stderr and "not a whole .caffemodel" in result.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_the_program_refuses_the_weights_of_another_net(tmp_path, program):
    prototxt, _ = tiny.classifier(str(tmp_path / "a"), 64, CLASSES)
    _, weights = tiny.classifier(str(tmp_path / "b"), 96, CLASSES)
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=100)
    result = program("-m", "surgery", prototxt, weights, deploy, tmp_path / "out.caffemodel")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1, result.stderr
    assert "layer fc6, blob 0: found 256 x 288, this net needs 256 x 128" in result.stderr
    assert not (tmp_path / "out.caffemodel").exists()


def test_the_program_names_a_file_that_is_not_there(tmp_path, program):
    result = program("-m", "surgery", tmp_path / "no.prototxt", "w", "d", "o", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == (
        f"error: {tmp_path}/no.prototxt: no such file; it is needed to cast the classifier\n"
    )


def test_the_program_casts_and_says_what_it_did(tmp_path, program):
    prototxt, weights = tiny.classifier(str(tmp_path), 64, CLASSES)
    deploy = convolutional(tmp_path / "deploy.prototxt", pad=100)
    result = program("-m", "surgery", prototxt, weights, deploy, tmp_path / "out.caffemodel")
    assert result.returncode == 0, result.stderr
    assert "coerced: fc6, fc7, fc8" in result.stdout
    assert "conv1_1" in surgery.contents(str(tmp_path / "out.caffemodel"))
