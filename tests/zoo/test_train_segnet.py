"""The small SegNet: its scenes, the folding of BN's statistics, and its training."""

from __future__ import annotations

import os

import caffe
import numpy as np
import pytest

from zoo import train_segnet


def test_a_scene_has_two_classes_or_more_and_the_same_seed_draws_it_again():
    image, labels = train_segnet.draw_scene(np.random.RandomState(5))
    again = train_segnet.draw_scene(np.random.RandomState(5))
    assert len(np.unique(labels)) >= 2 and labels.max() < len(train_segnet.CLASSES)
    assert np.array_equal(image, again[0]) and np.array_equal(labels, again[1])


def test_bn_with_folded_statistics_gives_the_scores_of_the_batch_they_are_from(tmp_path):
    scenes = str(tmp_path / "scenes")
    train_segnet.write_scenes(scenes, 4, 0)
    caffe.set_random_seed(1)
    nets = []
    for inference in (False, True):
        folder = tmp_path / str(inference)
        folder.mkdir()
        param = train_segnet.network(scenes, batch=4, inference=inference)
        nets.append(train_segnet.build(param, str(folder), caffe.TEST))
    learning, inferring = nets
    for name in inferring.params:
        for blob in learning.params[name]:
            if blob.data.size < 100:
                blob.data[...] = np.random.RandomState(1).uniform(0.5, 1.5, blob.shape)
    train_segnet.copy_folded(learning, inferring, 1)
    # The shuffled batch has the same four scenes, in another order.
    encoded, scores = (learning.blobs[name].data.copy() for name in ("conv3_3", "scores"))
    inferring.forward()
    order = [
        int(np.abs(inferring.blobs["data"].data - x).sum((1, 2, 3)).argmin())
        for x in learning.blobs["data"].data
    ]
    assert sorted(order) == [0, 1, 2, 3]
    errors = np.abs(encoded - inferring.blobs["conv3_3"].data[order])
    assert errors.max() < 1e-5 * np.abs(encoded).max()
    # Where two values of a pooling window are nearly equal, a rounding decides where the decoder
    # puts the larger one, and the scores around that position differ.
    errors = np.abs(scores - inferring.blobs["scores"].data[order])
    assert (errors < 1e-3 * np.abs(scores).max()).mean() > 0.97


def test_the_score_of_right_labels_is_one(tmp_path):
    scenes = str(tmp_path / "scenes")
    train_segnet.write_scenes(scenes, 2, 0)

    class Perfect:
        """A net whose scores are those of the labels in the files."""

        def __init__(self):
            self.net = train_segnet.build(
                train_segnet.network(scenes, batch=2, inference=True), str(tmp_path), caffe.TEST
            )
            self.blobs = self.net.blobs

        def forward(self):
            self.net.forward()
            labels = self.blobs["label"].data[:, 0].astype(int)
            self.blobs["scores"].data[...] = np.eye(4)[labels].transpose(0, 3, 1, 2)

    assert train_segnet.score(Perfect(), 1).tolist() == [1, 1, 1, 1]


@pytest.mark.slow
def test_a_small_segnet_learns_the_drawn_scenes(tmp_path):
    folder = str(tmp_path / "run")
    os.makedirs(folder)
    assert train_segnet.train(folder, 150).mean() > 0.5
