from __future__ import annotations

import os
from types import SimpleNamespace

import caffe
import numpy as np
import pytest
from PIL import Image

import surgery
from solvers import score
from solvers.folders import working_folder


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


@pytest.mark.parametrize("images", [0, -1])
def test_scoring_no_images_is_refused(images):
    with pytest.raises(ValueError, match="images is .*, needs an integer of at least 1"):
        score.run(images=images)


def test_a_net_is_scored_over_its_images_of_different_sizes():
    net = fake_net(TRUTHS, PREDICTIONS, [3.0, 6.0, 0.0])
    scores = score.score_net(net, 3)
    assert scores["loss"] == pytest.approx(3.0) and scores["images"] == 3
    assert scores["pixel_accuracy"] == pytest.approx(5 / 8)


def test_the_same_images_are_scored_again():
    net = fake_net(TRUTHS, PREDICTIONS, [3.0, 6.0, 0.0])
    first, again = (score.score_net(net, 2) for _ in range(2))
    assert first["mean_iu"] == again["mean_iu"] and first["loss"] == again["loss"]


def test_predictions_are_saved_under_the_ids_of_the_images(tmp_path):
    score.score_net(fake_net(TRUTHS, PREDICTIONS, [0.0] * 3), 3, out=str(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["im0.png", "im1.png", "im2.png"]
    assert np.asarray(Image.open(tmp_path / "im1.png")).tolist() == [[1, 0, 0]]


def test_a_blob_that_the_net_lacks_is_refused():
    with pytest.raises(ValueError, match="blob fuse: not in this net; it has score, label, loss"):
        score.score_net(fake_net(TRUTHS, PREDICTIONS, [0.0] * 3), 1, layer="fuse")


def test_the_test_net_of_a_solver_is_scored_with_the_weights_of_its_training_net(tiny_stage):
    folder = tiny_stage()
    os.makedirs(os.path.join(folder, "snapshot"))
    with working_folder(folder):
        solver = caffe.get_solver("solver.prototxt")
        surgery.interp(solver.net, surgery.interp_layers(solver.net))
        solver.net.params["score_fr"][1].data[3] = 1.0
        scores = score.seg_tests(solver)
    assert scores["images"] == 2
    assert scores["accuracy"][0] == 0.0, "every pixel is predicted as class 3"


def test_a_net_of_a_thousand_classes_is_scored_and_saved_without_wrapping(tmp_path):
    net = fake_net([[[299, 43]]], [[[299, 299]]], [0.0], classes=1000)
    scores = score.score_net(net, 1, out=str(tmp_path))
    assert scores["accuracy"][299] == 1.0 and scores["accuracy"][43] == 0.0
    assert np.asarray(Image.open(tmp_path / "im0.png")).tolist() == [[299, 299]]
