"""Fields that forks added to data layers, Accuracy and fillers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from caffe.errors import CaffeError

from tests.engine.nets import build

SIZE = (10, 16)


@pytest.fixture
def picture(tmp_path):
    """A picture of 10 x 16 in a list, picture.png."""
    image = np.random.RandomState(0).randint(0, 256, (*SIZE, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "picture.png"), image)
    (tmp_path / "list").write_text("picture.png 3\n")
    return image


def first(folder, transform="", settings=""):
    text = (
        f"layer {{ name: 'd' type: 'ImageData' top: 'x' top: 'y' image_data_param {{ "
        f"source: '{folder}/list' root_folder: '{folder}/' {settings} }} "
        f"transform_param {{ {transform} }} }}"
    )
    net = build(folder, text)
    net.forward()
    return net.blobs["x"].data[0].copy()


def planes(image):
    return image.transpose(2, 0, 1).astype(np.float32)


def test_image_data_resizes_as_ssd_says_before_it_crops(tmp_path, picture):
    x = first(tmp_path, "resize_param { height: 8 width: 12 } crop_size: 6 mean_value: 5")
    assert np.array_equal(x, planes(cv2.resize(picture, (12, 8)))[:, 1:7, 3:9] - 5)


def test_a_picture_is_put_into_the_middle_of_a_larger_one(tmp_path, picture):
    fit = "resize_mode: FIT_LARGE_SIZE_AND_PAD pad_value: 9"
    x = first(tmp_path, f"resize_param {{ {fit} height: 16 width: 16 }}")
    assert np.array_equal(x[:, 3:13], planes(picture))
    assert (x[:, :3] == 9).all() and (x[:, 13:] == 9).all()


def test_noise_of_ssd_changes_the_picture(tmp_path, picture):
    x = first(tmp_path, "noise_param { inverse: true }")
    assert np.array_equal(x, 255 - planes(picture))


def test_cvt_bgr2rgb_exchanges_channels_before_the_mean(tmp_path, picture):
    x = first(tmp_path, "cvt_bgr2rgb: true mean_value: 1 mean_value: 2 mean_value: 3")
    assert np.array_equal(x, planes(picture)[::-1] - np.array([1, 2, 3])[:, None, None])


def test_short_side_keeps_the_proportions(tmp_path, picture):
    x = first(tmp_path, settings="short_side: 5")
    assert np.array_equal(x, planes(cv2.resize(picture, (8, 5))))


def test_the_shorter_side_is_drawn_as_nvcaffe_says_and_interpolated_by_name(tmp_path, picture):
    sides = "img_rand_resize_lower: %d img_rand_resize_upper: %d crop_size: 4 "
    x = first(tmp_path, sides % (5, 5) + "interpolation_algo_down: INTER_AREA")
    small = cv2.resize(picture, (8, 5), interpolation=cv2.INTER_AREA)
    assert np.array_equal(x, planes(small)[:, 0:4, 2:6])
    x = first(tmp_path, sides % (20, 20))
    large = cv2.resize(picture, (32, 20), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(x, planes(large)[:, 8:12, 14:18])
    drawn = {first(tmp_path, sides % (5, 9)).tobytes() for _ in range(40)}
    assert 2 < len(drawn) <= 5


@pytest.mark.parametrize(
    "transform, reason",
    [
        ("img_rand_resize_lower: 5 img_rand_resize_upper: 4 crop_size: 4", "both are needed"),
        ("img_rand_resize_lower: 5 img_rand_resize_upper: 6", "needs a crop_size"),
        ("img_rand_resize_lower: 5 img_rand_resize_upper: 6 crop_size: 6", "crop_size is 6, but"),
    ],
)
def test_drawn_sizes_that_give_no_batch_are_refused(tmp_path, picture, transform, reason):
    with pytest.raises(CaffeError, match=reason):
        first(tmp_path, transform)


def test_resizing_without_a_size_and_values_that_are_no_bytes_are_refused(tmp_path, picture):
    with pytest.raises(CaffeError, match="resize_param has height 8, width 0"):
        first(tmp_path, "resize_param { height: 8 }")
    with pytest.raises(CaffeError, match="they need 3 channels, and found 1"):
        first(tmp_path, "noise_param { inverse: true }", "is_color: false")


def test_accuracy_can_take_the_smallest_score_for_the_best(tmp_path):
    text = (
        "layer { name: 'x' type: 'Input' top: 'x' top: 'y' input_param { "
        "shape { dim: 2 dim: 3 } shape { dim: 2 } } } "
        "layer { name: 'a' type: 'Accuracy' bottom: 'x' bottom: 'y' top: 'a' "
        "accuracy_param { min_is_better: %s } }"
    )
    for best, expected in (("true", 1), ("false", 0)):
        net = build(tmp_path, text % best)
        net.blobs["x"].data[...] = [[1, 2, 3], [6, 4, 5]]
        net.blobs["y"].data[...] = [0, 1]
        assert net.forward()["a"] == expected


def test_accuracy_of_classes_counts_a_label_of_no_class_as_wrong(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    text = (
        "layer { name: 'x' type: 'Input' top: 'x' top: 'y' input_param { "
        "shape { dim: 4 dim: 2 } shape { dim: 4 } } } "
        "layer { name: 'a' type: 'Accuracy' bottom: 'x' bottom: 'y' top: 'a' %s }"
    )
    net = build(tmp_path, text % "top: 'per_class'")
    net.blobs["x"].data[...] = [[2, 1], [1, 2], [2, 1], [1, 2]]
    net.blobs["y"].data[...] = [0, 1, 1, 2]
    assert net.forward()["a"] == 0.5 and net.blobs["per_class"].data.tolist() == [1, 0.5]
    assert net.forward()["a"] == 0.5
    warning = "a: a label is 2, beyond the 2 classes; it counts as wrong."
    assert capfd.readouterr().err.count(warning) == 1
    alone = build(tmp_path, text % "")
    alone.blobs["y"].data[...] = [0, 1, 1, 2]
    with pytest.raises(CaffeError, match="a label is 2; it needs to be 0 .. 1"):
        alone.forward()


def test_a_filler_s_field_of_a_fork_is_left_out_with_a_warning(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    text = (
        "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 3 } } } "
        "layer { name: 'f' type: 'InnerProduct' bottom: 'x' top: 'f' inner_product_param { "
        "num_output: 2 weight_filler { type: 'constant' value: 2 alpha: 3 } } }"
    )
    assert (build(tmp_path, text).params["f"][0].data == 2).all()
    assert "alpha" in capfd.readouterr().err


def test_a_normalized_inner_product_is_one_in_every_pass(tmp_path):
    text = (
        "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 } } } "
        "layer { name: 'f' type: 'InnerProduct' bottom: 'x' top: 'f' inner_product_param { "
        "num_output: 2 normalize: true bias_term: false } }"
    )
    net = build(tmp_path, text)
    net.params["f"][0].data[...] = [[3, 4, 0], [0, 0, 2]]
    net.blobs["x"].data[...] = [[1, 2, 3], [0, 0, 1]]
    for _ in range(5):
        assert net.forward()["f"].tolist() == [[pytest.approx(2.2), 3], [0, 1]]


@pytest.mark.parametrize("field", ["label_dim", "label_num", "label_size"])
def test_a_line_of_a_list_has_as_many_labels_as_the_layer_says(tmp_path, picture, field):
    (tmp_path / "list").write_text("picture.png 1 -2.5 3\npicture.png 4 5 6e1\n")
    text = (
        f"layer {{ name: 'd' type: 'ImageData' top: 'x' top: 'y' image_data_param {{ "
        f"source: '{tmp_path}/list' root_folder: '{tmp_path}/' batch_size: 2 {field}: 3 }} }}"
    )
    net = build(tmp_path, text)
    net.forward()
    assert net.blobs["y"].data.tolist() == [[1, -2.5, 3], [4, 5, 60]]
    (tmp_path / "list").write_text("picture.png 1 2\n")
    with pytest.raises(CaffeError, match="'picture.png 1 2' needs a path and 3 numbers"):
        build(tmp_path, text)
