"""A plan in bfloat16 shows what the layers one by one show in bfloat16, but for rounding."""

from __future__ import annotations

import gc
import weakref

import caffe
import numpy as np
import pytest
import torch
from caffe.ops import graphs, prepared
from caffe.run import plan

from tests.engine.nets import build
from tests.engine.test_graphs import calls
from tests.engine.test_plan import HIDDEN, NET, equal_nets, feed, run

pytestmark = pytest.mark.skipif(
    not prepared.available(torch.bfloat16), reason="this processor or PyTorch has no bfloat16"
)
#: The largest difference, as a share of the largest value: a few roundings to 8 bits.
ERROR = 0.02


@pytest.fixture(autouse=True)
def low():
    """Have nets compute in bfloat16."""
    caffe.set_precision("bfloat16")
    yield
    caffe.set_precision("float32")


@pytest.fixture(params=["calls", "graphs"])
def pair(request, tmp_path, monkeypatch):
    """Two nets with equal weights, one of which runs as a plan, of calls or of graphs."""
    if request.param == "graphs":
        if not graphs.available():
            pytest.skip("this PyTorch has no oneDNN graphs")
        monkeypatch.setattr(plan, "BEFORE_GRAPHS", 1)
    planned, plain = equal_nets(tmp_path)
    balance(planned, plain)
    for seed in range(2):
        feed(planned, plain, seed)
        run(planned, plain)
    assert calls(planned) == (3 if request.param == "graphs" else 12)
    return planned, plain


def balance(planned, plain):
    """Give both nets means near 0: differences of near numbers would show rounding alone."""
    draw = np.random.RandomState(2)
    for name in ("bn1", "bn2", "bn4"):
        mean = 0.1 * draw.randn(*planned.params[name][0].shape)
        for net in (planned, plain):
            net.params[name][0].data[...] = mean


def apart(ours, theirs):
    """The largest difference of two arrays, as a share of the largest value."""
    return float(abs(ours - theirs).max() / abs(theirs).max())


def check(planned, plain, names):
    """Compare blobs of the two nets."""
    for name in names:
        assert apart(planned.blobs[name].data, plain.blobs[name].data) < ERROR, name


def rounds(values):
    """Whether an array has float32 values that bfloat16 does not have."""
    return not np.array_equal(values, torch.from_numpy(values).bfloat16().float().numpy())


def test_the_results_are_those_of_the_layers_one_by_one_but_for_rounding(pair):
    planned, plain = pair
    check(planned, plain, ["bn1", "conv2", "cat", "ip", "prob"])
    exact = build_exact(planned, plain)
    for name in ("cat", "prob"):
        plan_error = apart(planned.blobs[name].data, exact[name])
        layers_error = apart(plain.blobs[name].data, exact[name])
        assert 0 < plan_error < 1.5 * layers_error + 0.002


def build_exact(planned, plain):
    """Return the blobs of a pass in float32."""
    caffe.set_precision("float32")
    plain.forward()
    values = {name: blob.data.copy() for name, blob in plain.blobs.items()}
    caffe.set_precision("bfloat16")
    plain.forward()
    return values


@pytest.mark.parametrize("order", [1, -1])
def test_blobs_that_a_pass_has_not_computed_are_there_when_somebody_asks(pair, order):
    planned, plain = pair
    for seed in (2, 3):
        check(planned, plain, list(planned.blobs)[::order])
        feed(planned, plain, seed)
        run(planned, plain)
        check(planned, plain, ["prob"])


@pytest.mark.parametrize("name", HIDDEN)
def test_a_blob_read_late_has_the_values_of_its_pass_after_any_change(pair, name):
    planned, plain = pair
    expected = plain.blobs[name].data.copy()
    for layer in planned.params:
        for blob in planned.params[layer]:
            blob.data[...] = 7
    planned.blobs["data"].data[...] = 3
    caffe.set_precision("float32")
    ours = planned.blobs[name].data
    assert apart(ours, expected) < ERROR
    if name.startswith("conv"):
        assert not rounds(ours)


def test_a_change_of_a_weight_is_seen_at_once(pair):
    planned, plain = pair
    for name in planned.params:
        for net in pair:
            net.params[name][0].data[...] *= 1.5
        run(planned, plain)
        check(planned, plain, ["pool", "ip", "prob"])


def test_weights_in_an_array_that_somebody_holds_may_change_between_passes(pair):
    planned, plain = pair
    names = ["conv1", "bn1", "conv3", "prelu", "ip"]
    held = [planned.params[name][0].data for name in names]
    for name, array in zip(names, held):
        run(planned, plain)
        array *= 1.25
        plain.params[name][0].data[...] *= 1.25
        run(planned, plain)
        check(planned, plain, ["ip", "prob"])


