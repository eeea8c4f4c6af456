"""Upsampling one axis after the other equals transposed convolution, and runs where it can."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from caffe.ops import upsample

from tests.engine import nets, test_kernels
from tests.engine.test_native import native as native
from tests.engine.test_winograd import apart

MORE = [((1, 3, 9, 9), 7, 1, 6), ((2, 5, 9, 9), 6, 2, 5), ((1, 4, 1, 1), 64, 32, 0)]


@pytest.fixture(params=["library", "torch"])
def both_ways(request, native, monkeypatch):
    """The C library computes the forward pass, or PyTorch's operations do."""
    monkeypatch.setattr(upsample.library, "load", lambda: native)
    if request.param == "torch":
        monkeypatch.setattr(upsample.jobs, "is_usable", lambda outputs: False)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("case", test_kernels.SHAPES + MORE, ids=str)
def test_output_and_gradient_are_those_of_the_exact_transposed_convolution(case, layout):
    shape, k, s, p = case
    torch.manual_seed(2)
    x, down, across = torch.randn(shape), torch.randn(shape[1], k), torch.randn(shape[1], k + 1)
    exact = x.double().requires_grad_()
    outer = (down.double()[:, :, None] * across.double()[:, None])[:, None]
    stride, pad = (s, s + 1), (p, 0)
    expected = F.conv_transpose2d(exact, outer, None, stride, pad, groups=shape[1])
    ours = x.contiguous(memory_format=layout).requires_grad_()
    kernels = upsample.Factors(down, across)
    y = upsample.upsample(ours, kernels, expected.shape[2:], stride, pad)
    assert y.shape == expected.shape and apart(y, expected) < 1e-6
    with torch.no_grad():
        unlearned = upsample.upsample(ours, kernels, expected.shape[2:], stride, pad)
    assert unlearned.shape == expected.shape and apart(unlearned, expected) < 1e-6
    diff = torch.randn(expected.shape)
    expected.backward(diff.double())
    y.backward(diff.contiguous(memory_format=layout))
    assert apart(ours.grad, exact.grad) < 2e-6


def test_a_value_reaches_the_outputs_of_its_kernel_alone(native, monkeypatch):
    monkeypatch.setattr(upsample.library, "load", lambda: native)
    x, kernel = torch.ones(1, 2, 6, 7), torch.ones(2, 16)
    x[0, 1, 3, 2] = float("inf")
    y = upsample.upsample(x, upsample.Factors(kernel, kernel), (48, 56), (8, 8), (4, 4))
    expected = torch.zeros(2, 48, 56, dtype=torch.bool)
    expected[1, 20:36, 12:28] = True
    assert torch.equal(y[0].isinf(), expected) and not y.isnan().any()


def test_the_jobs_of_a_shape_are_listed_once(native, monkeypatch):
    tables, cuts = [], upsample.jobs.cuts
    monkeypatch.setattr(upsample.library, "load", lambda: native)
    monkeypatch.setattr(
        upsample.jobs, "cuts", lambda *counts: tables.append(counts) or cuts(*counts)
    )
    kernels = upsample.Factors(torch.ones(2, 16), torch.ones(2, 16))
    x, settings = torch.ones(1, 2, 6, 7), ((48, 56), (8, 8), (4, 4))
    results = [upsample.upsample(x, kernels, *settings) for _ in range(3)]
    assert len(tables) == 2  # one for each axis
    assert all(torch.equal(y, results[0]) for y in results)


def test_only_outer_products_have_factors():
    torch.manual_seed(2)
    down, across = torch.randn(3, 4), torch.randn(3, 6)
    down[1] = 0
    outer = down[:, :, None] * across[:, None]
    factors = upsample.factors(outer)
    assert factors is not None
    assert (factors.down.kernel.shape, factors.across.kernel.shape) == ((3, 4), (3, 6))
    assert torch.allclose(factors.products()[:, 0], outer, rtol=1e-6, atol=0)
    outer[2, 1, 1] *= 1 + 1e-5
    assert upsample.factors(outer) is None


