"""The files that the benchmark runs on."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
import torch

from bench import images, machine, prepare
from bench.classifiers import CLASSIFIERS
from bench.pictures import read_pictures


def test_sizes_of_the_stream_are_the_same_every_time():
    assert images.voc_sizes(8) == images.voc_sizes(8) and (375, 500) in images.voc_sizes(8)
    assert set(images.voc_sizes(500)) == set(images.VOC_SIZES)


def test_weights_give_finite_scores_of_every_class(folder):
    net = caffe.Net(
        str(folder / "fcn8s.prototxt"), caffe.TEST, weights=str(folder / "fcn8s.caffemodel")
    )
    net.blobs["data"].reshape(1, 3, 64, 96)
    net.blobs["data"].data[...] = images.image(64, 96)
    scores = net.forward()["score"]
    assert np.isfinite(scores).all() and scores.std(axis=(0, 2, 3)).min() > 0


def test_pictures_are_read_with_their_truth(folder):
    pairs = list(read_pictures(folder / "voc", 3))
    assert [truth.shape for _, truth in pairs] == images.voc_sizes(3)
    for image, truth in pairs:
        assert image.shape == (1, 3, *truth.shape) and image.dtype == np.float32
        assert set(np.unique(truth)) <= {*range(21), 255}


def test_only_missing_files_are_written(folder):
    weights = folder / "fcn8s.caffemodel"
    before = weights.stat().st_mtime_ns
    assert not prepare.missing(folder)
    prepare.prepare(folder)
    assert weights.stat().st_mtime_ns == before


def test_an_interrupted_write_of_pictures_is_repeated(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(images, "write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        images.write_pictures(tmp_path, 1)
    assert "pictures" in prepare.missing(tmp_path)


def test_a_missing_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no CUDA device here, needs one; run without"):
        machine.describe("cuda")


def test_the_core_types_are_those_that_the_processor_can_run(monkeypatch):
    monkeypatch.setattr(machine, "flags", lambda: {"avx", "avx2"})
    assert "Haswell" in machine.core_types() and "SkylakeX" not in machine.core_types()
    monkeypatch.setattr(machine, "flags", lambda: {"avx"})
    assert machine.core_types() == ["Sandybridge"]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_gives_finite_scores_that_differ(folder, name):
    net = caffe.Net(
        str(folder / f"{name}.prototxt"), caffe.TEST, weights=str(folder / f"{name}.caffemodel")
    )
    net.blobs["data"].data[...] = images.image(*CLASSIFIERS[name].size)
    scores = net.forward()["score"]
    assert np.isfinite(scores).all() and scores.std() > 0
    assert net.executor.choice.way == "plan"
