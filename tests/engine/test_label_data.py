"""ImageSegData, DenseImageData, ImageLabelmapData: photographs with a label for each pixel."""

from __future__ import annotations

import caffe
import cv2
import numpy as np
import pytest
from caffe.errors import CaffeError, FileError

from tests.engine.nets import build


@pytest.fixture
def folder(tmp_path):
    """Two photographs of 6 x 8 and their labels, each label the blue of its pixel modulo 5."""
    random = np.random.RandomState(0)
    for i in range(2):
        image = random.randint(0, 256, (6, 8, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
        cv2.imwrite(str(tmp_path / f"{i}_labels.png"), image[..., 0] % 5)
    (tmp_path / "list.txt").write_text("0.png 0_labels.png\n1.png 1_labels.png\n")
    return tmp_path


def net(folder, type_, settings, transform="", phase=caffe.TEST, tops=2):
    field = "dense_image_data_param" if type_ == "DenseImageData" else "image_data_param"
    names = " ".join(f"top: 't{i}'" for i in range(tops))
    text = (
        f"layer {{ name: 'd' type: '{type_}' {names} {field} {{ source: '{folder}/list.txt' "
        f"root_folder: '{folder}/' {settings} }} transform_param {{ {transform} }} }}"
    )
    return build(folder, text, phase)


def forward(net):
    net.forward()
    return [net.blobs[name].data.copy() for name in net.blobs]


@pytest.mark.parametrize(
    "type_, settings", [("ImageSegData", "label_type: PIXEL"), ("DenseImageData", "")]
)
def test_photographs_and_labels_come_in_pairs(folder, type_, settings):
    data, labels = forward(net(folder, type_, f"{settings} batch_size: 2"))[:2]
    assert data.shape == (2, 3, 6, 8) and labels.shape == (2, 1, 6, 8)
    assert np.array_equal(labels[:, 0], data[:, 0] % 5) and labels.max() == 4
    assert np.array_equal(data[1], cv2.imread(str(folder / "1.png")).transpose(2, 0, 1))


def test_labels_are_divided_for_the_encoder_of_enet(folder):
    undivided = forward(net(folder, "DenseImageData", "batch_size: 2"))[1]
    data, labels = forward(net(folder, "DenseImageData", "batch_size: 2 label_divide_factor: 2"))
    assert data.shape == (2, 3, 6, 8)
    assert np.array_equal(labels, undivided[:, :, 1::2, 1::2])
    with pytest.raises(CaffeError, match="label_divide_factor is 7 and the labels are .6, 8."):
        net(folder, "DenseImageData", "label_divide_factor: 7")
    with pytest.raises(CaffeError, match="label_divide_factor is 0"):
        net(folder, "DenseImageData", "label_divide_factor: 0")


def test_crop_and_mirror_hold_for_photograph_and_labels_alike(folder):
    caffe.set_random_seed(3)
    source = net(
        folder, "ImageSegData", "label_type: PIXEL", "crop_size: 4 mirror: true", caffe.TRAIN
    )
    crops = [forward(source)[:2] for _ in range(8)]
    assert all(np.array_equal(labels[:, 0], data[:, 0] % 5) for data, labels in crops)
    assert len({data.tobytes() for data, _ in crops}) > 4


def test_a_photograph_smaller_than_the_crop_is_extended_by_the_mean_and_the_ignored_label(folder):
    settings, transform = "label_type: PIXEL ignore_label: 77", "crop_size: 8 mean_value: 100"
    data, labels = forward(net(folder, "ImageSegData", settings, transform))[:2]
    assert (
        data.shape == (1, 3, 8, 8) and not data[:, :, 6:].any() and (labels[:, :, 6:] == 77).all()
    )
    assert np.array_equal(labels[0, 0, :6], (data[0, 0, :6] + 100) % 5)


def test_a_third_top_has_the_size_of_each_photograph(folder):
    source = net(folder, "ImageSegData", "label_type: NONE", "crop_size: 4", tops=3)
    _, labels, size = forward(source)
    assert (labels == 255).all() and size.tolist() == [[[[6, 8]]]]


def test_one_label_for_a_whole_photograph_is_the_label_of_every_pixel(folder):
    (folder / "list.txt").write_text("0.png 3\n")
    assert (forward(net(folder, "ImageSegData", "label_type: IMAGE"))[1] == 3).all()


def test_labels_are_resized_to_the_nearest_pixel(folder):
    data, labels = forward(net(folder, "DenseImageData", "new_height: 12 new_width: 16"))
    assert data.shape == (1, 3, 12, 16)
    expected = cv2.imread(str(folder / "0_labels.png"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(labels[0, 0], np.kron(expected, np.ones((2, 2))))


def test_a_line_without_a_label_is_refused(folder):
    (folder / "list.txt").write_text("0.png\n")
    with pytest.raises(FileError, match="needs an image and a label"):
        net(folder, "DenseImageData", "")


def write_maps(folder, high):
    """Write a map for each photograph: `high` where its blue is above 127."""
    for i in range(2):
        blue = cv2.imread(str(folder / f"{i}.png"))[..., 0]
        cv2.imwrite(str(folder / f"{i}_labels.png"), (blue > 127).astype(np.uint8) * high)


@pytest.mark.parametrize("high", (255, 1))
def test_a_map_of_edges_has_the_labels_0_and_1(folder, high):
    write_maps(folder, high)
    transform = "mean_value: 100 scale: 0.5 mirror: true"
    caffe.set_random_seed(2)
    source = net(folder, "ImageLabelmapData", "shuffle: true", transform, caffe.TRAIN)
    batches = [forward(source) for _ in range(8)]
    for data, labels in batches:
        assert data.shape == (1, 3, 6, 8) and labels.shape == (1, 1, 6, 8)
        assert np.array_equal(labels[:, 0], (2 * data[:, 0] + 100 > 127).astype(np.float32))
    assert len({data.tobytes() for data, _ in batches}) == 4


def test_an_empty_map_has_no_edges(folder):
    write_maps(folder, 0)
    assert not forward(net(folder, "ImageLabelmapData", ""))[1].any()


def test_a_map_of_grey_edges_is_refused(folder):
    with pytest.raises(CaffeError, match=r"0_labels.png has the values \[0, 1, 2, 3, 4\]; a map"):
        net(folder, "ImageLabelmapData", "")


@pytest.mark.parametrize(
    "settings, transform", [("new_height: 6 new_width: 8", ""), ("", "crop_size: 4")]
)
def test_a_map_of_edges_keeps_the_size_of_its_file(folder, settings, transform):
    write_maps(folder, 255)
    with pytest.raises(CaffeError, match="the sizes of the files hold, so remove the fields"):
        net(folder, "ImageLabelmapData", settings, transform)


LOSS = """
layer { name: 'x' type: 'Input' top: 'x' top: 'label'
  input_param { shape { dim: 1 dim: 3 dim: 1 dim: 4 } shape { dim: 1 dim: 1 dim: 1 dim: 4 } } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'x' bottom: 'label' top: 'loss' %s }
force_backward: true"""


def test_the_loss_weighs_classes_as_class_weighting_says(tmp_path):
    weights = (0.5, 2.0, 3.0)
    fields = " ".join(f"class_weighting: {w}" for w in weights)
    text = LOSS % f"loss_param {{ ignore_label: 255 weight_by_label_freqs: true {fields} }}"
    n = build(tmp_path, text, caffe.TRAIN)
    x, labels = np.random.RandomState(0).standard_normal((3, 4)), [0, 2, 255, 1]
    n.blobs["x"].data[...], n.blobs["label"].data[...] = x.reshape(1, 3, 1, 4), labels
    loss = float(n.forward()["loss"])
    n.backward()
    prob = np.exp(x) / np.exp(x).sum(0)
    terms = [-weights[k] * np.log(prob[k, i]) for i, k in enumerate(labels) if k != 255]
    assert loss == pytest.approx(sum(terms) / 3, rel=1e-5)
    expected = [
        weights[k] * (prob[:, i] - np.eye(3)[k]) / 3 if k != 255 else np.zeros(3)
        for i, k in enumerate(labels)
    ]
    np.testing.assert_allclose(n.blobs["x"].diff[0, :, 0].T, expected, rtol=1e-4, atol=1e-7)


def test_class_weights_for_another_number_of_classes_are_refused(tmp_path):
    text = LOSS % "loss_param { weight_by_label_freqs: true class_weighting: 1 }"
    with pytest.raises(CaffeError, match="1 class_weighting for 3 classes"):
        build(tmp_path, text, caffe.TRAIN).forward()
