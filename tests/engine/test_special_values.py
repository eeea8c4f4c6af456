"""NaN and infinity through layers. The expected values are those of BVLC Caffe on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.nets import build

NAN, INF = np.nan, np.inf


def run(folder, layer, *inputs, diff=1.0, weights=()):
    """Return top and bottoms' gradients of a layer text with bottoms a, b, ... and the top y."""
    names = "abc"[: len(inputs)]
    text = "force_backward: true\n"
    for name, values in zip(names, inputs):
        dims = " ".join(f"dim: {n}" for n in np.shape(values))
        shape = f"input_param {{ shape {{ {dims} }} }}"
        text += f"layer {{ name: '{name}' type: 'Input' top: '{name}' {shape} }}\n"
    bottoms = " ".join(f"bottom: '{name}'" for name in names)
    net = build(folder, text + f"layer {{ name: 'y' {bottoms} top: 'y' {layer} }}")
    for name, values in zip(names, inputs):
        net.blobs[name].data[...] = values
    for blob, values in zip(net.params.get("y", ()), weights):
        blob.data[...] = values
    net.forward()
    if diff is not None:
        net.blobs["y"].diff[...] = diff
        net.backward()
    return net.blobs["y"].data.copy(), [net.blobs[name].diff.copy() for name in names]


@pytest.mark.parametrize(
    "layer, x, y, slope",
    [
        ("type: 'ELU'", [NAN, INF, -INF], [NAN, INF, -1], [NAN, NAN, 0]),
        ("type: 'Clip' clip_param { min: -1 max: 2 }", [NAN, INF, 0], [-1, 2, 0], [0, 0, 1]),
        ("type: 'Power' power_param { power: 0.5 }", [-INF, 4, 0], [INF, 2, 0], [NAN, 0.25, NAN]),
        ("type: 'Power' power_param { power: 3 }", [0, 2, INF], [0, 8, INF], [NAN, 12, NAN]),
        ("type: 'Power' power_param { scale: 0 shift: 2 }", [NAN, INF, 1], [2, 2, 2], [0, 0, 0]),
        (
            "type: 'Power' power_param { power: -1 }",
            [-0.0, 2, INF],
            [-INF, 0.5, 0],
            [-INF, -0.25, 0],
        ),
        ("type: 'Exp' exp_param { base: 2 scale: 0 shift: 1 }", [NAN, INF, 1], [2] * 3, [0] * 3),
        ("type: 'Log' log_param { base: 2 }", [-0.0, 2, INF], [-INF, 1, INF], [-INF, 0.7213475, 0]),
        ("type: 'BNLL'", [NAN, INF, -INF], [NAN, INF, 0], [NAN, 1, 0]),
    ],
)
def test_functions_of_single_values_have_bvlc_caffes_values_and_slopes(
    tmp_path, layer, x, y, slope
):
    top, (gradient,) = run(tmp_path, layer, x)
    np.testing.assert_allclose(top, y, rtol=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-6)


def test_a_coefficient_of_0_leaves_nan_out_of_a_sum(tmp_path):
    layer = "type: 'Eltwise' eltwise_param { operation: SUM coeff: 0 coeff: 2 }"
    top, gradients = run(tmp_path, layer, [NAN, INF], [3.0, 4.0])
    assert top.tolist() == [6, 8] and gradients[0].tolist() == [0, 0]


def test_a_gradient_of_nan_goes_to_the_larger_bottom_alone(tmp_path):
    layer = "type: 'Eltwise' eltwise_param { operation: MAX }"
    _, (first, second) = run(tmp_path, layer, [1.0, 5.0], [2.0, 3.0], diff=[NAN, INF])
    np.testing.assert_array_equal(first, [0, INF])
    np.testing.assert_array_equal(second, [NAN, 0])


def test_an_infinite_maximum_has_the_gradient_of_its_window(tmp_path):
    x = np.array([[NAN, 1, INF, 2], [0, 3, NAN, -INF]]).reshape(1, 1, 2, 4)
    for layer in (
        "type: 'Pooling' pooling_param { kernel_size: 2 stride: 2 }",
        "type: 'Pooling' pooling_param { kernel_h: 2 kernel_w: 2 stride: 2 pad: 0 }",
    ):
        top, (gradient,) = run(tmp_path, layer, x, diff=np.array([5.0, 7.0]).reshape(1, 1, 1, 2))
        assert top.ravel().tolist() == [3, INF]
        assert gradient.ravel().tolist() == [0, 0, 7, 0, 0, 5, 0, 0]


