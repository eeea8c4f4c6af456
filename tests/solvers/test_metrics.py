from __future__ import annotations

import json

import numpy as np
import pytest

import net_gen
from fcn_data import SIFT_FLOW, VOC, Labels
from solvers import metrics


def test_the_histogram_counts_truth_by_row_without_ignored_pixels():
    truth = np.array([[0, 0, 1], [1, 2, 255]])
    prediction = np.array([[0, 1, 1], [1, 0, 2]])
    assert metrics.fast_hist(truth, prediction, 3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_the_histogram_reads_labels_of_a_caffe_blob():
    truth = np.array([0.0, 1.0, 255.0], np.float32).reshape(1, 1, 1, 3)
    assert metrics.fast_hist(truth, np.zeros((1, 1, 3), np.int64), 2).tolist() == [[1, 0], [1, 0]]


def test_the_histogram_refuses_maps_of_different_sizes():
    with pytest.raises(ValueError, match="the prediction has 5 pixels, needs 4"):
        metrics.fast_hist(np.zeros(4), np.zeros(5), 2)


def test_the_histogram_refuses_predictions_of_no_class_where_the_truth_is_a_class():
    truth = np.array([0, 255, 1])
    assert metrics.fast_hist(truth, np.array([0, 7, 1]), 2).tolist() == [[1, 0], [0, 1]]
    for wrong in (2, -1):
        with pytest.raises(ValueError, match=f"the prediction has label {wrong}, needs 0..1"):
            metrics.fast_hist(truth, np.array([0, 0, wrong]), 2)


@pytest.mark.parametrize("truth_type", [np.uint8, np.int16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("prediction_type", [np.uint8, np.int32, np.int64])
def test_the_histogram_equals_a_count_of_pixels(truth_type, prediction_type):
    rng = np.random.RandomState(0)
    truth = rng.choice([0, 1, 2, 3, 4, 255], (2, 1, 30, 40))
    prediction = rng.randint(0, 4, (2, 30, 40))
    expected = np.zeros((4, 4), int)
    for t, p in zip(truth.ravel(), prediction.ravel()):
        if t < 4:
            expected[t, p] += 1
    maps = truth.astype(truth_type), prediction.astype(prediction_type)
    hist = metrics.fast_hist(*maps, 4)
    assert hist.dtype == np.int64 and np.array_equal(hist, expected)
    assert np.array_equal(maps[0], truth.astype(truth_type)), "the truth is not changed"


def test_negative_and_huge_truths_are_not_counted():
    truth = np.array([-1, 2**32 + 1, 2**40, 1])
    assert metrics.fast_hist(truth, np.ones(4, int), 2).tolist() == [[0, 0], [0, 1]]
    assert metrics.fast_hist(truth.astype(float), np.ones(4, int), 2).tolist() == [[0, 0], [0, 1]]


def test_the_metrics_equal_those_computed_by_hand():
    scores = metrics.metrics(np.array([[6, 2, 0], [1, 3, 0], [0, 2, 2]]))
    assert scores["pixel_accuracy"] == pytest.approx(11 / 16)
    assert scores["mean_accuracy"] == pytest.approx((6 / 8 + 3 / 4 + 2 / 4) / 3)
    iu = [6 / 9, 3 / 8, 2 / 4]
    assert scores["iu"] == pytest.approx(iu)
    assert scores["mean_iu"] == pytest.approx(sum(iu) / 3)
    assert scores["fwavacc"] == pytest.approx((8 * iu[0] + 4 * iu[1] + 4 * iu[2]) / 16)


def test_a_class_that_is_absent_from_the_truth_does_not_count_in_the_means():
    scores = metrics.metrics(np.array([[3, 0, 1], [1, 3, 0], [0, 0, 0]]))
    assert np.isnan(scores["iu"][2]) and np.isnan(scores["accuracy"][2])
    assert scores["mean_iu"] == pytest.approx((3 / 5 + 3 / 4) / 2)
    assert scores["mean_accuracy"] == pytest.approx(3 / 4)
    assert metrics.plain(scores)["iu"][2] is None


def test_the_metrics_of_an_empty_histogram_are_nan_without_a_warning():
    scores = metrics.metrics(np.zeros((3, 3)))
    assert all(np.isnan(scores[m]) for m in metrics.METRICS if m != "loss")
    json.dumps(metrics.plain(scores), allow_nan=False)


def test_the_table_of_classes_has_the_names_of_voc_and_dashes_for_absent_classes():
    hist = np.zeros((21, 21))
    hist[0, 0], hist[15, 15], hist[15, 0] = 10, 3, 1
    text = "\n".join(metrics.score_lines(dict(metrics.metrics(hist), loss=1.0), "title"))
    assert "title: loss 1.0000   pixel_accuracy 0.9286" in text
    assert "person        75.0   75.0" in text
    assert "tvmonitor        -      -" in text


@pytest.mark.parametrize("classes", [300, 1000])
def test_the_histogram_of_more_than_256_classes_counts_every_class(classes):
    truth, prediction = np.array([classes - 1, 255], np.uint16), np.array([299, 43], np.uint16)
    hist = metrics.fast_hist(truth, prediction, classes)
    assert hist.sum() == 2 and hist[classes - 1, 299] == hist[255, 43] == 1


def test_the_classes_have_the_names_of_the_data_set():
    labels = (Labels("label", ("ground", "sky"), np.zeros((2, 3), np.uint8)),)
    data_set = VOC._replace(labels=labels)
    assert metrics.class_names(2, data_set) == ("ground", "sky")
    assert metrics.class_names(3, data_set) == ("class 0", "class 1", "class 2")
    scores = metrics.metrics(np.array([[3, 1], [0, 4]]))
    assert "sky           80.0  100.0" in "\n".join(metrics.score_lines(scores, "", data_set))


def test_a_class_absent_from_the_truth_counts_only_in_the_original_scoring():
    hist = np.zeros((21, 21))
    hist[0, 0], hist[1, 1], hist[1, 2] = 4, 3, 1
    scores = metrics.metrics(hist)
    assert scores["mean_iu"] == pytest.approx((1 + 3 / 4) / 2)
    assert scores["mean_iu_original"] == pytest.approx((1 + 3 / 4 + 0) / 3)
    assert scores["predicted_absent"] == [2]
    lines = metrics.score_lines(scores, "title")
    assert "mean_iu 0.5833 in the original scoring, which counts bicycle with IU 0" in lines[1]
    hist[1, 2] = 0
    lines = metrics.score_lines(metrics.metrics(hist), "title")
    assert "original" not in "".join(lines)


def test_each_head_has_its_scores_and_class_names():
    scores = metrics.metrics(np.eye(33))
    scores["geo"] = metrics.metrics(np.eye(3))
    heads = net_gen.VARIANTS["siftflow-fcn8s"].heads
    text = "\n".join(metrics.score_lines(scores, "title", SIFT_FLOW, heads))
    assert "title (sem): " in text and "title (geo): " in text
    assert "staircase" in text and "horizontal" in text
