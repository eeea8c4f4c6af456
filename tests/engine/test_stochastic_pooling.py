"""Stochastic pooling: draws in TRAIN, the mean of the draws in TEST."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.errors import CaffeError

INPUT = """force_backward: true layer { name: 'x' type: 'Input' top: 'x' input_param { shape {
dim: %d dim: %d dim: %d dim: %d } } }
"""
POOL = (
    "layer { name: 'y' type: 'Pooling' bottom: 'x' top: 'y' pooling_param { pool: STOCHASTIC %s } }"
)


def build(tmp_path, shape, fields, phase, layer=POOL):
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT % shape + layer % fields)
    caffe.set_mode_cpu()
    return caffe.Net(str(path), phase)


def windows(x, kernel, stride):
    """The values of each window inside the image, in rows, by the window's place in the top.

    The number of windows is rounded up.
    """
    sizes = [int(np.ceil((n - k) / s)) + 1 for n, k, s in zip(x.shape[2:], kernel, stride)]
    return {
        (n, c, i, j): x[
            n,
            c,
            i * stride[0] : i * stride[0] + kernel[0],
            j * stride[1] : j * stride[1] + kernel[1],
        ]
        for n in range(x.shape[0])
        for c in range(x.shape[1])
        for i in range(sizes[0])
        for j in range(sizes[1])
    }


GEOMETRIES = [
    ("kernel_size: 2 stride: 2", (2, 2), (2, 2)),
    ("kernel_size: 3 stride: 2", (3, 3), (2, 2)),  # clipped at the right and bottom
    ("kernel_h: 1 kernel_w: 3 stride_h: 3 stride_w: 1", (1, 3), (3, 1)),
    ("global_pooling: true", (6, 7), (1, 1)),
]


@pytest.mark.parametrize("fields, kernel, stride", GEOMETRIES)
def test_in_the_test_phase_a_window_gives_its_expected_value(tmp_path, fields, kernel, stride):
    net = build(tmp_path, (2, 3, 6, 7), fields, caffe.TEST)
    x = np.maximum(np.random.RandomState(0).standard_normal((2, 3, 6, 7)), 0).astype(np.float32)
    x[0, 0] = 0
    net.blobs["x"].data[...] = x
    y = net.forward()["y"]
    expected = {
        k: (w * w).sum() / w.sum() if w.sum() else 0 for k, w in windows(x, kernel, stride).items()
    }
    assert y.size == len(expected)
    for place, value in expected.items():
        assert y[place] == pytest.approx(value, rel=1e-5)
    net.blobs["y"].diff[...] = 1
    net.backward()
    assert np.isfinite(net.blobs["x"].diff).all()


@pytest.mark.parametrize("fields, kernel, stride", GEOMETRIES)
def test_in_the_train_phase_a_window_gives_one_of_its_values(tmp_path, fields, kernel, stride):
    net = build(tmp_path, (2, 3, 6, 7), fields, caffe.TRAIN)
    x = np.random.RandomState(0).random_sample((2, 3, 6, 7)).astype(np.float32)
    net.blobs["x"].data[...] = x
    y = net.forward()["y"]
    pooled = windows(x, kernel, stride)
    assert y.size == len(pooled)
    # With stride 3 and kernel 1, the last window lies outside the image.
    assert all(y[place] in (values if values.size else [0]) for place, values in pooled.items())


def draws(net, values, count):
    """The number of times that each of four values is drawn in `count` windows of 2 x 2."""
    net.blobs["x"].data[...] = np.asarray(values, np.float32).reshape(2, 2)
    y = net.forward()["y"].ravel()
    assert y.size == count
    return np.array([(y == v).sum() for v in np.asarray(values, np.float32)])


@pytest.mark.parametrize("values", [(1, 2, 3, 4), (4, 3, 2, 1), (0, 0.5, 0, 8), (0.25, 1, 1.5, 7)])
def test_a_value_is_drawn_with_a_probability_in_proportion_to_the_value(tmp_path, values):
    count = 40_000
    net = build(tmp_path, (count, 1, 2, 2), "kernel_size: 2", caffe.TRAIN)
    caffe.set_random_seed(3)
    counts = draws(net, values, count)
    chances = np.array(values) / sum(values)
    deviation = np.sqrt(count * chances * (1 - chances))
    # A correct sampler is off by five standard deviations in 1 of two million runs.
    assert (np.abs(counts - count * chances)[chances > 0] < 5 * deviation[chances > 0]).all()
    assert counts[chances > 0].sum() == count, "a zero was drawn"
    uniform = np.where(chances > 0, count / (chances > 0).sum(), 0)
    assert (np.abs(counts - uniform) > 5 * deviation).any()


def test_windows_are_drawn_independently(tmp_path):
    net = build(tmp_path, (10_000, 2, 2, 2), "kernel_size: 2", caffe.TRAIN)
    caffe.set_random_seed(3)
    net.blobs["x"].data[...] = np.array([[1, 2], [3, 4]], np.float32)
    y = net.forward()["y"].reshape(10_000, 2)
    assert abs(np.corrcoef(y.T)[0, 1]) < 5 / np.sqrt(10_000)


def test_overlapping_windows_pass_their_gradients_to_the_values_that_they_drew(tmp_path):
    net = build(tmp_path, (3, 2, 5, 5), "kernel_size: 3 stride: 1", caffe.TRAIN)
    caffe.set_random_seed(1)
    rs = np.random.RandomState(0)
    x = rs.permutation(3 * 2 * 25).reshape(3, 2, 5, 5).astype(np.float32) + 1
    net.blobs["x"].data[...] = x
    y = net.forward()["y"].copy()
    gradient = rs.standard_normal(y.shape).astype(np.float32)
    net.blobs["y"].diff[...] = gradient
    net.backward()
    expected = np.zeros_like(x)
    for value, g in zip(y.ravel(), gradient.ravel()):
        expected[x == value] += g  # the values of x are all different
    np.testing.assert_allclose(net.blobs["x"].diff, expected, atol=1e-6)


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_a_window_of_zeros_gives_zero(tmp_path, phase):
    net = build(tmp_path, (1, 2, 4, 4), "kernel_size: 2 stride: 2", phase)
    net.blobs["x"].data[...] = 0
    assert (net.forward()["y"] == 0).all()


def test_the_same_seed_draws_the_same_values(tmp_path):
    net = build(tmp_path, (4, 4, 8, 8), "kernel_size: 2 stride: 2", caffe.TRAIN)
    x = np.random.RandomState(0).random_sample((4, 4, 8, 8)).astype(np.float32)

    def run(seed):
        caffe.set_random_seed(seed)
        net.blobs["x"].data[...] = x
        return net.forward()["y"].copy()

    first = run(5)
    assert (first == run(5)).all() and (first != run(6)).any()
    assert (net.forward()["y"].copy() != run(6)).any()


def test_a_train_layer_in_a_test_net_keeps_the_draw_of_its_forward(tmp_path):
    text = (
        INPUT.replace("force_backward: true ", "") % (64, 1, 2, 2)
        + "layer { name: 's' type: 'Scale' bottom: 'x' top: 's' }"
        + POOL.replace("bottom: 'x'", "bottom: 's' loss_weight: 1 phase: TRAIN") % "kernel_size: 2"
    )
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    net = caffe.Net(str(path), caffe.TEST)
    net.params["s"][0].data[...] = 1
    net.blobs["x"].data[...] = np.array([[1, 2], [3, 4]], np.float32)
    y = net.forward()["y"].copy().ravel()
    net.backward()
    assert net.params["s"][0].diff[0] == pytest.approx(y.sum())


SPP = "layer { name: 'y' type: 'SPP' bottom: 'x' top: 'y' spp_param { pool: STOCHASTIC %s } }"


def test_a_pyramid_pools_each_of_its_levels(tmp_path):
    net = build(tmp_path, (1, 1, 4, 4), "pyramid_height: 2", caffe.TEST, SPP)
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    net.blobs["x"].data[...] = x
    parts = [x, x[..., :2, :2], x[..., :2, 2:], x[..., 2:, :2], x[..., 2:, 2:]]
    expected = [(p * p).sum() / p.sum() for p in parts]
    np.testing.assert_allclose(net.forward()["y"][0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "layer, fields, words",
    [
        (POOL, "kernel_size: 3 pad: 1", "has pad (1, 1); it needs pad 0"),
        (POOL.replace("top: 'y'", "top: 'y' top: 'm'"), "kernel_size: 3", "has 2 tops; it needs 1"),
        (
            POOL.replace("top: 'y'", "top: 'y' top: 'm'").replace("STOCHASTIC", "AVE"),
            "kernel_size: 3",
            "has 2 tops; it needs 1",
        ),
        (SPP, "pyramid_height: 2", "needs padding (1, 1)"),
    ],
)
def test_stochastic_pooling_with_padding_or_indices_is_refused_in_one_line(
    tmp_path, layer, fields, words
):
    with pytest.raises(CaffeError) as refusal:
        build(tmp_path, (1, 1, 5, 5), fields, caffe.TEST, layer)
    assert words in str(refusal.value).replace("[", "(").replace("]", ")")
    assert len(str(refusal.value).splitlines()) == 1
