"""Gaussian filtering on the permutohedral lattice, and the mean field that uses it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from caffe.errors import LayerError, ShapeError
from caffe.ops.permutohedral import Lattice, corners

from tests.engine.nets import build


def grid(side, deviation):
    """The positions of a map, side^2 x 2, in units of a standard deviation."""
    return np.stack(np.indices((side, side))[::-1], -1).reshape(-1, 2) / deviation


def normalized(features, values):
    lattice = Lattice(features, torch.device("cpu"))
    ones = torch.ones(1, len(features))
    return (lattice.filter(values) / lattice.filter(ones)).numpy()


@pytest.mark.parametrize("d", [2, 3, 5])
def test_the_weights_of_a_points_corners_are_a_partition_of_one(d):
    keys, weights = corners(np.random.RandomState(0).standard_normal((200, d)) * 4)
    assert keys.shape == (200, d + 1, d) and weights.shape == (200, d + 1)
    assert weights.min() >= -1e-12 and weights.max() <= 1
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-12)
    # The coordinates of a corner are congruent modulo d + 1, and the corners have all remainders.
    assert ((keys - keys[:, :, :1]) % (d + 1) == 0).all()
    assert (np.sort(keys[:, :, 0] % (d + 1), 1) == np.arange(d + 1)).all()


def test_the_normalized_filter_is_close_to_the_exact_gaussian():
    features = grid(14, 2.0)
    values = np.random.RandomState(0).standard_normal((1, len(features)))
    squares = ((features[:, None] - features) ** 2).sum(2)
    kernel = np.exp(-squares / 2)
    exact = values @ kernel / kernel.sum(0)
    filtered = normalized(features, torch.tensor(values, dtype=torch.float32))
    assert np.abs(filtered - exact).max() < 0.1 * np.abs(exact).max()
    assert np.corrcoef(filtered.ravel(), exact.ravel())[0, 1] > 0.99


def test_a_constant_stays_constant():
    features = np.random.RandomState(1).standard_normal((50, 5))
    np.testing.assert_allclose(normalized(features, torch.full((2, 50), 3.0)), 3, rtol=1e-5)


FIELD = """
layer {{ name: 'u' type: 'Input' top: 'u' top: 'image'
  input_param {{ shape {{ dim: 1 dim: 2 dim: 12 dim: 12 }} shape {{ {image} }} }} }}
layer {{ name: 'crf' type: 'MultiStageMeanfield' bottom: 'u' bottom: 'u' bottom: 'image' top: 'y'
  multi_stage_meanfield_param {{ num_iterations: {iterations} theta_alpha: 8 theta_beta: 10
    theta_gamma: 2 spatial_filter_weight: 1 bilateral_filter_weight: 3 }} }}"""
IMAGE = "dim: 1 dim: 3 dim: 12 dim: 12"


def test_the_mean_field_removes_a_label_that_neighbours_of_its_colour_do_not_have(tmp_path):
    net = build(tmp_path, FIELD.format(image=IMAGE, iterations=5))
    left = np.arange(12) < 6
    net.blobs["image"].data[...] = np.where(left, 0, 200)
    unary = np.where(left, 1.0, -1.0) * np.ones((12, 12))
    unary[5, 2] = -0.5
    net.blobs["u"].data[0] = [unary, -unary]
    labels = net.forward()["y"][0].argmax(0)
    assert (labels == np.where(left, 0, 1)).all()


def test_settings_and_shapes_that_the_mean_field_cannot_use_are_refused(tmp_path):
    with pytest.raises(LayerError, match="num_iterations is 0"):
        build(tmp_path, FIELD.format(image=IMAGE, iterations=0))
    with pytest.raises(ShapeError, match="they need twice"):
        build(tmp_path, FIELD.format(image="dim: 1 dim: 3 dim: 9 dim: 12", iterations=1))
