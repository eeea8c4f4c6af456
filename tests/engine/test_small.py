"""Layers of small blobs, which run as bound calls, show what the layers one by one show."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.blob import Blob
from caffe.errors import LayerError
from caffe.native import library

from tests.engine import nets

DATA = """
layer { name: "data" type: "Input" top: "data" top: "label" input_param {
  shape { dim: BATCH dim: 3 dim: 9 dim: 8 } shape { dim: BATCH } } }
layer { name: "start" type: "Convolution" bottom: "data" top: "start" convolution_param {
  num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
"""
LOSS = """
layer { name: "score" type: "InnerProduct" bottom: "top" top: "score" inner_product_param {
  num_output: 5 weight_filler { type: "xavier" } bias_filler { type: "gaussian" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""
#: Layers between the blobs "start", BATCH x 4 x 7 x 6, and "top".
MIDDLES = {
    "pads and strides": 'type: "Convolution" convolution_param { num_output: 3 kernel_h: 3 '
    'kernel_w: 2 pad: 1 stride: 2 weight_filler { type: "msra" } }',
    "dilation without bias": 'type: "Convolution" convolution_param { num_output: 3 kernel_size: 2 '
    'dilation: 2 bias_term: false weight_filler { type: "msra" } }',
    "1 x 1": 'type: "Convolution" convolution_param { num_output: 3 kernel_size: 1 '
    'weight_filler { type: "msra" } }',
    "transposed weights": 'type: "InnerProduct" inner_product_param { num_output: 6 '
    'transpose: true weight_filler { type: "xavier" } }',
    "inner product of rows": 'type: "InnerProduct" inner_product_param { num_output: 6 axis: 2 '
    'weight_filler { type: "xavier" } }',
    "relu": 'type: "ReLU"',
    "leaky relu": 'type: "ReLU" relu_param { negative_slope: 0.2 }',
    "prelu": 'type: "PReLU"',
    "shared prelu": 'type: "PReLU" prelu_param { channel_shared: true }',
    "sigmoid": 'type: "Sigmoid"',
    "tanh": 'type: "TanH"',
    "overlapping maxima": 'type: "Pooling" pooling_param { kernel_size: 3 stride: 2 pad: 1 }',
    "dropout": 'type: "Dropout" dropout_param { dropout_ratio: 0.3 }',
    "dropout without factor": 'type: "Dropout" dropout_param { dropout_ratio: 0.3 '
    "scale_train: false }",
    "means": 'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }',
    "means of the map": 'type: "Pooling" pooling_param { pool: AVE global_pooling: true }',
    "maxima of the map": 'type: "Pooling" pooling_param { global_pooling: true }',
}
#: Layers that have calls for a forward alone.
FORWARD = {
    "softmax of rows": 'type: "Softmax" softmax_param { axis: 2 }',
}
ARITHMETIC = """
layer { name: "square" type: "Convolution" bottom: "start" top: "square" convolution_param {
  num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "sum" type: "Eltwise" bottom: "square" bottom: "start" top: "sum" }
layer { name: "top" type: "Concat" bottom: "sum" bottom: "square" top: "top" }
layer { name: "distance" type: "EuclideanLoss" bottom: "sum" bottom: "start" top: "distance"
  loss_weight: 0.3 }
"""


def layer(settings, in_place=False):
    """The middle of a net: a layer with these settings."""
    if not in_place:
        return f'layer {{ name: "middle" bottom: "start" top: "top" {settings} }}\n'
    split = 'layer { name: "top" type: "Sigmoid" bottom: "start" top: "top" }\n'
    return split + f'layer {{ name: "middle" bottom: "top" top: "top" {settings} }}\n'


def pair(folder, middle, batch=2, rule="", cls=caffe.SGDSolver, rate=0.01, last=""):
    """Two solvers with equal weights: one that runs bound calls, one layer by layer."""
    text = (DATA + middle + LOSS + last).replace("BATCH", str(batch))
    rule += f' base_lr: {rate} lr_policy: "fixed" momentum: 0.9'
    bound, plain = (nets.solver(folder, rule, text, cls) for _ in range(2))
    plain.net.before_forward(lambda number: None)
    return bound, plain


def feed(solvers, seed):
    """Give the nets the same drawn input."""
    draw = np.random.RandomState(seed)
    shape = solvers[0].net.blobs["data"].shape
    values, labels = draw.randn(*shape), draw.randint(0, 5, shape[0])
    for s in solvers:
        s.net.blobs["data"].data[...] = values
        s.net.blobs["label"].data[...] = labels


def step(solvers, seed):
    """Feed the nets, and train each for an iteration with the same random numbers."""
    feed(solvers, seed)
    for s in solvers:
        caffe.set_random_seed(seed)
        s.step(1)


def is_bound(net):
    """Whether the last pass was nothing but bound calls."""
    return net.executor.is_bound()


def close(ours, theirs, name, least=1e-12):
    """Compare arrays within the rounding of float32 at a scale of at least `least`."""
    scale = max(abs(theirs).max(), least)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale, err_msg=name)


def compare(ours, theirs, diffs=True, least=1e-12):
    """Compare all blobs and parameters of two nets. least: as in `close`."""
    for name, blob in ours.blobs.items():
        close(blob.data, theirs.blobs[name].data, name, least)
        if diffs and name not in ("data", "label"):
            close(blob.diff, theirs.blobs[name].diff, f"{name}.diff", least)
    for name, blobs in ours.params.items():
        for blob, other in zip(blobs, theirs.params[name]):
            close(blob.data, other.data, name, least)
            if diffs:
                close(blob.diff, other.diff, f"{name}.diff", least)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", MIDDLES)
def test_a_step_sets_the_same_values_gradients_and_weights(tmp_path, name, batch):
    bound, plain = pair(tmp_path, layer(MIDDLES[name]), batch)
    for seed in range(3):
        step([bound, plain], seed)
    assert is_bound(bound.net) and not is_bound(plain.net)
    compare(bound.net, plain.net)


@pytest.mark.parametrize("name", ["relu", "leaky relu", "prelu", "sigmoid", "tanh", "dropout"])
def test_an_activation_in_place_has_the_gradient_of_its_bottom(tmp_path, name):
    bound, plain = pair(tmp_path, layer(MIDDLES[name], in_place=True))
    for seed in range(2):
        step([bound, plain], seed)
    assert is_bound(bound.net)
    compare(bound.net, plain.net)


@pytest.mark.parametrize(
    ("rule", "cls"),
    [
        ("weight_decay: 0.05", caffe.SGDSolver),
        ("iter_size: 2", caffe.SGDSolver),
        ("momentum2: 0.99", caffe.AdamSolver),
    ],
)
def test_blobs_with_several_readers_have_the_sum_of_their_gradients(tmp_path, rule, cls):
    bound, plain = pair(tmp_path, ARITHMETIC, rule=rule, cls=cls)
    for seed in range(3):
        step([bound, plain], seed)
    assert is_bound(bound.net)
    compare(bound.net, plain.net)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", [*MIDDLES, *FORWARD])
def test_an_inference_sets_the_same_values(tmp_path, name, batch):
    text = DATA + layer({**MIDDLES, **FORWARD}[name])
    text = text.replace("BATCH", str(batch))
    bound, plain = (nets.build(tmp_path, text) for _ in range(2))
    plain.before_forward(lambda number: None)
    plain.share_with(bound)
    for seed in range(2):
        values = np.random.RandomState(seed).randn(*bound.blobs["data"].shape)
        bound.blobs["data"].data[...] = plain.blobs["data"].data[...] = values
        bound.forward()
        plain.forward()
        assert is_bound(bound)
        compare(bound, plain, diffs=False)


def test_maxima_pass_over_nan_and_infinity_as_in_caffe(tmp_path):
    text = (DATA + layer(MIDDLES["overlapping maxima"])).replace("BATCH", "1")
    text = text.replace('bottom: "start"', 'bottom: "data"')
    bound, plain = (nets.build(tmp_path, text) for _ in range(2))
    plain.before_forward(lambda number: None)
    plain.share_with(bound)
    for net in (bound, plain):
        net.blobs["data"].data[...] = -np.inf
        net.blobs["data"].data[0, 0, :5] = np.nan
        net.blobs["data"].data[0, 1, 3] = 4
        net.forward()
    np.testing.assert_array_equal(bound.blobs["top"].data, plain.blobs["top"].data)
    assert is_bound(bound) and bound.blobs["top"].data.min() == -np.finfo(np.float32).max


def change_in_place(net):
    net.params["start"][0].data[...] *= 2


def replace_a_parameter(net):
    blob = Blob(net.params["start"][0].shape)
    blob.data[...] = 0.3
    net.params["start"][0] = blob


def hold_arrays(net):
    net.held = [blob.data for blob in net.blobs.values()]
    net.held += [blob.data for blobs in net.params.values() for blob in blobs]
    net.held += [blob.diff for blob in net.blobs.values()]


def reshape_and_return(net):
    shape = tuple(net.blobs["data"].shape)
    net.blobs["data"].reshape(3, *shape[1:])
    net.blobs["label"].reshape(3)
    net.forward()
    net.blobs["data"].reshape(*shape)
    net.blobs["label"].reshape(shape[0])


def weigh_the_loss(net):
    net.blobs["loss"].diff[...] = 2


CHANGES = [
    change_in_place,
    replace_a_parameter,
    hold_arrays,
    reshape_and_return,
    weigh_the_loss,
    lambda net: net.forward(),
    lambda net: net.forward_backward(),
    lambda net: net.clear_param_diffs(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_step_after_a_change_gives_the_same(tmp_path, change):
    bound, plain = pair(tmp_path, ARITHMETIC)
    for seed in range(4):
        step([bound, plain], seed)
        if seed == 1:
            change(bound.net)
            change(plain.net)
    assert is_bound(bound.net)
    compare(bound.net, plain.net)


def test_backward_after_a_step_uses_the_blobs_of_the_step(tmp_path):
    bound, plain = pair(tmp_path, ARITHMETIC)
    for seed in range(3):
        feed([bound, plain], seed)
        for s in (bound, plain):
            s.step(1)
            s.net.clear_param_diffs()
            s.net.backward()
        compare(bound.net, plain.net)


@pytest.mark.parametrize("array", ["data", "diff"])
def test_a_held_array_of_a_parameter_changes_no_gradient(tmp_path, array):
    bound, plain = pair(tmp_path, ARITHMETIC)
    held = []
    for seed in range(4):
        step([bound, plain], seed)
        if seed == 1:
            held += [getattr(b, array) for blobs in bound.net.params.values() for b in blobs]
        if seed == 2:
            for s in (bound, plain):
                s.net.clear_param_diffs()
                s.net.forward()
                s.net.backward()
                s.net.backward()
            compare(bound.net, plain.net)
        compare(bound.net, plain.net)
    current = [getattr(b, array) for blobs in bound.net.params.values() for b in blobs]
    assert all(np.shares_memory(a, b) for a, b in zip(held, current))


def forward(solvers, seed):
    """Feed the nets, and run each forward with the same random numbers."""
    feed(solvers, seed)
    for s in solvers:
        caffe.set_random_seed(seed)
        s.net.forward()


@pytest.mark.parametrize("clears", [True, False])
def test_forward_and_backward_by_hand_add_up_gradients_as_layers_do(tmp_path, clears):
    bound, plain = pair(tmp_path, ARITHMETIC)
    for seed in range(5):
        forward([bound, plain], seed)
        assert "in C" in bound.net.executor.choice.reason or not library.load()
        for s in (bound, plain):
            if clears:
                s.net.clear_param_diffs()
            s.net.backward()
        compare(bound.net, plain.net)
        for s in (bound, plain):
            s.apply_update()
    compare(bound.net, plain.net)


def test_two_backwards_after_a_forward_add_their_gradients(tmp_path):
    bound, plain = pair(tmp_path, layer(MIDDLES["prelu"], in_place=True))
    for seed in range(3):
        forward([bound, plain], seed)
        for s in (bound, plain):
            s.net.clear_param_diffs()
            s.net.backward()
            s.net.backward()
        compare(bound.net, plain.net)


@pytest.mark.parametrize("name", ["relu", "leaky relu", "prelu", "sigmoid", "tanh"])
def test_backward_through_a_part_of_the_net_has_what_each_layer_kept(tmp_path, name):
    bound, plain = pair(tmp_path, layer(MIDDLES[name], in_place=True))
    for seed in range(3):
        forward([bound, plain], seed)
        for s in (bound, plain):
            s.net.clear_param_diffs()
            s.net.blobs["top"].diff[...] = 0.5
            s.net.backward(start="middle")
        compare(bound.net, plain.net)


def test_values_written_after_a_forward_are_those_of_a_backward_through_a_part(tmp_path):
    bound, plain = pair(tmp_path, ARITHMETIC)
    for seed in range(2):
        forward([bound, plain], seed)
        for s in (bound, plain):
            s.net.clear_param_diffs()
            s.net.blobs["square"].data[...] = 0.25
            s.net.blobs["sum"].diff[...] = 1
            s.net.backward(start="sum")
        compare(bound.net, plain.net)


def test_reshape_between_forward_and_backward_gives_no_stale_gradients(tmp_path):
    bound, plain = pair(tmp_path, ARITHMETIC)
    forward([bound, plain], 0)
    for s in (bound, plain):
        s.net.clear_param_diffs()
        s.net.blobs["data"].reshape(2, 3, 9, 8)
        s.net.reshape()
        s.net.backward()
    compare(bound.net, plain.net)


OUTPUT = """force_backward: true
layer { name: "middle" bottom: "start" top: "start" type: "ReLU"
  relu_param { negative_slope: 0.1 } }
layer { name: "again" bottom: "start" top: "start" type: "ReLU"
  relu_param { negative_slope: 0.5 } }
"""
ACCURACY = """
layer { name: "accuracy" type: "Accuracy" bottom: "score" bottom: "label" top: "accuracy" }
"""


def test_a_gradient_written_to_an_output_that_is_no_loss_goes_down(tmp_path):
    text = (DATA + OUTPUT).replace("BATCH", "2")
    bound, plain = (nets.build(tmp_path, text, caffe.TRAIN) for _ in range(2))
    plain.before_forward(lambda number: None)
    plain.share_with(bound)
    for seed in range(3):
        for net in (bound, plain):
            net.blobs["data"].data[...] = np.random.RandomState(seed).randn(2, 3, 9, 8)
            net.forward()
            net.clear_param_diffs()
            net.blobs["start"].diff[...] = np.random.RandomState(9).randn(2, 4, 7, 6)
            net.backward()
        assert abs(plain.params["start"][0].diff).max() > 0
        close(bound.params["start"][0].diff, plain.params["start"][0].diff, "start.diff")


def test_a_gradient_written_for_a_layer_that_does_not_learn_is_added(tmp_path):
    bound, plain = pair(tmp_path, layer(MIDDLES["relu"]), last=ACCURACY)
    for seed in range(4):
        forward([bound, plain], seed)
        for s in (bound, plain):
            s.net.clear_param_diffs()
            if seed == 2:
                s.net.blobs["score_score_0_split_1"].diff[...] = 0.5
            s.net.backward()
        compare(bound.net, plain.net)


def test_a_net_that_draws_numbers_runs_forward_layer_by_layer(tmp_path):
    bound, plain = pair(tmp_path, layer(MIDDLES["dropout"]))
    for seed in range(3):
        forward([bound, plain], seed)
        for s in (bound, plain):
            s.net.backward()
        compare(bound.net, plain.net)
    assert bound.net.executor.choice.way == "layers"


def test_a_net_with_a_layer_without_calls_runs_forward_layer_by_layer(tmp_path):
    elu = 'layer { name: "middle" bottom: "start" top: "middle" type: "ELU" }\n'
    bound, plain = pair(tmp_path, elu + layer('type: "ReLU"').replace("start", "middle", 1))
    for seed in range(2):
        forward([bound, plain], seed)
        for s in (bound, plain):
            s.net.backward(end="middle")
        compare(bound.net, plain.net)


def test_a_held_array_shows_each_pass(tmp_path):
    bound, plain = pair(tmp_path, layer(MIDDLES["relu"]))
    held = {}
    for seed in range(3):
        step([bound, plain], seed)
        held = held or {name: blob.data for name, blob in bound.net.blobs.items()}
        for name, array in held.items():
            close(array, plain.net.blobs[name].data, name)
    assert is_bound(bound.net)


@pytest.mark.parametrize("label", [5, -1, 1e9, float("nan")])
def test_a_label_that_is_not_a_class_is_refused(tmp_path, label):
    bound, _ = pair(tmp_path, layer(MIDDLES["relu"]))
    feed([bound], 0)
    bound.step(1)
    bound.net.blobs["label"].data[1] = label
    with pytest.raises(LayerError, match="a label is .* it needs to be 0 .. 4"):
        bound.step(1)
    feed([bound], 1)
    bound.step(1)
    assert is_bound(bound.net)


def test_a_net_that_shares_weights_sees_each_step(tmp_path):
    bound, plain = pair(tmp_path, layer(MIDDLES["relu"]))
    text = (DATA + layer(MIDDLES["relu"]) + LOSS).replace("BATCH", "2")
    tested, other = (nets.build(tmp_path, text) for _ in range(2))
    bound.share_weights(tested)
    plain.share_weights(other)
    for seed in range(3):
        step([bound, plain], seed)
        for net in (tested, other):
            net.blobs["data"].data[...] = bound.net.blobs["data"].data
            net.forward()
    close(tested.blobs["loss"].data, other.blobs["loss"].data, "loss")


def test_values_of_more_than_a_few_thousand_are_not_computed_by_bound_calls(tmp_path):
    text = (DATA + layer(MIDDLES["relu"])).replace("BATCH", "2").replace("dim: 9", "dim: 9000")
    net = nets.build(tmp_path, text)
    net.forward()
    assert net.executor.choice.way == "plan" and not is_bound(net)
