"""Weights of the classes: their definitions, their files, and their loss in Caffe."""

import caffe
import numpy as np
import pytest

import net_gen
from fcn_data.class_weights import class_weights, read_matrix, write_matrix

NAMES = ("sky", "road", "car")
#: Two training pictures of 100 counted pixels: the car is in one of them.
COUNTS, EXTENT = {0: 120, 1: 60, 2: 20}, {0: 200, 1: 200, 2: 100}


def test_balanced_weights_give_each_class_the_same_part_of_the_loss():
    weights = class_weights("balanced", NAMES, COUNTS, EXTENT)
    assert np.allclose(weights, [200 / 360, 200 / 180, 200 / 60])
    assert np.isclose(sum(COUNTS[k] * weights[k] for k in COUNTS), 200)


def test_median_frequencies_count_the_pictures_in_which_a_class_occurs():
    # The frequencies are 0.6, 0.3 and 0.2.
    weights = class_weights("median-frequency", NAMES, COUNTS, EXTENT)
    assert np.allclose(weights, [0.5, 1, 1.5])


def test_a_class_that_never_occurs_has_the_weight_1():
    for text in ("balanced", "median-frequency"):
        assert class_weights(text, (*NAMES, "bus"), COUNTS, EXTENT)[3] == 1


def test_weights_come_from_numbers_or_a_file(tmp_path):
    assert class_weights("1,2,0.5", NAMES, {}, {}) == (1, 2, 0.5)
    path = tmp_path / "weights.txt"
    path.write_text("\ufeffcar: 4\nsky:1\nroad:2\n", encoding="utf-8")
    assert class_weights(str(path), NAMES, {}, {}) == (1, 2, 4)
    path.write_text("3\n2\n\n1\n")
    assert class_weights(str(path), NAMES, {}, {}) == (3, 2, 1)


@pytest.mark.parametrize(
    "text, message",
    [
        ("1,2", r"class weights: has 2 weights, needs 3: one for each class"),
        ("1,2,-1", r"has '-1', needs a number from 0"),
        ("heavy", r"class weights are 'heavy', needs balanced, median-frequency, a file, or 3"),
    ],
)
def test_weights_that_fit_no_class_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        class_weights(text, NAMES, COUNTS, EXTENT)


def test_a_file_with_another_name_is_refused(tmp_path):
    path = tmp_path / "weights.txt"
    path.write_text("sky:1\nroad:1\nbus:1\n")
    with pytest.raises(ValueError, match=r"weights.txt: names sky, road, bus, needs each of sky"):
        class_weights(str(path), NAMES, COUNTS, EXTENT)


def loss_and_gradient(folder, weights, scores, labels):
    """The loss of the generator's net on scores, N x K x H x W, and its gradient."""
    source = None
    if weights is not None:
        write_matrix(str(folder / "w.binaryproto"), weights)
        source = str(folder / "w.binaryproto")
    net = net_gen.fcn("voc-fcn32s", "train", classes=3, width=1 / 64, class_weights=source)
    (loss,) = (layer for layer in net.layer if "Loss" in layer.type)
    for name, shape in (("score", scores.shape), ("label", labels.shape)):
        top = net.layer.add(name=name, type="Input", top=[name])
        top.input_param.shape.add(dim=shape)
    kept = [layer for layer in net.layer if layer.type == "Input"] + [loss]
    message = type(net)(layer=kept, force_backward=True)
    net_gen.write(message, folder / "loss.prototxt")
    loss_net = caffe.Net(str(folder / "loss.prototxt"), caffe.TRAIN)
    loss_net.blobs["score"].data[...] = scores
    loss_net.blobs["label"].data[...] = labels
    loss_net.forward()
    loss_net.backward()
    return float(loss_net.blobs["loss"].data), loss_net.blobs["score"].diff.copy()


@pytest.fixture
def example():
    rng = np.random.RandomState(0)
    labels = rng.randint(0, 3, (2, 1, 4, 5))
    labels[0, 0, 0, :3] = 255
    return rng.randn(2, 3, 4, 5).astype(np.float32), labels


def test_weights_multiply_the_loss_of_their_pixels_and_ignored_pixels_have_none(tmp_path, example):
    scores, labels = example
    weights = np.array([0.5, 1, 3])
    loss, gradient = loss_and_gradient(tmp_path, weights, scores, labels)
    exp = np.exp(scores.astype(np.float64))
    probability = exp / exp.sum(1, keepdims=True)
    truth = np.eye(3)[np.where(labels == 255, 0, labels)[:, 0]].transpose(0, 3, 1, 2)
    weight = np.where(labels == 255, 0, weights[np.where(labels == 255, 0, labels)])
    # The papers' loss is summed over the pixels; Caffe takes the mean over the images.
    expected = -(weight * (truth * np.log(probability)).sum(1, keepdims=True)).sum() / 2
    assert np.isclose(loss, expected, rtol=1e-5)
    assert np.allclose(gradient, weight * (probability - truth) / 2, atol=1e-6)


def test_equal_weights_are_the_published_loss(tmp_path, example):
    loss, gradient = loss_and_gradient(tmp_path, np.ones(3), *example)
    published, published_gradient = loss_and_gradient(tmp_path, None, *example)
    assert np.isclose(loss, published, rtol=1e-6)
    assert np.allclose(gradient, published_gradient, atol=1e-7)


def test_only_the_train_net_weighs_the_classes(tmp_path):
    arguments = {"classes": 3, "width": 1 / 64, "class_weights": "../w.binaryproto"}
    types = {
        split: [layer.type for layer in net_gen.fcn("voc-fcn32s", split, **arguments).layer]
        for split in ("train", "val", "deploy")
    }
    assert types["train"][-1] == "InfogainLoss" and types["val"][-1] == "SoftmaxWithLoss"
    assert "InfogainLoss" not in types["deploy"]
    averaged = net_gen.fcn("voc-fcn-alexnet", "train", **arguments).layer[-1]
    assert averaged.loss_param.normalization == averaged.loss_param.VALID


def test_a_file_without_a_matrix_is_refused(tmp_path):
    path = tmp_path / "w.binaryproto"
    write_matrix(str(path), (1, 2, 3))
    assert read_matrix(str(path)).tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 3]]
    path.write_bytes(caffe.io.array_to_blobproto(np.zeros((1, 1, 1, 3))).SerializeToString())
    with pytest.raises(ValueError, match=r"w.binaryproto: has 3 values, needs a square matrix"):
        read_matrix(str(path))