def net_of(folder, kind):
    """A net whose Deconvolution has bilinear kernels, or random ones with or without factors."""
    group = 4 if kind == "grouped" else 1
    text = f"""force_backward: {str(kind == "learned").lower()}
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 2 dim: 4 dim: 5 dim: 6 }} }} }}
layer {{ name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param {{ num_output: 4 kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "up" type: "Deconvolution" bottom: "score" top: "up" param {{ lr_mult: 0 }}
  param {{ lr_mult: {int(kind != "diagonal")} }}
  convolution_param {{ num_output: 4 kernel_size: 4 stride: 2 group: {group} pad: 1
    bias_filler {{ type: "gaussian" std: 1 }} weight_filler {{ type: "bilinear" }} }} }}"""
    caffe.set_random_seed(1)
    net = nets.build(folder, text, caffe.TRAIN)
    weights, draw = np.zeros((4, 4, 4, 4), np.float32), np.random.RandomState(4)
    if kind != "grouped":
        factors = draw.rand(2, 4, 4).astype(np.float32)
        outer = factors[0][:, :, None] * factors[1][:, None]
        weights[range(4), range(4)] = draw.rand(4, 4, 4) if kind == "without factors" else outer
        if kind == "full":
            weights[0, 1, 2, 3] = 1e-3
        net.params["up"][0].data[...] = weights
    net.blobs["data"].data[...] = draw.randn(2, 4, 5, 6)
    return net


def values_and_gradients(net):
    net.forward()
    net.blobs["up"].diff[...] = np.random.RandomState(3).randn(*net.blobs["up"].shape)
    net.backward()
    blobs = [net.params["score"][0], net.params["up"][1]]
    return [np.array(net.blobs["up"].data), *(np.array(b.diff) for b in blobs)]


def calls(monkeypatch):
    """Return a list that gets the shape of each map that is upsampled axis by axis."""
    shapes, run = [], upsample.upsample
    monkeypatch.setattr(
        upsample, "upsample", lambda x, *rest: shapes.append(tuple(x.shape)) or run(x, *rest)
    )
    return shapes


KINDS = ["diagonal", "grouped", "full", "without factors", "learned"]


@pytest.mark.parametrize("kind", KINDS)
def test_fixed_kernels_with_factors_are_upsampled_axis_by_axis(tmp_path, monkeypatch, kind):
    shapes = calls(monkeypatch)
    ours = values_and_gradients(net_of(tmp_path, kind))
    assert bool(shapes) == (kind in ("diagonal", "grouped"))
    monkeypatch.setattr(upsample, "takes", lambda x: False)
    for a, b in zip(ours, values_and_gradients(net_of(tmp_path, kind))):
        assert np.allclose(a, b, rtol=1e-5, atol=1e-5)


def test_changed_weights_are_factored_again(tmp_path, monkeypatch):
    net = net_of(tmp_path, "diagonal")
    net.params["up"][1].data[...] = 0
    shapes = calls(monkeypatch)
    before = net.forward()["up"].copy()
    net.params["up"][0].data[...] *= 2
    assert np.allclose(net.forward()["up"], 2 * before, rtol=1e-5, atol=1e-6)
    assert len(shapes) == 2
    weights = net.params["up"][0].data
    weights[0, 1] = 1
    assert not np.allclose(net.forward()["up"][:, 1], 2 * before[:, 1], rtol=1e-3)
    weights[0, 1] = 0
    assert np.allclose(net.forward()["up"], 2 * before, rtol=1e-5, atol=1e-6)


def test_weights_are_factored_once_while_a_solver_runs(tmp_path, monkeypatch):
    factored, factors = [], upsample.factors
    monkeypatch.setattr(
        upsample, "factors", lambda kernels: factored.append(kernels) or factors(kernels)
    )
    text = """
layer { name: "data" type: "Input" top: "data" top: "truth"
  input_param { shape { dim: 1 dim: 2 dim: 5 dim: 6 } shape { dim: 1 dim: 2 dim: 12 dim: 14 } } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "up" type: "Deconvolution" bottom: "score" top: "up" param { lr_mult: 0 }
  convolution_param { num_output: 2 kernel_size: 4 stride: 2 group: 2 bias_term: false
    weight_filler { type: "bilinear" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "up" bottom: "truth" top: "loss" }"""
    solver = nets.solver(tmp_path, "weight_decay: 0.1", net=text)
    before = np.array(solver.net.params["up"][0].data)
    solver.net.blobs["data"].data[...] = 1
    solver.step(3)
    assert len(factored) == 1
    assert np.array_equal(solver.net.params["up"][0].data, before)
    assert not solver.net.params["up"][0].diff.any()