def test_inputs_of_several_sizes_run_in_turn(pair):
    planned, plain = pair
    for size in ((1, 3, 20, 18), (3, 3, 20, 18)) * 2:
        for net in pair:
            net.blobs["data"].reshape(*size)
        feed(planned, plain, size[0])
        run(planned, plain)
        check(planned, plain, ["prob"])


def test_each_pass_has_the_precision_that_is_set_when_it_runs(pair):
    planned, plain = pair
    exact = build_exact(planned, plain)
    for precision, least, most in (("float32", 0, 1e-5), ("bfloat16", 1e-5, ERROR)) * 2:
        caffe.set_precision(precision)
        for _ in range(2):
            planned.forward()
            assert planned.executor.choice.way == "plan"
            assert least <= apart(planned.blobs["cat"].data, exact["cat"]) < most


def test_programs_of_the_other_precision_are_freed(tmp_path, monkeypatch):
    programs = []

    class Program(plan.Program):
        def __init__(self, *args):
            programs.append(weakref.ref(self))
            super().__init__(*args)

    monkeypatch.setattr(plan, "Program", Program)
    net = build(tmp_path, NET)
    for precision in ("bfloat16", "float32", "bfloat16"):
        caffe.set_precision(precision)
        net.forward()
        gc.collect()
        assert [p() is None for p in programs] == [True] * (len(programs) - 1) + [False]
    assert len(programs) == 3


@pytest.mark.long  # the first backward of a process loads more of PyTorch
def test_backward_follows_a_plan(tmp_path, pair):
    label = 'layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 2 } } }'
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "l" top: "loss" }'
    planned, plain = (build(tmp_path, NET + label + loss) for _ in range(2))
    plain.before_forward(lambda layer: None)
    for net in (planned, plain):
        net.share_with(pair[1])
    feed(planned, plain, 0)
    run(planned, plain)
    gradients = []
    for net in (planned, plain):
        net.clear_param_diffs()
        net.backward()
        gradients.append([net.params[name][0].diff.copy() for name in ("conv1", "conv3", "ip")])
    for ours, theirs in zip(*gradients):
        # A value that rounding moves across 0 passes its gradient on or not.
        assert abs(theirs).max() > 0 and apart(ours, theirs) < 0.3


def test_small_layers_compute_in_float32(tmp_path):
    text = """layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param {
      num_output: 4 weight_filler { type: "xavier" } } }"""
    net = build(tmp_path, text)
    x = np.random.RandomState(0).rand(2, 3).astype(np.float32)
    ours = net.forward(x=x)["a"].copy()
    caffe.set_precision("float32")
    np.testing.assert_array_equal(ours, net.forward(x=x)["a"])


#: InnerProducts whose calls differ: one with weights that are packed in parts, and others.
PRODUCTS = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 40 } } }
layer { name: "lrn" type: "Power" bottom: "x" top: "p" power_param { scale: 0.5 } }
layer { name: "a" type: "InnerProduct" bottom: "p" top: "a" inner_product_param {
  num_output: 37 weight_filler { type: "xavier" } bias_filler { type: "uniform" } } }
layer { name: "b" type: "InnerProduct" bottom: "p" top: "b" inner_product_param { axis: 2
  num_output: 5 weight_filler { type: "xavier" } bias_term: false } }
layer { name: "c" type: "InnerProduct" bottom: "p" top: "c" inner_product_param {
  transpose: true num_output: 6 weight_filler { type: "xavier" } } }
"""


def test_inner_products_of_any_shape_are_those_of_their_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("caffe.ops.product.PACKED", 1500)
    monkeypatch.setattr("caffe.lazy.LARGE", 1)
    net = build(tmp_path, PRODUCTS)
    net.save(str(tmp_path / "w.caffemodel"))
    stored = build(tmp_path, PRODUCTS, weights=str(tmp_path / "w.caffemodel"))
    x = np.random.RandomState(0).randn(2, 3, 40).astype(np.float32)
    for planned in (net, stored):
        planned.forward(x=x)
        assert planned.executor.choice.way == "plan"
        p = torch.from_numpy(0.5 * x).bfloat16().double().numpy()
        flat = p.reshape(2, -1)
        w = {
            name: torch.from_numpy(net.params[name][0].data).bfloat16().double().numpy()
            for name in ("a", "b", "c")
        }
        exact = {"a": flat @ w["a"].T, "b": p @ w["b"].T, "c": flat @ w["c"]}
        exact["a"] = exact["a"] + net.params["a"][1].data
        for name, values in exact.items():
            assert apart(planned.blobs[name].data, values) < 0.01
    assert stored.params["a"][0].values.is_deferred()
