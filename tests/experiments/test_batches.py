from __future__ import annotations

import os

import numpy as np
import pytest

from experiments import batches, running, training
from solvers.caffe_solver import read_solver


def displacement(regime, images, image):
    """Return how far one image's gradient of 1 moves a weight over all updates of Caffe's SGD."""
    weight = history = 0.0
    for update in range(images // regime.batch):
        first = update * regime.batch
        gradient = float(first <= image < first + regime.batch) / regime.batch
        history = regime.momentum * history + regime.rate * gradient
        weight += history
    return weight


def test_an_image_moves_the_weights_equally_far_in_all_regimes():
    regimes = batches.regimes(3e-6)
    distances = [displacement(regime, 20000, 45) for regime in regimes]
    assert np.allclose(distances, 3e-6, rtol=1e-6)
    assert [regime.effect for regime in regimes] == pytest.approx([3e-6] * 3)


def test_the_equivalent_momentum_forgets_an_image_at_the_same_pace():
    online = batches.equivalent_momentum(0.9, 20, 1)
    assert online**20 == pytest.approx(0.9) and online == pytest.approx(0.9947, abs=1e-4)
    assert batches.equivalent_momentum(online, 1, 20) == pytest.approx(0.9)


def test_memory_is_the_sum_of_the_weights_of_past_images():
    for regime in batches.regimes(1.0):
        weights = regime.momentum ** np.floor(np.arange(20000) / regime.batch)
        assert regime.memory == pytest.approx(weights.sum(), rel=1e-6)


@pytest.mark.long
def test_every_regime_sees_the_same_images(demo_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 3)
    monkeypatch.setattr(batches, "SNAPSHOTS", 2)
    result = running.make("batches", batches.run, str(tmp_path), demo_folder, "cpu")
    folder = os.path.join(str(tmp_path), "batches")
    for name, iters, size in (("batches", 2, 3), ("online", 6, 1), ("online-paper", 6, 1)):
        solver = read_solver(os.path.join(folder, name, "solver.prototxt"))
        assert (solver.max_iter, solver.iter_size) == (iters, size)
        assert [r["at"] for r in training.snapshot_scores(os.path.join(folder, name), size)] == [
            3,
            6,
        ]
    rows = result.tables[0].rows
    assert [row[3].value for row in rows[:3]] == [2, 6, 6]
    assert rows[1][0].value == pytest.approx(0.9 ** (1 / 3))
    assert os.path.getsize(os.path.join(folder, "loss.png")) > 1000
