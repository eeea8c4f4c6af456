"""The drawn scenes, and a small SSD that learns from them."""

from __future__ import annotations

import caffe
import numpy as np
import pytest

from zoo import scenes, train_ssd


def test_objects_lie_inside_the_image_and_are_drawn_in_their_boxes():
    random = np.random.RandomState(4)
    for _ in range(20):
        scene = scenes.draw(random, 64)
        assert 1 <= len(scene.labels) == len(scene.boxes) <= 4
        for label, (left, top, right, bottom) in zip(scene.labels, scene.boxes):
            assert 1 <= label <= len(scenes.SHAPES)
            assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1


def test_a_batch_numbers_its_images():
    images, objects = scenes.batch(np.random.RandomState(5), 3, 32)
    assert images.shape == (3, 3, 32, 32) and objects.shape[3] == 8
    assert set(objects[0, 0, :, 0]) == {0, 1, 2}


def test_a_few_iterations_give_a_loss_and_a_precision(tmp_path):
    trained = train_ssd.train(str(tmp_path), 3)
    assert 0 < float(trained.blobs["mbox_loss"].data) < 100
    precisions = train_ssd.measure(str(tmp_path), trained, 1)
    assert set(precisions) <= set(scenes.SHAPES)
    assert all(0 <= value <= 1 for value in precisions.values())


@pytest.mark.slow
def test_a_small_ssd_learns_to_detect(tmp_path):
    caffe.set_mode_cpu()
    trained = train_ssd.train(str(tmp_path), 600)
    precisions = train_ssd.measure(str(tmp_path), trained, 8)
    assert np.mean(list(precisions.values())) > 0.5
