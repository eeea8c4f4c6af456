from __future__ import annotations

import os

import caffe
import numpy as np
import pytest

import net_gen
import surgery
from experiments import report, skips, training


def nets(folder, width=1 / 32):
    """FCN-32s and the net without pool5's stride: the same random weights, the same image."""
    from solvers import chain

    given = net_gen.fcn("voc-fcn32s", "deploy", width=width, classes=3)
    paths = {}
    for name, net in (("with", given), ("without", skips.without_stride(given))):
        paths[name] = os.path.join(folder, name + ".prototxt")
        net_gen.write(net, paths[name])
    filled = os.path.join(folder, "filled.prototxt")
    net_gen.write(chain.with_fillers(given, "msra"), filled)
    weights = os.path.join(folder, "random.caffemodel")
    chain.random_weights(filled, weights, 1)
    image = np.random.RandomState(0).uniform(-99, 99, (1, 3, 110, 90))
    found = []
    for name in ("with", "without"):
        net = caffe.Net(paths[name], weights, caffe.TEST)
        surgery.interp(net, surgery.interp_layers(net))
        net.blobs["data"].reshape(*image.shape)
        net.reshape()
        net.blobs["data"].data[...] = image
        net.forward()
        found.append(net)
    return found


def test_without_the_stride_every_second_score_is_the_old_one(tmp_path):
    old, new = (net.blobs["score_fr"].data.copy() for net in nets(str(tmp_path)))
    assert new.shape[2] > old.shape[2] and np.abs(old).max() > 0
    rows, columns = old.shape[2:]
    again = new[:, :, : 2 * rows : 2, : 2 * columns : 2]
    assert np.abs(again - old).max() <= 1e-5 * np.abs(old).max()


def test_the_scores_stay_at_their_pixels(tmp_path):
    """A score alone in the map is drawn around the same pixel, down and across."""
    centres = []
    for net, at in zip(nets(str(tmp_path)), (1, 2)):
        scores = net.blobs["score_fr"].data
        scores[...] = 0
        scores[0, 1, at, at] = 1
        up = next(name for name in net.blobs if name.startswith("upscore"))
        net.forward(start=up)
        drawn = net.blobs["score"].data[0, 1].astype(float)
        assert drawn.shape == (110, 90) and drawn.sum() > 0
        centres.append([float(np.average(i, weights=drawn)) for i in np.indices(drawn.shape)])
    assert np.allclose(*centres, atol=1e-3)


def test_the_image_is_covered_at_any_size(tmp_path):
    net = nets(str(tmp_path))[1]
    for height, width in ((1, 1), (31, 33), (64, 65), (100, 47)):
        net.blobs["data"].reshape(1, 3, height, width)
        net.reshape()
        assert net.blobs["score"].data.shape[2:] == (height, width)


def test_a_difference_tells_gains_from_losses():
    truth = np.array([[1, 1, 1, 1, 255]], np.uint8)
    before = np.array([[2, 1, 2, 1, 2]], np.uint8)
    after = np.array([[1, 2, 3, 1, 1]], np.uint8)
    white = (255, 255, 255)
    assert [tuple(pixel) for pixel in skips.difference(before, after, truth)[0]] == [
        skips.RIGHT,
        skips.WRONG,
        skips.OTHER,
        white,
        white,
    ]


def test_counted_changes_are_the_difference_of_the_accuracies(demo_run, tmp_path):
    demo = training.finished(demo_run)
    names = ("voc-fcn32s", "voc-fcn8s")
    gained, lost = skips.changes(demo, *map(demo.stage, names), str(tmp_path / "a.png"))
    before, after = (demo.scores(name)["pixel_accuracy"] for name in names)
    assert gained - lost == pytest.approx(after - before, abs=1e-9)
    assert os.path.getsize(tmp_path / "a.png") > 1000


def test_the_experiment_trains_both_alternatives_for_as_long(demo_run, tmp_path):
    result = report.make(skips.run, str(tmp_path), demo_run, "cpu")
    demo = training.finished(demo_run)
    rows = {row[0]: row for row in result.tables[0].rows}
    iterations = {words: rows[words][2].value for words in rows}
    assert iterations["pool5 with stride 1"] == iterations["FCN-16s: sum with pool4"]
    assert iterations["FCN-32s, trained on"] == iterations["FCN-16s: sum with pool4"]
    assert rows["FCN-16s: sum with pool4"][5].value == pytest.approx(
        100 * demo.scores("voc-fcn16s")["mean_iu"]
    )
    assert len(result.figures) == 4
    assert any("411 million weights in place of 103 million" in text for text in result.text)
    for name in ("stride16-pool5", "fcn32s-on"):
        table = training.curve(os.path.join(str(tmp_path), "skips", name))
        assert table, name
