from __future__ import annotations

import os

import caffe
import numpy as np
import pytest

import net_gen
import surgery
from experiments import demo_run, running, skips, training
from solvers import chain


def nets(folder, width=1 / 32):
    """Return FCN-32s and the net without pool5's stride, with the same weights and image."""
    fcn32s = net_gen.fcn("voc-fcn32s", "deploy", width=width, classes=3)
    paths = {}
    for name, net in (("with", fcn32s), ("without", skips.without_stride(fcn32s))):
        paths[name] = os.path.join(folder, name + ".prototxt")
        net_gen.write(net, paths[name])
    filled = os.path.join(folder, "filled.prototxt")
    net_gen.write(chain.with_fillers(fcn32s, "msra"), filled)
    weights = os.path.join(folder, "random.caffemodel")
    chain.random_weights(filled, weights, 1)
    image = np.random.RandomState(0).uniform(-99, 99, (1, 3, 110, 90))
    result = []
    for name in ("with", "without"):
        net = caffe.Net(paths[name], weights, caffe.TEST)
        surgery.interp(net, surgery.interp_layers(net))
        net.blobs["data"].reshape(*image.shape)
        net.reshape()
        net.blobs["data"].data[...] = image
        net.forward()
        result.append(net)
    return result


@pytest.mark.long
def test_every_second_score_without_the_stride_is_a_score_of_the_original_net(tmp_path):
    old, new = (net.blobs["score_fr"].data.copy() for net in nets(str(tmp_path)))
    assert new.shape[2] > old.shape[2] and np.abs(old).max() > 0
    rows, columns = old.shape[2:]
    common = new[:, :, : 2 * rows : 2, : 2 * columns : 2]
    assert np.abs(common - old).max() <= 1e-5 * np.abs(old).max()


def test_a_score_without_the_stride_lies_at_the_same_pixels(tmp_path):
    """A single score in the map is upsampled around the same pixel, down and across."""
    centres = []
    for net, at in zip(nets(str(tmp_path)), (1, 2)):
        scores = net.blobs["score_fr"].data
        scores[...] = 0
        scores[0, 1, at, at] = 1
        up = next(name for name in net.blobs if name.startswith("upscore"))
        net.forward(start=up)
        upsampled = net.blobs["score"].data[0, 1].astype(float)
        assert upsampled.shape == (110, 90) and upsampled.sum() > 0
        centres.append(
            [float(np.average(i, weights=upsampled)) for i in np.indices(upsampled.shape)]
        )
    assert np.allclose(*centres, atol=1e-3)


def test_scores_without_the_stride_cover_an_image_of_any_size(tmp_path):
    net = nets(str(tmp_path))[1]
    for height, width in ((1, 1), (31, 33), (64, 65), (100, 47)):
        net.blobs["data"].reshape(1, 3, height, width)
        net.reshape()
        assert net.blobs["score"].data.shape[2:] == (height, width)


def test_the_colours_of_a_difference_separate_gains_from_losses():
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


def test_gained_and_lost_pixels_sum_to_the_difference_of_accuracies(demo_folder, tmp_path):
    demo = demo_run.open_demo(demo_folder)
    names = ("voc-fcn32s", "voc-fcn8s")
    gained, lost = skips.compare_nets(demo, *map(demo.stage, names), str(tmp_path / "a.png"))
    before, after = (demo.scores(name)["pixel_accuracy"] for name in names)
    assert gained - lost == pytest.approx(after - before, abs=1e-9)
    assert os.path.getsize(tmp_path / "a.png") > 1000


@pytest.mark.long
def test_both_alternatives_are_trained_for_the_iterations_of_the_skip(demo_folder, tmp_path):
    result = running.make("skips", skips.run, str(tmp_path), demo_folder, "cpu")
    demo = demo_run.open_demo(demo_folder)
    rows = {row[0]: row for row in result.tables[0].rows}
    iterations = {title: row[2].value for title, row in rows.items()}
    assert iterations["pool5 with stride 1"] == iterations["FCN-16s: sum with pool4"]
    assert iterations["FCN-32s, trained on"] == iterations["FCN-16s: sum with pool4"]
    assert rows["FCN-16s: sum with pool4"][5].value == pytest.approx(
        100 * demo.scores("voc-fcn16s")["mean_iu"]
    )
    assert len(result.figures) == 4
    assert any("411 million weights instead of 103 million" in text for text in result.text)
    for name in ("stride16-pool5", "fcn32s-on"):
        table = training.loss_curve(os.path.join(str(tmp_path), "skips", name))
        assert table, name
