"""A small DetectNet that learns from databases in DIGITS' format."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.data.db import Reader
from caffe.data.detectnet import read_labels
from caffe.proto import caffe_pb2

from zoo import scenes, train_detectnet
from zoo.nets.detectnet import train_val


def test_the_databases_have_the_scenes_and_their_boxes(tmp_path):
    train_detectnet.write_databases(str(tmp_path), "train", 2, 7, 64)
    random = np.random.RandomState(7)
    images, labels = (
        [caffe_pb2.Datum.FromString(value) for value in Reader(str(tmp_path / f"train_{kind}"))]
        for kind in ("images", "labels")
    )
    assert len(images) == len(labels) == 2
    for image, label in zip(images, labels):
        scene = scenes.draw(random, 64)
        assert caffe.io.datum_to_array(image).shape == (3, 64, 64)
        objects = read_labels(caffe.io.datum_to_array(label)[0])
        assert objects.classes.tolist() == scene.labels
        np.testing.assert_allclose(objects.boxes, np.array(scene.boxes) * 64, atol=1e-4)


def test_the_net_has_the_layers_of_three_uses():
    layers = train_val(".").layer
    for phase, stages, inputs in (
        (caffe.TRAIN, [], ["Data", "Data", "DetectNetTransformation"]),
        (caffe.TEST, ["val"], ["Data", "Data", "DetectNetTransformation"]),
        (caffe.TEST, [], ["Input", "Power"]),
    ):
        kept = [
            layer.type
            for layer in layers
            if not layer.include
            or any(
                rule.phase == phase
                and set(rule.stage) <= set(stages)
                and not set(rule.not_stage) & set(stages)
                for rule in layer.include
            )
        ]
        assert kept[: len(inputs)] == inputs
        assert kept.count("Convolution") == 59 and kept.count("L1Loss") == (kept[0] == "Data")


@pytest.mark.slow
def test_a_small_detectnet_learns_to_detect(tmp_path):
    caffe.set_mode_cpu()
    for phase, count, seed in (("train", 400, 1), ("val", 64, 2)):
        train_detectnet.write_databases(str(tmp_path), phase, count, seed)
    try:
        trained = train_detectnet.train(str(tmp_path), 800)
        scores = train_detectnet.measure(str(tmp_path), trained, 8)
    finally:
        caffe.set_fork(None)
    assert scores["precision"] > 0.3 and scores["recall"] > 0.3
