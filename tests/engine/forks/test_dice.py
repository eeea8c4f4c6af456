"""V-Net's DiceLoss, which the engine runs where its module is missing."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.errors import ShapeError

from tests.engine.nets import build
from tests.engine.test_fork_behaviour import layer

DICE = "type: 'Python' loss_weight: 1 python_param { module: 'pyLayer' layer: 'DiceLoss' }"


def test_the_coefficients_of_all_volumes_add_up(tmp_path):
    net = build(tmp_path, layer(DICE, (3, 2, 8), (3, 1, 8)), caffe.TRAIN)
    random = np.random.RandomState(0)
    p = random.uniform(size=(3, 8))
    truth = random.randint(0, 2, (3, 1, 8))
    truth[2], p[2] = 0, 0.1
    net.blobs["x0"].data[...] = np.stack([1 - p, p], 1)
    net.blobs["x1"].data[...] = truth
    value = float(net.forward()["y0"][0])
    net.backward()
    gradient, total = net.blobs["x0"].diff, 0.0
    for n in range(3):
        r, t = p[n] > 0.5, truth[n, 0]
        shared, union = (r * t).sum(), r.sum() + t.sum()
        total += 2 * shared / (union + 1e-5)
        for v in range(8) if union else ():
            step = 2 * (t[v] / union - 2 * p[n, v] * shared / union**2)
            np.testing.assert_allclose(gradient[n, :, v], [step, -step], rtol=1e-4, atol=1e-6)
    assert value == pytest.approx(total, rel=1e-5) and total > 0.5
    assert not gradient[2].any()


def test_a_truth_of_another_size_is_refused(tmp_path):
    with pytest.raises(ShapeError, match="a value for each of N x V voxels"):
        build(tmp_path, layer(DICE, (3, 2, 8), (3, 1, 7)), caffe.TRAIN)
