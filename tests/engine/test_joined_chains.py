"""Calls of the C library in a row keep no blobs, which are there when somebody asks."""

from __future__ import annotations

import numpy as np
import pytest
from caffe.ops import graphs, jobs

from tests.engine.test_graphs import calls, joined
from tests.engine.test_native import native as native
from tests.engine.test_plan import check, feed, run

CONVOLUTION = """
layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}" convolution_param {{
  num_output: {2} {3} weight_filler {{ type: "msra" }} bias_filler {{ type: "uniform" }} }} }}
"""
RELU = 'layer {{ name: "{0}_relu" type: "ReLU" bottom: "{0}" top: "{0}" }}\n'
#: An image, then a block as in MobileNet v2: more channels, a depthwise convolution and a sum.
NET = (
    'layer { name: "data" type: "Input" top: "data"\n'
    "  input_param { shape { dim: 1 dim: 3 dim: 66 dim: 58 } } }\n"
    + CONVOLUTION.format("stem", "data", 16, "kernel_size: 3 stride: 2 pad: 1")
    + RELU.format("stem")
    + CONVOLUTION.format("expand", "stem", 48, "kernel_size: 1")
    + RELU.format("expand")
    + CONVOLUTION.format("deep", "expand", 48, "kernel_size: 3 pad: 1 group: 48")
    + RELU.format("deep")
    + CONVOLUTION.format("project", "deep", 16, "kernel_size: 1")
    + 'layer { name: "sum" type: "Eltwise" bottom: "stem" bottom: "project" top: "sum" }\n'
    + CONVOLUTION.format("scores", "sum", 21, "kernel_size: 1")
)


@pytest.fixture
def pair(tmp_path, monkeypatch, native):
    """Two nets with equal weights: one whose second pass is one call, one layer by layer."""
    monkeypatch.setattr(jobs.library, "load", lambda: native)
    return joined(tmp_path, monkeypatch, NET)


def test_the_calls_are_one_and_the_result_is_the_same(pair):
    assert calls(pair[0]) == 1
    check(*pair, ["scores"])


@pytest.mark.parametrize("order", [1, -1])
def test_blobs_between_the_calls_are_there_when_somebody_asks(pair, order):
    planned, plain = pair
    for seed in (5, 6, 7):
        check(planned, plain, list(planned.blobs)[::order])
        feed(planned, plain, seed)
        run(planned, plain)
    assert calls(planned) > 1


@pytest.mark.parametrize("name", ["expand", "project"])
def test_a_blob_between_the_calls_has_the_values_of_its_pass_after_a_change(pair, name):
    planned, plain = pair
    expected = plain.blobs[name].data.copy()
    planned.params["stem"][0].data[...] = 0
    planned.blobs["data"].data[...] = 0
    np.testing.assert_allclose(planned.blobs[name].data, expected, rtol=1e-4, atol=1e-5)


def test_a_change_of_a_weight_is_seen_in_the_next_pass(pair):
    planned, plain = pair
    planned.params["deep"][0].data[...] *= 2
    for _ in range(3):
        run(planned, plain)
        check(planned, plain, ["scores"])
    assert calls(planned) == 1


def test_values_that_are_not_finite_are_those_of_the_layers(pair):
    planned, plain = pair
    for net in pair:
        net.blobs["data"].data[0, 1, 4, 5] = np.inf
    run(planned, plain)
    ours, theirs = planned.blobs["scores"].data, plain.blobs["scores"].data
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not graphs.available(), reason="this PyTorch has no oneDNN graphs")
def test_a_graph_that_is_refused_leaves_calls_of_the_library_joined(tmp_path, monkeypatch, native):
    monkeypatch.setattr(jobs.library, "load", lambda: native)
    # Sums that a graph is refused for, between a convolution with gaps and one with groups.
    other = CONVOLUTION.format("a", "scores", 21, "kernel_size: 3 pad: 2 dilation: 2")
    other += CONVOLUTION.format("b", "a", 21, "kernel_size: 3 pad: 1 group: 3")
    for name, bottoms in (("first", ("scores", "b")), ("second", ("a", "first"))):
        other += f'layer {{ name: "{name}" type: "Eltwise" bottom: "{bottoms[0]}" '
        other += f'bottom: "{bottoms[1]}" top: "{name}" }}\n'
    planned, plain = joined(tmp_path, monkeypatch, NET + other)
    assert calls(planned) == 2
    for seed in (5, 6):
        feed(planned, plain, seed)
        run(planned, plain)
        check(planned, plain, ["second"])
        assert calls(planned) == 4  # "a", "b" with the first sum, and the second one by one


def test_an_input_of_another_size_is_one_call_from_the_next_pass_on(pair):
    planned, plain = pair
    for net in pair:
        net.blobs["data"].reshape(2, 3, 40, 30)
    for seed, expected in ((1, 5), (2, 1)):
        feed(planned, plain, seed)
        run(planned, plain)
        assert calls(planned) == expected
        check(planned, plain, ["scores"])
