from __future__ import annotations

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

from solvers import score


def test_the_histogram_counts_truth_by_row_and_leaves_out_ignored_pixels():
    truth = np.array([[0, 0, 1], [1, 2, 255]])
    prediction = np.array([[0, 1, 1], [1, 0, 2]])
    assert score.fast_hist(truth, prediction, 3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_the_histogram_takes_labels_as_caffe_gives_them():
    truth = np.array([0.0, 1.0, 255.0], np.float32).reshape(1, 1, 1, 3)
    assert score.fast_hist(truth, np.zeros((1, 1, 3), np.int64), 2).tolist() == [[1, 0], [1, 0]]


def test_the_histogram_refuses_maps_of_different_sizes():
    with pytest.raises(ValueError, match="found 5 predicted pixels, needed 4"):
        score.fast_hist(np.zeros(4), np.zeros(5), 2)


def test_the_histogram_refuses_predictions_of_no_class_where_the_truth_is_known():
    truth = np.array([0, 255, 1])
    assert score.fast_hist(truth, np.array([0, 7, 1]), 2).tolist() == [[1, 0], [0, 1]]
    for wrong in (2, -1):
        with pytest.raises(ValueError, match=f"found a prediction {wrong}, needed 0..1"):
            score.fast_hist(truth, np.array([0, 0, wrong]), 2)


@pytest.mark.parametrize("truth_type", [np.uint8, np.int16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("prediction_type", [np.uint8, np.int32, np.int64])
def test_the_histogram_is_that_of_counting_pixels(truth_type, prediction_type):
    rng = np.random.RandomState(0)
    truth = rng.choice([0, 1, 2, 3, 4, 255], (2, 1, 30, 40))
    prediction = rng.randint(0, 4, (2, 30, 40))
    expected = np.zeros((4, 4), int)
    for t, p in zip(truth.ravel(), prediction.ravel()):
        if t < 4:
            expected[t, p] += 1
    given = truth.astype(truth_type), prediction.astype(prediction_type)
    found = score.fast_hist(*given, 4)
    assert found.dtype == np.int64 and np.array_equal(found, expected)
    assert np.array_equal(given[0], truth.astype(truth_type)), "the truth is left as it was"


def test_negative_and_fantastic_truths_are_left_out():
    truth = np.array([-1, 2**32 + 1, 2**40, 1])
    assert score.fast_hist(truth, np.ones(4, int), 2).tolist() == [[0, 0], [0, 1]]
    assert score.fast_hist(truth.astype(float), np.ones(4, int), 2).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("classes", [1, 2, 21, 255, 256, 257, 300])
@pytest.mark.parametrize("kind", ["drawn", "tied", "zero", "infinite", "nan"])
def test_labels_are_the_arguments_of_the_maximum(classes, kind):
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
    found = score.labels(scores)
    assert np.array_equal(found, scores.argmax(1))
    assert found.dtype == (np.uint8 if classes <= 256 else np.int64)


def test_the_highest_of_planes_one_by_one_comes_with_its_value():
    planes = np.random.RandomState(0).randn(5, 3, 4).astype(np.float32)
    number, best = score.highest(iter(planes))
    assert np.array_equal(number, planes.argmax(0)) and np.array_equal(best, planes.max(0))


def test_the_metrics_of_a_histogram_worked_out_by_hand():
    found = score.metrics(np.array([[6, 2, 0], [1, 3, 0], [0, 2, 2]]))
    assert found["pixel_accuracy"] == pytest.approx(11 / 16)
    assert found["mean_accuracy"] == pytest.approx((6 / 8 + 3 / 4 + 2 / 4) / 3)
    iu = [6 / 9, 3 / 8, 2 / 4]
    assert found["iu"] == pytest.approx(iu)
    assert found["mean_iu"] == pytest.approx(sum(iu) / 3)
    assert found["fwavacc"] == pytest.approx((8 * iu[0] + 4 * iu[1] + 4 * iu[2]) / 16)


def test_a_class_that_is_absent_from_the_truth_is_left_out_of_the_means():
    found = score.metrics(np.array([[3, 0, 1], [1, 3, 0], [0, 0, 0]]))
    assert np.isnan(found["iu"][2]) and np.isnan(found["accuracy"][2])
    assert found["mean_iu"] == pytest.approx((3 / 5 + 3 / 4) / 2)
    assert found["mean_accuracy"] == pytest.approx(3 / 4)
    assert score.plain(found)["iu"][2] is None


def test_an_empty_histogram_gives_nan_and_no_warning():
    found = score.metrics(np.zeros((3, 3)))
    assert all(np.isnan(found[m]) for m in score.METRICS if m != "loss")
    json.dumps(score.plain(found), allow_nan=False)


def fake_net(truths, predictions, losses, classes=3):
    """A net whose forward pass shows the next picture, as a data layer in order does."""
    layer = SimpleNamespace(indices=[f"im{i}" for i in range(len(truths))], idx=0, random=False)
    layer.skip = lambda n: setattr(layer, "idx", (layer.idx + n) % len(truths))
    blobs = {name: SimpleNamespace(data=None) for name in ("score", "label", "loss")}

    def forward():
        truth, prediction = np.array(truths[layer.idx]), np.array(predictions[layer.idx])
        blobs["score"].data = np.moveaxis(np.eye(classes)[prediction], -1, 0)[None]
        blobs["label"].data = truth[None, None].astype(np.float32)
        blobs["loss"].data = np.array(losses[layer.idx], np.float32)
        layer.skip(1)

    return SimpleNamespace(blobs=blobs, forward=forward, layers=[layer])


TRUTHS = [[[0, 1], [2, 255]], [[1, 1, 0]], [[2, 2]]]
PREDICTIONS = [[[0, 1], [1, 0]], [[1, 0, 0]], [[2, 0]]]


def test_a_net_is_scored_over_its_images_of_different_sizes():
    net = fake_net(TRUTHS, PREDICTIONS, [3.0, 6.0, 0.0])
    found = score.score_net(net, 3)
    assert found["loss"] == pytest.approx(3.0) and found["images"] == 3
    assert found["pixel_accuracy"] == pytest.approx(5 / 8)


def test_scoring_some_images_twice_gives_the_same_scores():
    net = fake_net(TRUTHS, PREDICTIONS, [3.0, 6.0, 0.0])
    first, again = (score.score_net(net, 2) for _ in range(2))
    assert first["mean_iu"] == again["mean_iu"] and first["loss"] == again["loss"]


def test_predictions_are_saved_under_the_ids_of_the_images(tmp_path):
    from PIL import Image

    score.score_net(fake_net(TRUTHS, PREDICTIONS, [0.0] * 3), 3, out=str(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["im0.png", "im1.png", "im2.png"]
    assert np.asarray(Image.open(tmp_path / "im1.png")).tolist() == [[1, 0, 0]]


def test_a_blob_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="blob fuse: not in this net; it has score, label, loss"):
        score.score_net(fake_net(TRUTHS, PREDICTIONS, [0.0] * 3), 1, layer="fuse")


def test_the_table_of_classes_names_all_of_voc_and_marks_the_absent():
    hist = np.zeros((21, 21))
    hist[0, 0], hist[15, 15], hist[15, 0] = 10, 3, 1
    text = "\n".join(score.lines(dict(score.metrics(hist), loss=1.0), "title"))
    assert "title: loss 1.0000   pixel_accuracy 0.9286" in text
    assert "person        75.0   75.0" in text
    assert "tvmonitor        -      -" in text


def test_the_test_net_of_a_solver_is_scored_with_the_weights_of_its_training_net(tiny_stage):
    import caffe

    import surgery
    from solvers import stage

    folder = tiny_stage()
    os.makedirs(os.path.join(folder, "snapshot"))
    with stage.inside(folder):
        solver = caffe.get_solver("solver.prototxt")
        surgery.interp(solver.net, surgery.interp_layers(solver.net))
        solver.net.params["score_fr"][1].data[3] = 1.0
        found = score.seg_tests(solver)
    assert found["images"] == 2
    assert found["accuracy"][0] == 0.0, "every pixel is taken for class 3"
