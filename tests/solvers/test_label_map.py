from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from solvers import label_map


@pytest.mark.parametrize("classes", [1, 2, 21, 255, 256, 257, 1000])
@pytest.mark.parametrize("kind", ["drawn", "tied", "zero", "infinite", "nan"])
def test_labels_are_the_classes_with_the_highest_scores(classes, kind):
    rng = np.random.RandomState(classes)
    scores = rng.randn(2, classes, 7, 9).astype(np.float32)
    if kind == "tied":
        scores = np.round(scores)
    elif kind == "zero":
        scores = np.where(scores > 0, np.float32(0), -np.float32(0))
    elif kind == "infinite":
        scores[scores > 1], scores[scores < -0.5] = np.inf, -np.inf
    elif kind == "nan":
        scores[rng.rand(*scores.shape) < 0.02] = np.nan
    label = label_map.labels(scores)
    assert np.array_equal(label, scores.argmax(1))
    assert label.dtype == (np.uint8 if classes <= 256 else np.uint16)


def test_the_highest_plane_comes_with_its_value():
    planes = np.random.RandomState(0).randn(5, 3, 4).astype(np.float32)
    index, best = label_map.highest(iter(planes))
    assert np.array_equal(index, planes.argmax(0)) and np.array_equal(best, planes.max(0))


def test_a_label_map_is_saved_in_the_colours_of_voc(tmp_path):
    label = np.array([[0, 1, 15], [20, 255, 0]], np.uint8)
    label_map.save_labels(str(tmp_path / "labels.png"), label)
    image = Image.open(tmp_path / "labels.png")
    assert np.array_equal(np.asarray(image), label)
    colours = np.asarray(image.convert("RGB"))
    assert colours[0].tolist() == [[0, 0, 0], [128, 0, 0], [192, 128, 128]]
    assert colours[1, :2].tolist() == [[0, 64, 128], [224, 224, 192]]


def test_an_overlay_leaves_the_background_and_ignored_pixels_as_they_are():
    photo = np.full((1, 3, 3), 100, np.uint8)
    picture = label_map.overlay(photo, np.array([[0, 15, 255]]), 0.5)
    assert picture.tolist() == [[[100] * 3, [146, 114, 114], [100] * 3]]


def test_labels_have_more_than_16_bits_where_a_net_has_more_classes():
    planes = (np.full((1, 1), k == 70000, np.float32) for k in range(70002))
    index, best = label_map.highest(planes)
    assert index.dtype == np.int64 and index[0, 0] == 70000 and best[0, 0] == 1


def test_a_label_map_of_more_than_256_classes_is_saved_with_16_bits(tmp_path):
    path = str(tmp_path / "labels.png")
    label = np.array([[0, 255, 256], [299, 999, 65535]], np.uint16)
    label_map.save_labels(path, label)
    assert np.array_equal(np.asarray(Image.open(path)), label)


@pytest.mark.parametrize("wrong", [256, 70000, -1])
def test_a_label_that_does_not_fit_its_png_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=rf"label {wrong} of a map of type int64, needs 0\.\.255"):
        label_map.save_labels(str(tmp_path / "labels.png"), np.array([[0, wrong]]))
    assert list(tmp_path.iterdir()) == []


def test_an_overlay_colours_every_class_of_a_prediction():
    photo = np.zeros((1, 4, 3), np.uint8)
    label = np.array([[1, 255, 256, 299]], np.uint16)
    picture = label_map.overlay(photo, label, 1.0, ignore_label=None)
    colours = [tuple(colour) for colour in picture[0].tolist()]
    assert colours[:2] == [(128, 0, 0), (224, 224, 192)]
    assert len(set(colours)) == 4 and (0, 0, 0) not in colours


def test_the_shares_of_the_classes_are_sorted():
    label = np.array([[2, 2, 2, 0]], np.uint8)
    assert list(label_map.shares(label, ["a", "b", "c"]).items()) == [("c", 0.75), ("a", 0.25)]
