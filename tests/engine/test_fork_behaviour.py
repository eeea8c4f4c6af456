"""What the forks' layers of pixel labels, text and faces do beyond one forward and backward."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.errors import CaffeError, LayerError, ShapeError

from tests.engine.nets import build


def layer(text, *shapes, tops=1):
    """The prototxt of one layer `l` over inputs x0, x1, ... of these shapes."""
    inputs = "".join(
        f"layer {{ name: 'x{i}' type: 'Input' top: 'x{i}' input_param {{ shape {{ "
        + " ".join(f"dim: {n}" for n in shape)
        + " } } }\n"
        for i, shape in enumerate(shapes)
    )
    bottoms = " ".join(f"bottom: 'x{i}'" for i in range(len(shapes)))
    outputs = " ".join(f"top: 'y{i}'" for i in range(tops))
    return f"force_backward: true {inputs}layer {{ name: 'l' {bottoms} {outputs} {text} }}"


SHAPE = (2, 3, 4, 5)


def test_the_fork_hed_balances_edges_and_other_pixels_of_each_image(tmp_path, monkeypatch):
    monkeypatch.setenv("CAFFE_FORK", "hed")
    text = layer(
        "type: 'SigmoidCrossEntropyLoss' propagate_down: [true, false]", *[(2, 1, 3, 4)] * 2
    )
    net = build(tmp_path, text)
    random = np.random.RandomState(0)
    x, t = random.standard_normal((2, 1, 3, 4)), np.zeros((2, 1, 3, 4))
    t[0, 0, 1], t[1, 0, :2, 1] = 1, 1
    p = 1 / (1 + np.exp(-x))
    shares = np.array([4 / 12, 2 / 12]).reshape(2, 1, 1, 1)
    expected = -((1 - shares) * t * np.log(p) + shares * (1 - t) * np.log(1 - p)).sum() / 2
    net.blobs["x0"].data[...], net.blobs["x1"].data[...] = x, t
    assert net.forward()["y0"] == pytest.approx(expected, rel=1e-6)
    net.backward()
    slope = np.where(t == 1, (1 - shares) * (p - 1), shares * p) / 2
    np.testing.assert_allclose(net.blobs["x0"].diff, slope, rtol=1e-5)


def test_bn_in_training_moves_its_running_statistics_by_the_momentum(tmp_path):
    net = build(tmp_path, layer("type: 'BN' bn_param { momentum: 0.8 }", SHAPE), caffe.TRAIN)
    x = np.random.RandomState(0).standard_normal(SHAPE).astype(np.float32)
    net.blobs["x0"].data[...] = x
    net.forward()
    _, _, mean, variance = (b.data.ravel() for b in net.params["l"])
    np.testing.assert_allclose(mean, 0.2 * x.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, 0.8 + 0.2 * x.var((0, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("decay", [0.9, 0.1])
def test_bn_reads_the_decay_of_either_fork_as_the_larger_share_of_the_running_value(
    tmp_path, decay
):
    text = f"type: 'BN' bn_param {{ moving_average: true decay: {decay} }}"
    net = build(tmp_path, layer(text, SHAPE), caffe.TRAIN)
    net.blobs["x0"].data[...] = 2 + np.arange(120, dtype=np.float32).reshape(SHAPE)
    net.forward()
    expected = 0.1 * net.blobs["x0"].data.mean((0, 2, 3))
    np.testing.assert_allclose(net.params["l"][2].data.ravel(), expected, rtol=1e-5)


def test_frozen_bn_keeps_its_statistics_in_training(tmp_path):
    net = build(tmp_path, layer("type: 'BN' bn_param { frozen: true }", SHAPE), caffe.TRAIN)
    net.blobs["x0"].data[...] = 5
    net.forward()
    np.testing.assert_allclose(net.blobs["y0"].data, 5 / np.sqrt(1 + 1e-5), rtol=1e-5)
    assert [b.data.max() for b in net.params["l"]] == [1, 0, 0, 1]


def test_the_gradient_of_bn_is_finite_where_a_channel_is_constant(tmp_path):
    net = build(tmp_path, layer("type: 'BN' bn_param { bn_mode: LEARN }", SHAPE), caffe.TRAIN)
    net.forward()
    net.blobs["y0"].diff[...] = np.random.RandomState(0).standard_normal(SHAPE)
    net.backward()
    assert np.isfinite(net.blobs["x0"].diff).all()


def test_fields_of_two_forks_in_one_bn_are_refused(tmp_path):
    with pytest.raises(CaffeError, match="momentum of one fork and bn_mode of another"):
        build(tmp_path, layer("type: 'BN' bn_param { momentum: 1 bn_mode: LEARN }", SHAPE))


def test_the_fork_that_the_user_sets_decides_about_a_bn_without_fields(tmp_path):
    caffe.set_fork("segnet")
    try:
        assert len(build(tmp_path, layer("type: 'BN'", SHAPE)).params["l"]) == 2
    finally:
        caffe.set_fork(None)
    assert len(build(tmp_path, layer("type: 'BN'", SHAPE)).params["l"]) == 4


@pytest.mark.parametrize("count", [2, 4])
def test_the_blobs_in_the_weights_decide_about_a_bn_without_fields(tmp_path, count):
    message = caffe.proto.caffe_pb2.NetParameter()
    stored = message.layer.add(name="l", type="BN")
    for value in (2, 3, 0, 1)[:count]:
        stored.blobs.add(shape={"dim": [1, 3, 1, 1]}, data=[value] * 3)
    weights = tmp_path / "w.caffemodel"
    weights.write_bytes(message.SerializeToString())
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(layer("type: 'BN'", SHAPE))
    net = caffe.Net(str(prototxt), str(weights), caffe.TEST)
    assert [b.data[0, 0, 0, 0] for b in net.params["l"]] == [2, 3, 0, 1][:count]


def test_weights_of_a_bn_may_have_other_axes_of_size_one(tmp_path):
    net = build(tmp_path, layer("type: 'BN' bn_param { eps: 1e-5 }", SHAPE))
    message = caffe.proto.caffe_pb2.NetParameter()
    stored = message.layer.add(name="l", type="BN")
    for value in (2, 3, 0, 1):
        stored.blobs.add(shape={"dim": [1, 3]}, data=[value] * 3)
    path = tmp_path / "w.caffemodel"
    path.write_bytes(message.SerializeToString())
    net.copy_from(str(path))
    assert [b.data[0, 1, 0, 0] for b in net.params["l"]] == [2, 3, 0, 1]


def test_pooling_and_upsample_with_its_mask_put_each_maximum_back_in_its_place(tmp_path):
    text = """
    layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 2 dim: 6 dim: 6 } } }
    layer { name: 'pool' type: 'Pooling' bottom: 'x' top: 'pool' top: 'mask'
      pooling_param { kernel_size: 2 stride: 2 } }
    layer { name: 'up' type: 'Upsample' bottom: 'pool' bottom: 'mask' top: 'up' }"""
    net = build(tmp_path, text)
    x = np.random.RandomState(0).permutation(72).reshape(1, 2, 6, 6)
    net.blobs["x"].data[...] = x
    up = net.forward()["up"]
    assert np.array_equal(np.sort(up[up != 0]), np.sort(net.blobs["pool"].data.ravel()))
    assert np.array_equal(up[up != 0], x[up != 0])


@pytest.mark.parametrize("type_", ["Upsample", "Unpooling"])
def test_the_gradient_passes_by_the_mask_to_the_layers_below(tmp_path, type_):
    text = f"""
    force_backward: true
    layer {{ name: 'x' type: 'Input' top: 'x'
      input_param {{ shape {{ dim: 1 dim: 1 dim: 4 dim: 4 }} }} }}
    layer {{ name: 'conv' type: 'Convolution' bottom: 'x' top: 'conv' convolution_param {{
      num_output: 2 kernel_size: 1 weight_filler {{ type: 'constant' value: 1 }} }} }}
    layer {{ name: 'pool' type: 'Pooling' bottom: 'conv' top: 'pool' top: 'mask'
      pooling_param {{ kernel_size: 2 stride: 2 }} }}
    layer {{ name: 'up' type: '{type_}' bottom: 'pool' bottom: 'mask' top: 'up'
      unpooling_param {{ kernel_size: 2 stride: 2 }} }}"""
    net = build(tmp_path, text, caffe.TRAIN)
    net.blobs["x"].data[...] = np.arange(16).reshape(1, 1, 4, 4)
    net.forward()
    net.blobs["up"].diff[...] = 1
    net.backward()
    # The maxima are 5, 7, 13 and 15; each channel's weight has their sum.
    assert net.params["conv"][0].diff.ravel().tolist() == [40, 40]


def test_a_mask_with_places_outside_the_top_is_refused(tmp_path):
    net = build(tmp_path, layer("type: 'Upsample'", (1, 1, 2, 2), (1, 1, 2, 2)))
    net.blobs["x1"].data[...] = 16
    with pytest.raises(LayerError, match="0 .. 15"):
        net.forward()


def test_lstm_with_marks_continues_from_the_last_batch(tmp_path):
    text = "type: 'Lstm' lstm_param { num_output: 2 weight_filler { type: 'xavier' } }"
    long = build(tmp_path, layer(text, (4, 1, 3), (4, 1)))
    short = build(tmp_path, layer(text, (2, 1, 3), (2, 1)))
    for a, b in zip(short.params["l"], long.params["l"]):
        a.data[...] = b.data
    x = np.random.RandomState(0).standard_normal((4, 1, 3))
    marks = np.array([[0], [1], [1], [1]])
    for net, parts in ((long, [slice(4)]), (short, [slice(2), slice(2, 4)])):
        for part in parts:
            net.blobs["x0"].data[...], net.blobs["x1"].data[...] = x[part], marks[part]
            net.forward()
    np.testing.assert_allclose(short.blobs["y0"].data, long.blobs["y0"].data[2:], rtol=1e-5)


def test_lstm_limits_the_gradient_of_its_gates(tmp_path):
    text = "type: 'Lstm' lstm_param { num_output: 2 clipping_threshold: 0.01 }"
    net = build(tmp_path, layer(text, (1, 1, 3)))
    net.blobs["x0"].data[...] = 1
    net.forward()
    net.blobs["y0"].diff[...] = 100
    net.backward()
    assert np.abs(net.params["l"][2].diff).max() == pytest.approx(0.01)


def test_centre_loss_moves_a_centre_by_the_mean_of_its_class_and_itself(tmp_path):
    text = "type: 'CenterLoss' center_loss_param { num_output: 3 }"
    net = build(tmp_path, layer(text, (3, 2), (3,)), caffe.TRAIN)
    net.blobs["x0"].data[...] = [[1, 2], [3, 4], [5, 6]]
    net.blobs["x1"].data[...] = [0, 0, 2]
    net.forward()
    net.blobs["y0"].diff[...] = 1
    net.backward()
    step = net.params["l"][0].diff
    np.testing.assert_allclose(step, [[-4 / 3, -2], [0, 0], [-2.5, -3]], rtol=1e-6)


def test_the_margin_of_the_angle_is_phased_in_as_lambda_falls(tmp_path):
    text = (
        "type: 'MarginInnerProduct' margin_inner_product_param { num_output: 3 type: DOUBLE "
        "base: 10 gamma: 1 power: 1 lambda_min: 3 weight_filler { type: 'xavier' } }"
    )
    net = build(tmp_path, layer(text, (2, 4), (2,), tops=2), caffe.TRAIN)
    net.blobs["x0"].data[...] = 1
    values = []
    for _ in range(4):
        net.forward()
        values.append(float(net.blobs["y1"].data[0]))
    np.testing.assert_allclose(values, [5, 10 / 3, 3, 3], rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(net.params["l"][0].data, axis=1), 1, rtol=1e-6)


def test_label_specific_add_changes_nothing_in_test(tmp_path):
    text = "type: 'LabelSpecificAdd' label_specific_add_param { bias: -1 }"
    for phase, expected in ((caffe.TEST, 0), (caffe.TRAIN, -2)):
        net = build(tmp_path, layer(text, (2, 3), (2,)), phase)
        net.forward()
        assert net.blobs["y0"].data.sum() == expected


def test_dropout_samples_in_test_where_bayesian_segnet_asks_for_it(tmp_path):
    text = "type: 'Dropout' dropout_param { dropout_ratio: 0.5 sample_weights_test: true }"
    net = build(tmp_path, layer(text, (1, 1000)))
    net.blobs["x0"].data[...] = 1
    draws = [net.forward()["y0"].copy() for _ in range(2)]
    assert set(np.unique(draws[0])) == {0, 2} and not np.array_equal(*draws)


REFUSED = [
    ("type: 'Interp'", [SHAPE], "has no size"),
    ("type: 'Interp' interp_param { zoom_factor: 2 pad_beg: 1 }", [SHAPE], "at most 0"),
    ("type: 'Unpooling' unpooling_param { unpool: FIXED }", [SHAPE], "the kernel has no size"),
    (
        "type: 'UnPooling' unpooling_param { out_kernel_size: 3 out_pad: 1 }",
        [SHAPE],
        "FIXED with pad .1, 1. is not supported",
    ),
    ("type: 'ShuffleChannel' shuffle_channel_param { group: 2 }", [SHAPE], "does not divide"),
    ("type: 'Reorg' reorg_param { stride: 2 }", [SHAPE], "divides"),
    ("type: 'Axpy'", [SHAPE, SHAPE, SHAPE], "N x C"),
    ("type: 'Transpose' transpose_param { dim: 0 dim: 0 }", [SHAPE], "each of 0 .. 3 once"),
    ("type: 'Reverse' reverse_param { axis: 4 }", [SHAPE], "is not an axis"),
    ("type: 'Lstm' lstm_param { num_output: 2 batch_size: 3 }", [(4, 5)], "batch_size 3"),
    ("type: 'Correlation' correlation_param { kernel_size: 2 }", [SHAPE, SHAPE], "odd kernel_size"),
    ("type: 'FlowWarp'", [SHAPE, SHAPE], "needs 2 channels"),
    ("type: 'Resample' resample_param { type: AREA }", [SHAPE], "needs NEAREST, LINEAR or CUBIC"),
    ("type: 'ChannelScale'", [SHAPE, (2, 3)], "one value for each position"),
]


@pytest.mark.parametrize("text, shapes, words", REFUSED)
def test_settings_that_a_fork_refuses_are_refused_in_one_line(tmp_path, text, shapes, words):
    with pytest.raises((LayerError, ShapeError), match=words) as error:
        build(tmp_path, layer(text, *shapes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "type_, fields, expected",
    [
        ("UnPooling", "out_kernel_size: 2 out_stride: 2", [[1, 0, 2, 0], [0] * 4] * 2),
        (
            "UnPooling",
            "unpool: REP out_kernel_h: 2 out_kernel_w: 3",
            [[1, 3, 3, 2], [2, 6, 6, 4], [1, 3, 3, 2]],
        ),
        ("UnPooling", "unpool: DIV out_kernel_size: 2 out_stride: 2", [[0.25] * 2 + [0.5] * 2] * 4),
        ("Unpooling", "unpool: TILE kernel_size: 2 stride: 2", [[1, 1, 2, 2]] * 4),
        ("Unpooling", "unpool: AVE kernel_size: 2 stride: 2", [[0.25] * 2 + [0.5] * 2] * 4),
    ],
)
def test_unpooling_spreads_or_places_its_values_as_its_method_says(
    type_, fields, expected, tmp_path
):
    text = f"type: '{type_}' unpooling_param {{ {fields} }}"
    net = build(tmp_path, layer(text, (1, 1, 2, 2)))
    net.blobs["x0"].data[...] = [[[[1, 2], [1, 2]]]]
    rows = net.forward()["y0"][0, 0]
    np.testing.assert_allclose(rows, expected)
    net.blobs["y0"].diff[...] = 1
    net.backward()
    np.testing.assert_allclose(net.blobs["x0"].diff, np.sum(rows) / 6)


LIFTED = "type: 'LiftedStructSimilaritySoftmaxLoss' propagate_down: [true, false]"


@pytest.mark.parametrize(
    "labels, loss",
    [
        ([1, 1, 1, 1], 0.0),
        ([0, 1, 2, 3], 0.0),
        # Equal rows: J = 0 + log(4 exp(1)), for two pairs.
        ([0, 0, 1, 1], (np.log(4) + 1) ** 2 / 2),
    ],
)
def test_the_lifted_loss_of_equal_rows_is_finite_and_so_is_its_gradient(tmp_path, labels, loss):
    net = build(tmp_path, layer(LIFTED, (4, 3), (4,)))
    net.blobs["x0"].data[...], net.blobs["x1"].data[...] = 2, labels
    assert net.forward()["y0"] == pytest.approx(loss, rel=1e-6)
    net.backward()
    assert np.isfinite(net.blobs["x0"].diff).all()


def test_the_combined_margin_leaves_cosines_in_test_and_needs_its_settings(tmp_path):
    text = "type: 'CombinedMargin' combined_margin_param { m1: 1 m2: 0.5 %s }"
    net = build(tmp_path, layer(text % "m3: 0.1", (2, 3), (2,)).replace("force_backward: true", ""))
    net.blobs["x0"].data[...], net.blobs["x1"].data[...] = 0.5, [0, 2]
    assert (net.forward()["y0"] == 0.5).all()
    with pytest.raises(LayerError, match="combined_margin_param has no m3; set them"):
        build(tmp_path, layer(text % "", (2, 3), (2,)))


@pytest.mark.parametrize(
    "text, shapes, words",
    [
        ("type: 'MatMul'", [(2, 3), (2, 3)], r"need ... x M x K and ... x K x N"),
        ("type: 'PixelShuffle'", [(1, 4, 2, 2)], "upscale_factor is 0"),
        ("type: 'CReLU'", [(3,)], "needs a channel axis"),
        ("type: 'Pooling' pooling_param { kernel_size: 2 axis: 2 }", [SHAPE], "axis is 2; it"),
        ("type: 'Upsample' upsample_param { stride_h: 0 stride: 0 }", [SHAPE], "scale is 0 x 0"),
    ],
)
def test_operators_refuse_shapes_and_settings_that_do_not_fit(tmp_path, text, shapes, words):
    with pytest.raises(CaffeError, match=words):
        build(tmp_path, layer(text, *shapes))


@pytest.mark.parametrize(
    "window",
    [
        "kernel_size: [2, 3, 4] stride: [2, 1, 2] pad: [0, 1, 1]",
        "kernel_size: 2 kernel_size: 3 kernel_size: 4 stride: [2, 1] stride: 2 pad: [0, 1, 1]",
    ],
)
def test_a_window_in_a_list_is_that_of_intels_names(tmp_path, window):
    text = """input: "data" input_shape { dim: 1 dim: 2 dim: 4 dim: 5 dim: 6 }
    layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { pool: AVE %s } }"""
    named = "kernel_size_3d: [2, 3, 4] stride_3d: [2, 1, 2] pad_3d: [0, 1, 1]"
    tops = []
    for words in (window, named):
        net = build(tmp_path, text % words)
        net.blobs["data"].data[...] = np.arange(240).reshape(1, 2, 4, 5, 6)
        tops.append(net.forward()["p"])
    assert tops[0].shape == (1, 2, 2, 5, 3)
    np.testing.assert_array_equal(*tops)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ("kernel_size: [3, 3, 3]", "kernel_size is set 3 times; it needs once, or 2 times"),
        ("kernel_size: 3 kernel_size: 3", "should not have multiple"),
    ],
)
def test_a_window_in_a_list_does_not_fit_an_image(tmp_path, window, message):
    text = """input: "data" input_shape { dim: 1 dim: 2 dim: 5 dim: 6 }
    layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { %s } }"""
    with pytest.raises(CaffeError, match=message):
        build(tmp_path, text % window)
