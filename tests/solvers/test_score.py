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