def test_a_margin_of_nan_counts_as_0_in_a_hinge_loss(tmp_path):
    top, (gradient, _) = run(
        tmp_path,
        "type: 'HingeLoss' propagate_down: true propagate_down: false",
        [[NAN, 0.5], [INF, 2.0]],
        [1.0, 0.0],
        diff=None,
    )
    assert top == pytest.approx((0.5 + 0 + 0 + 3) / 2)
    assert gradient.shape == (2, 2)


def test_the_logarithm_of_a_negative_probability_is_that_of_the_threshold(tmp_path):
    layer = "type: 'MultinomialLogisticLoss'"
    top, _ = run(tmp_path, layer, [[0.0, 1.0], [-0.9, 0.1]], [0.0, 0.0], diff=None)
    assert top == pytest.approx(-np.log(1e-20))


def test_a_nan_does_not_pass_from_a_sequence_to_the_next(tmp_path):
    x, cont = np.ones((2, 1, 1)), np.array([[1.0], [0.0]])
    for type_ in ("RNN", "LSTM"):
        layer = (
            f"type: '{type_}' recurrent_param {{ num_output: 1 weight_filler {{ value: 0.5 }} }}"
        )
        x[0] = NAN
        top, _ = run(tmp_path, layer, x, cont, diff=None)
        assert np.isnan(top[0]).all()
        assert np.isfinite(top[1]).all() == (type_ == "RNN")


@pytest.mark.parametrize("value", [NAN, INF])
def test_winograds_algorithm_spreads_nan_and_infinity_no_further_than_a_convolution(
    tmp_path, value
):
    layer = """type: 'Convolution' convolution_param { num_output: 128 kernel_size: 3 pad: 1
    weight_filler { type: 'constant' value: 0.01 } }"""
    x = np.zeros((1, 64, 20, 20), np.float32)
    x[0, 5, 8, 9] = value
    top, (gradient,) = run(tmp_path, layer, x, diff=1.0)
    reached = np.zeros((20, 20), bool)
    reached[7:10, 8:11] = True
    np.testing.assert_array_equal(~np.isfinite(top[0, 0]), reached)
    assert (np.isfinite(top[0]) == ~reached).all() and np.isfinite(gradient).all()


def test_a_deconvolution_of_a_map_without_values_gives_the_bias(tmp_path):
    net = build(
        tmp_path,
        """layer { name: 'x' type: 'Input' top: 'x' input_param {
        shape { dim: 2 dim: 3 dim: 2 dim: 2 } } }
        layer { name: 'y' type: 'Deconvolution' bottom: 'x' top: 'y' convolution_param {
        num_output: 2 kernel_size: 3 bias_filler { type: 'constant' value: 5 } } }""",
    )
    net.blobs["x"].reshape(2, 3, 0, 4)
    top = net.forward()["y"]
    assert top.shape == (2, 2, 2, 6) and (top == 5).all()


def test_pooling_of_no_channels_gives_no_values(tmp_path):
    for pool in ("MAX", "AVE"):
        top, _ = run(
            tmp_path,
            f"type: 'Pooling' pooling_param {{ pool: {pool} kernel_size: 2 }}",
            np.zeros((2, 0, 4, 4)),
        )
        assert top.shape == (2, 0, 3, 3)


def test_an_ignored_label_hides_nan_from_the_loss_and_the_gradient(tmp_path):
    layer = "type: 'SoftmaxWithLoss' loss_param { ignore_label: 1 } propagate_down: true"
    layer += " propagate_down: false"
    scores, labels = [[NAN, 1.0], [0.0, 0.0]], [1.0, 0.0]
    top, (gradient, _) = run(tmp_path, layer, scores, labels)
    assert top == pytest.approx(np.log(2))
    np.testing.assert_allclose(gradient, [[0, 0], [-0.5, 0.5]])
