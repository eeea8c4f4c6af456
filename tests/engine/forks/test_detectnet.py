"""DetectNet's Python layer, which the engine runs where its module is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from caffe.errors import LayerError, ShapeError

from tests.engine.nets import build
from tests.engine.test_fork_behaviour import layer

CLUSTER = (
    "type: 'Python' python_param { module: 'caffe.layers.detectnet.clustering' "
    "layer: 'ClusterDetections' param_str: '%s' }"
)


def similar(a, b, eps):
    """Whether OpenCV's groupRectangles counts two rectangles as one."""
    near = eps * (min(a[2], b[2]) + min(a[3], b[3])) / 2
    ends = (abs(a[0] - b[0]), abs(a[1] - b[1]))
    ends += (abs(a[0] + a[2] - b[0] - b[2]), abs(a[1] + a[3] - b[1] - b[3]))
    return max(ends) <= near


def test_positions_that_agree_become_one_box(tmp_path):
    net = build(
        tmp_path, layer(CLUSTER % "128, 96, 16, 0.6, 2, 0.05, 22", (2, 1, 6, 8), (2, 4, 6, 8))
    )
    random = np.random.RandomState(0)
    coverages = np.zeros((2, 1, 6, 8))
    coverages[0, 0, 1:4, 1:4] = 0.7
    coverages[0, 0, 4, 6] = 0.9
    coverages[1, 0, 2, 2:5] = 0.59
    net.blobs["x0"].data[...] = coverages
    y, x = np.mgrid[:6, :8] * 16
    box = np.array([18, 20, 70, 77])[:, None, None]
    noise = random.uniform(-1, 1, (2, 4, 6, 8))
    net.blobs["x1"].data[...] = box - np.stack([x, y, x, y]) + noise
    out = net.forward()["y0"]
    corners = (box + noise[0]).astype(np.float32)[:, 1:4, 1:4].reshape(4, -1).T.astype(int)
    assert all(similar(a, b, 0.05) for a in corners for b in corners)
    lone = (box[:, 0, 0] + noise[0, :, 4, 6]).astype(int)
    assert similar(lone, corners[0], 0.05)
    mean = np.concatenate([corners, lone[None]]).mean(0)
    assert np.abs(out[0, 0, :4] - mean).max() <= 0.5
    assert out[0, 0, 4] == pytest.approx(math.log(10))
    assert not out[0, 1:].any() and not out[1].any()


def test_groups_that_are_small_or_low_are_left_out(tmp_path):
    shapes = (1, 2, 6, 8), (1, 4, 6, 8)
    net = build(tmp_path, layer(CLUSTER % "128, 96, 16, 0.5, 2, 0.1, 30, 2", *shapes, tops=2))
    net.blobs["x0"].data[0, 0, :2, :2] = 1
    net.blobs["x0"].data[0, 1, 4, :2] = 1
    y, x = np.mgrid[:6, :8] * 16
    box = np.where(y < 32, np.array([2, 3, 40, 33])[:, None, None], 50 + np.zeros((4, 1, 1)))
    net.blobs["x1"].data[...] = box - np.stack([x, y, x, y])
    out = net.forward()
    np.testing.assert_allclose(out["y0"][0, 0], [2, 3, 40, 33, math.log(4)], rtol=1e-6)
    assert not out["y0"][0, 1:].any() and not out["y1"].any()


def test_settings_and_shapes_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(LayerError, match="needs the numbers columns, rows"):
        build(tmp_path, layer(CLUSTER % "128, 96", (1, 1, 6, 8), (1, 4, 6, 8)))
    with pytest.raises(ShapeError, match="2 classes need N x 2 x H x W"):
        text = layer(CLUSTER % "128, 96, 16, 0.5, 2, 0.1, 30, 2", (1, 1, 6, 8), (1, 4, 6, 8))
        build(tmp_path, text)
