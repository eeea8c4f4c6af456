"""A third engine, OpenCV, reads the prototxt and the weights and gives the same scores."""

from __future__ import annotations

import caffe
import cv2
import numpy as np
import pytest

import net_gen
from oracle.classifiers import CLASSIFIERS
from oracle.compare import assert_same_scores, score_agreement
from oracle.whole_nets import deployed, score_blob

NETS = [*net_gen.VARIANTS, *CLASSIFIERS]


def compare(name, folder, width, size=(134, 146)):
    caffe.set_mode_cpu()
    cv2.setNumThreads(1)
    net, images = deployed(name, str(folder), width, size)
    net.forward()
    engine = net.blobs[score_blob(name)].data.copy()
    del net
    model = folder / f"{name}.caffemodel"
    opencv = cv2.dnn.readNetFromCaffe(str(folder / f"{name}-deploy.prototxt"), str(model))
    model.unlink()
    opencv.setInput(images, "data")
    # OpenCV fuses layers, so an inner blob may hold the values of the next blob.
    scores = opencv.forward(score_blob(name))
    assert_same_scores(engine, scores.reshape(engine.shape))


@pytest.mark.parametrize("name", NETS)
def test_opencv_gives_the_scores_of_a_narrow_net(name, tmp_path):
    compare(name, tmp_path, 1 / 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_opencv_gives_the_scores_of_a_net_of_full_width(name, tmp_path):
    compare(name, tmp_path, 1, (375, 500))


def test_the_comparison_of_rankings_finds_another_order():
    scores = np.array([[1.0, 2.0, 3.0]])
    reversed_order = score_agreement(scores[:, ::-1], scores)
    assert (reversed_order.differ, round(reversed_order.margin, 3)) == (2, 0.667)
    assert score_agreement(scores, scores)[:4] == (0, 3, 0, 0)
    tie = score_agreement(np.array([[3.0, 2.0, 3.0 - 1e-7]]), np.array([[3.0 - 1e-7, 2.0, 3.0]]))
    assert tie.differ == 1 and 0 < tie.margin < 1e-7


def test_the_comparison_of_maps_finds_a_label_that_differs_and_its_scores():
    other = np.zeros((1, 3, 2, 2))
    other[0, 1] = 2
    engine = other.copy()
    engine[0, 2, 1, 0] = 2.5
    agreement = score_agreement(engine, other)
    assert (agreement.differ, agreement.places, agreement.margin) == (1, 4, 1.0)
    assert agreement.ties == [
        {"place": [0, 1, 0], "classes": [1, 2], "engine": [2, 2.5], "other": [2, 0]}
    ]
    with pytest.raises(AssertionError):
        assert_same_scores(engine, other)
