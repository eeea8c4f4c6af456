"""Convolutions that run as graphs of oneDNN show what the layers one by one show."""

from __future__ import annotations

import re
import weakref

import numpy as np
import pytest
import torch
from caffe.ops import graphs, jobs, prepared
from caffe.run import arrays, plan, step

from tests.engine.nets import build
from tests.engine.test_plan import HIDDEN, check, equal_nets, feed, run

pytestmark = pytest.mark.skipif(not graphs.available(), reason="this PyTorch has no oneDNN graphs")


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Two nets with equal weights: one whose second pass runs in graphs, one layer by layer."""
    monkeypatch.setattr(plan, "BEFORE_GRAPHS", 1)
    # All convolutions are oneDNN's, even those that are small or that the C library computes.
    monkeypatch.setattr(prepared, "MOST_PRODUCTS", 0)
    monkeypatch.setattr(jobs, "is_usable", lambda *arguments: False)
    planned, plain = equal_nets(tmp_path)
    run(planned, plain)
    return planned, plain


def calls(net):
    """The number of calls in the last pass."""
    count = re.search(r"in (1(?= call\b)|\d+(?= calls\b))", net.executor.choice.reason)
    return int(count.group(1))


def test_convolutions_in_a_row_are_one_call_and_the_result_is_the_same(pair):
    planned, plain = pair
    assert calls(planned) == 12
    for seed in range(1, 4):
        feed(planned, plain, seed)
        run(planned, plain)
        assert calls(planned) == 3
        check(planned, plain, ["cat", "prob"])


@pytest.mark.parametrize("order", [1, -1])
def test_blobs_inside_a_graph_are_there_when_somebody_asks(pair, order):
    planned, plain = pair
    for seed in (1, 2):
        feed(planned, plain, seed)
        run(planned, plain)
        check(planned, plain, list(planned.blobs)[::order])


@pytest.mark.parametrize("name", [*HIDDEN, "bn1", "conv2"])
def test_a_blob_inside_a_graph_has_the_values_of_its_pass_after_any_change(pair, name):
    planned, plain = pair
    run(planned, plain)
    expected = plain.blobs[name].data.copy()
    for layer in planned.params:
        for blob in planned.params[layer]:
            blob.data[...] = 7
    planned.blobs["data"].data[...] = 3
    ours = planned.blobs[name].data
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * abs(expected).max())


def test_a_blob_that_its_owner_changes_does_not_change_the_blobs_after_it(pair):
    planned, plain = pair
    run(planned, plain)
    planned.blobs["bn1"].data[...] = 9
    check(planned, plain, ["conv3", "sum"])


def test_a_change_of_a_weight_is_seen_at_once_and_ends_the_graph(pair):
    planned, plain = pair
    run(planned, plain)
    for name in ("conv1", "bn2", "scale1", "conv3"):
        for net in pair:
            net.params[name][0].data[...] *= 1.5
        run(planned, plain)
        assert calls(planned) == 12
        check(planned, plain, ["prob"])
    run(planned, plain)
    assert calls(planned) == 3
    check(planned, plain, ["prob"])


def test_an_input_of_another_size_runs_without_a_graph_first(pair):
    planned, plain = pair
    run(planned, plain)
    for net in pair:
        net.blobs["data"].reshape(1, 3, 18, 20)
    for seed, expected in ((1, 12), (2, 3)):
        feed(planned, plain, seed)
        run(planned, plain)
        assert calls(planned) == expected
        check(planned, plain, ["conv1", "prob"] if seed == 2 else ["prob"])


def test_a_graph_is_compiled_again_for_another_number_of_threads(pair):
    planned, plain = pair
    run(planned, plain)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        feed(planned, plain, 3)
        run(planned, plain)
        check(planned, plain, ["prob"])
    finally:
        torch.set_num_threads(threads)


def test_the_input_of_a_graph_keeps_its_values(pair):
    planned, plain = pair
    run(planned, plain)
    run(planned, plain)
    np.testing.assert_array_equal(planned.blobs["data"].data, plain.blobs["data"].data)


def test_a_graph_whose_results_differ_is_not_used(pair, monkeypatch):
    planned, plain = pair
    monkeypatch.setattr(graphs, "TOLERANCE", -1.0)
    run(planned, plain)
    check(planned, plain, ["prob"])
    feed(planned, plain, 2)
    for _ in range(2):
        run(planned, plain)
        assert calls(planned) == 12
        check(planned, plain, ["prob"])


def convolve(x):
    return torch.conv2d(x, torch.ones(16, 16, 3, 3), padding=1)


def summed(x, y):
    return x + y


TWO_SUMS = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 16 dim: 60 dim: 50 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param {
  num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "b" type: "Convolution" bottom: "a" top: "b" convolution_param {
  num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "first" type: "Eltwise" bottom: "data" bottom: "b" top: "first" }
layer { name: "second" type: "Eltwise" bottom: "a" bottom: "first" top: "second" }
"""


