"""A net starts from any weights: what fits is copied, the rest is new."""

import caffe
import numpy as np
import pytest

import net_gen
import surgery
from fcn_common.files import PathLike

WIDTH = 1 / 32


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The deploy prototxt and random weights of a small FCN-32s with 21 classes."""
    folder = tmp_path_factory.mktemp("published")
    return deploy(folder / "deploy.prototxt"), weights(folder)


def deploy(path: PathLike, **arguments):
    net_gen.write(net_gen.fcn("voc-fcn32s", "deploy", width=WIDTH, **arguments), path)
    return str(path)


def weights(folder):
    net = caffe.Net(deploy(folder / "source.prototxt"), caffe.TEST)
    rng = np.random.RandomState(0)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = rng.randn(*blob.shape)
    path = str(folder / "source.caffemodel")
    net.save(path)
    return path


def params(prototxt, path):
    net = caffe.Net(prototxt, str(path), caffe.TEST)
    return {name: [np.array(b.data) for b in blobs] for name, blobs in net.params.items()}


def test_another_class_count_copies_the_trunk_and_makes_the_scores_anew(tmp_path, published):
    five = deploy(tmp_path / "five.prototxt", classes=5)
    report = surgery.adapt(published[1], five, str(tmp_path / "out.caffemodel"))
    assert set(report.fresh) == {"score_fr", "upscore"}
    assert report.fresh["score_fr"].startswith("21 x ")
    assert "needs 5 x " in report.fresh["score_fr"]
    values, source = params(five, tmp_path / "out.caffemodel"), params(*published)
    for name in report.copied:
        assert all(np.array_equal(a, b) for a, b in zip(values[name], source[name]))
    assert not values["score_fr"][0].any() and values["score_fr"][0].shape[0] == 5
    expected = np.eye(5)[:, :, None, None] * surgery.bilinear(64)
    assert np.allclose(values["upscore"][0], expected)
    assert "new: score_fr (21 x " in "\n".join(report.lines())


def test_the_same_class_count_copies_every_layer(tmp_path, published):
    report = surgery.adapt(published[1], published[0], str(tmp_path / "out.caffemodel"))
    assert not report.fresh and not report.random


@pytest.mark.parametrize("channels", [1, 4])
def test_the_first_layer_is_averaged_over_the_colours(tmp_path, published, channels):
    other = deploy(tmp_path / "other.prototxt", channels=channels)
    report = surgery.adapt(published[1], other, str(tmp_path / "out.caffemodel"))
    assert report.averaged == ["conv1_1"] and not report.fresh
    kernel = params(other, tmp_path / "out.caffemodel")["conv1_1"][0]
    source = params(*published)["conv1_1"][0]
    # A picture whose channels are equal gives what a grey colour picture gave.
    assert np.allclose(kernel.sum(axis=1), source.sum(axis=1), atol=1e-5)


def test_the_layers_to_copy_can_be_chosen(tmp_path, published):
    report = surgery.adapt(
        published[1], published[0], str(tmp_path / "out.caffemodel"), ["conv1*", "fc6"]
    )
    assert report.copied == ["conv1_1", "conv1_2", "fc6"]
    assert report.fresh["conv2_1"] == "not chosen"
    assert "conv2_1" in report.random and "score_fr" not in report.random
    assert params(published[0], tmp_path / "out.caffemodel")["conv2_1"][0].any()


def test_a_classifiers_inner_products_become_convolutions(tmp_path):
    classifier = tmp_path / "classifier.prototxt"
    net_gen.write(net_gen.vgg16("deploy", 7, WIDTH, size=224), classifier)
    net = caffe.Net(str(classifier), caffe.TEST)
    net.params["fc6"][0].data[...] = np.arange(net.params["fc6"][0].count).reshape(
        net.params["fc6"][0].shape
    )
    net.save(str(tmp_path / "classifier.caffemodel"))
    target = deploy(tmp_path / "deploy.prototxt")
    report = surgery.adapt(
        str(tmp_path / "classifier.caffemodel"), target, str(tmp_path / "out.caffemodel")
    )
    assert report.reshaped == ["fc6", "fc7"] and report.unused == ["fc8"]
    kernel = params(target, tmp_path / "out.caffemodel")["fc6"][0]
    assert np.array_equal(kernel.ravel(), net.params["fc6"][0].data.ravel())


def test_weights_that_fit_nowhere_are_refused(tmp_path, published):
    wider = tmp_path / "wider.prototxt"
    net_gen.write(net_gen.fcn("voc-fcn32s", "deploy", width=1 / 16, classes=5), wider)
    with pytest.raises(ValueError, match=r"source.caffemodel: no layer fits this net"):
        surgery.adapt(published[1], str(wider), str(tmp_path / "out.caffemodel"))


def test_random_weights_are_the_same_for_the_same_seed(tmp_path, published):
    for name in ("a", "b"):
        surgery.adapt(None, published[0], str(tmp_path / name), seed=3)
    values = [params(published[0], tmp_path / name) for name in ("a", "b")]
    assert np.array_equal(values[0]["conv3_1"][0], values[1]["conv3_1"][0])
    assert values[0]["conv3_1"][0].any()