def test_a_net_with_such_sums_runs_without_graphs(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "limits_of", lambda learns: arrays.OF_NUMPY)
    monkeypatch.setattr(plan, "BEFORE_GRAPHS", 1)
    monkeypatch.setattr(prepared, "MOST_PRODUCTS", 0)
    monkeypatch.setattr(jobs, "is_usable", lambda *arguments: False)
    planned, plain = (build(tmp_path, TWO_SUMS) for _ in range(2))
    plain.before_forward(lambda layer: None)
    plain.share_with(planned)
    for seed in range(3):
        feed(planned, plain, seed)
        run(planned, plain)
        check(planned, plain, ["second"])
        assert calls(planned) == (1 if seed == 1 else 3)


@pytest.mark.parametrize("joins", [True, False])
def test_two_sums_of_which_one_adds_the_input_of_a_convolution_are_no_graph(joins):
    """oneDNN's compiler would end this process."""
    if joins:
        sums = [graphs.Operation(lambda x, y: convolve(x) + y, [1, 0], [3], is_sum=True)]
    else:
        sums = [
            graphs.Operation(convolve, [1], [2]),
            graphs.Operation(summed, [2, 0], [3], is_sum=True),
        ]
    first = graphs.Operation(convolve, [0], [1])
    last = graphs.Operation(summed, [1, 3], [4], is_sum=True)
    graph, x = graphs.Graph([first, *sums, last], [0], [4]), torch.randn(1, 16, 9, 7)
    with torch.no_grad():
        y = graph(x)
    assert graph.refused == graphs.ADDS_TWICE
    expected = convolve(convolve(x)) + x + convolve(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_the_environment_switches_graphs_off(pair, monkeypatch):
    planned, plain = pair
    monkeypatch.setenv(graphs.SWITCH, "0")
    run(planned, plain)
    assert calls(planned) == 12
    check(planned, plain, ["prob"])


def test_compiling_leaves_the_fuser_of_the_process_as_it_was():
    x, w = torch.randn(1, 3, 8, 8), torch.randn(3, 3, 1, 1)
    operations = [
        graphs.Operation(lambda x: torch.relu(torch.conv2d(x, w)), (i,), (i + 1,)) for i in range(2)
    ]
    with torch.no_grad():
        graph = graphs.Graph(operations, (0,), (2,))
        before = torch.jit.onednn_fusion_enabled()
        results = [graph(x), graph(x), graph.run_one_by_one(x)]
    assert torch.jit.onednn_fusion_enabled() == before and not graph.refused
    for result in results[:2]:
        torch.testing.assert_close(result, results[2], rtol=0, atol=1e-5)


#: A Concat, a sum that no convolution computes, and PReLU between convolutions.
BRANCHES = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 8 dim: 90 dim: 70 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param {
  num_output: 4 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "b" type: "Convolution" bottom: "data" top: "b" convolution_param {
  num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "prelu" type: "PReLU" bottom: "b" top: "b" }
layer { name: "join" type: "Concat" bottom: "a" bottom: "b" top: "join" }
layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "join" top: "sum" }
layer { name: "c" type: "Convolution" bottom: "sum" top: "c" convolution_param {
  num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
"""


def test_joined_and_added_maps_are_part_of_a_graph(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "limits_of", lambda learns: arrays.OF_NUMPY)
    monkeypatch.setattr(plan, "BEFORE_GRAPHS", 1)
    monkeypatch.setattr(prepared, "MOST_PRODUCTS", 0)
    planned, plain = (build(tmp_path, BRANCHES) for _ in range(2))
    plain.before_forward(lambda layer: None)
    plain.share_with(planned)
    for seed in range(3):
        feed(planned, plain, seed)
        run(planned, plain)
        assert calls(planned) == (1 if seed else 6)
        check(planned, plain, ["c"])
    check(planned, plain, planned.blobs)


def test_factors_are_multiplied_into_results_where_weights_are_large(pair, monkeypatch):
    monkeypatch.setattr(step, "FOLDED", 0)
    planned, plain = pair
    run(planned, plain)
    assert calls(planned) == 3
    check(planned, plain, ["relu3", "prob"])


#: Between convolutions: factors of channels before them, limits, and axes in another order.
ORDERS = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 8 dim: 12 dim: 9 } } }
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }
layer { name: "scale" type: "Scale" bottom: "bn" top: "scale" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "scale" top: "relu" }
layer { name: "a" type: "Convolution" bottom: "relu" top: "a" convolution_param {
  num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "six" type: "ReLU6" bottom: "a" top: "six" }
layer { name: "clip" type: "Clip" bottom: "six" top: "clip" clip_param { min: 0.1 max: 1.5 } }
layer { name: "shuffle" type: "ShuffleChannel" bottom: "clip" top: "shuffle"
  shuffle_channel_param { group: 2 } }
layer { name: "b" type: "Convolution" bottom: "shuffle" top: "b" convolution_param {
  num_output: 6 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "sigmoid" type: "Sigmoid" bottom: "b" top: "sigmoid" }
layer { name: "permute" type: "Permute" bottom: "sigmoid" top: "permute"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "flat" type: "Flatten" bottom: "permute" top: "flat" }
layer { name: "prob" type: "Softmax" bottom: "flat" top: "prob" }
"""
#: Between convolutions: maxima of windows and of halves, a flat view that is joined, upsampling.
PARTS = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 8 dim: 18 dim: 22 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param {
  num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "slice" type: "Slice" bottom: "a" top: "left" top: "right" }
layer { name: "max" type: "Eltwise" bottom: "left" bottom: "right" top: "max"
  eltwise_param { operation: MAX } }
layer { name: "pool" type: "Pooling" bottom: "max" top: "pool"
  pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "mean" type: "Pooling" bottom: "pool" top: "mean"
  pooling_param { pool: AVE kernel_size: 3 stride: 1 pad: 1 } }
layer { name: "b" type: "Convolution" bottom: "mean" top: "b" convolution_param {
  num_output: 6 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "b" top: "relu" }
layer { name: "up" type: "Deconvolution" bottom: "mean" top: "up" convolution_param {
  num_output: 8 kernel_size: 4 stride: 2 pad: 1 group: 8 weight_filler { type: "bilinear" } } }
layer { name: "flat" type: "Flatten" bottom: "relu" top: "flat" }
layer { name: "flat_up" type: "Flatten" bottom: "up" top: "flat_up" }
layer { name: "row" type: "Concat" bottom: "flat" bottom: "flat_up" top: "row" }
"""


def joined(tmp_path, monkeypatch, text):
    """Return two nets of equal weights: one whose second pass is joined, one layer by layer."""
    monkeypatch.setattr(plan, "BEFORE_GRAPHS", 1)
    monkeypatch.setattr(plan, "MOST_VALUES", 0)
    monkeypatch.setattr(prepared, "MOST_PRODUCTS", 0)
    planned, plain = (build(tmp_path, text) for _ in range(2))
    plain.before_forward(lambda layer: None)
    plain.share_with(planned)
    for seed in range(2):
        feed(planned, plain, seed)
        run(planned, plain)
    return planned, plain


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Two nets of PARTS, as `joined` makes them."""
    return joined(tmp_path, monkeypatch, PARTS)


@pytest.mark.parametrize("value", [0, -np.inf])
def test_factors_before_convolutions_limits_and_orders_are_part_of_a_graph(
    tmp_path, monkeypatch, value
):
    planned, plain = joined(tmp_path, monkeypatch, ORDERS)
    for net in (planned, plain):
        net.blobs["data"].data[0, 2, 3, 4] = value
    run(planned, plain)
    assert calls(planned) == 1
    for name in ("prob", *reversed(planned.blobs)):
        np.testing.assert_allclose(
            planned.blobs[name].data, plain.blobs[name].data, rtol=1e-4, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("order", [1, -1])
def test_maxima_slices_views_and_upsampling_are_part_of_a_graph(parts, order):
    planned, plain = parts
    assert calls(planned) == 1
    check(planned, plain, ["row"])
    check(planned, plain, list(planned.blobs)[::order])


def test_a_flat_view_shows_a_blob_that_its_owner_changes(parts):
    planned, _ = parts
    planned.blobs["relu"].data[...] = 3
    assert (planned.blobs["flat"].data == 3).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_maxima_of_values_that_are_not_finite_are_those_of_the_layers(parts, value):
    planned, plain = parts
    for net in parts:
        net.blobs["data"].data[0, 1, 4, 5] = value
    run(planned, plain)
    assert calls(planned) == 1
    for name in ("row", "max", "pool"):
        np.testing.assert_allclose(
            planned.blobs[name].data, plain.blobs[name].data, rtol=1e-4, atol=1e-5, err_msg=name
        )


def test_a_view_whose_memory_a_later_layer_overwrites_runs_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "MOST_VALUES", 0)
    text = PARTS.replace(
        'layer { name: "row"',
        'layer { name: "r" type: "ReLU" bottom: "flat" top: "flat" } layer { name: "row"',
    )
    planned, plain = (build(tmp_path, text) for _ in range(2))
    plain.before_forward(lambda layer: None)
    plain.share_with(planned)
    feed(planned, plain, 1)
    run(planned, plain)
    check(planned, plain, ["row", "relu", "flat"])


def test_the_program_before_the_graphs_is_freed_before_their_weights_are_copied(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(plan, "BEFORE_GRAPHS", 1)
    monkeypatch.setattr(plan, "MOST_VALUES", 0)
    monkeypatch.setattr(prepared, "MOST_PRODUCTS", 0)
    programs, alive = [], []

    class Program(plan.Program):
        def __init__(self, *args):
            alive.append([p() for p in programs if p() is not None])
            programs.append(weakref.ref(self))
            super().__init__(*args)

    monkeypatch.setattr(plan, "Program", Program)
    net = build(tmp_path, PARTS)
    for _ in range(3):
        net.forward()
    assert len(programs) == 2 and alive == [[], []]
