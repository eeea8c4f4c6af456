"""The engine's CUDA kernels compute what PyTorch's own operations compute."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from caffe.ops import cuda

from tests.engine import nets
from tests.engine.test_replay import gpu as gpu

pytestmark = pytest.mark.cuda
DTYPES = (torch.float32, torch.bfloat16)
WINDOWS = [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((3, 2), (1, 2)), ((2, 2), (3, 3)), ((5, 1), (2, 1))]


def random_map(shape, dtype, seed=0):
    """A map with channels last and many equal values."""
    draw = torch.Generator("cuda").manual_seed(seed)
    x = torch.randn(shape, device="cuda", generator=draw).mul_(4).round_().to(dtype)
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 64, 33, 28), (3, 8, 12, 17), (2, 24, 9, 9)], ids=str)
def test_max_pooling_equals_pytorch(shape, dtype, window, ceil):
    kernel, stride = window
    ours, theirs = (random_map(shape, dtype).requires_grad_() for _ in range(2))
    assert cuda.takes(ours)
    expected = F.max_pool2d(theirs, kernel, stride, ceil_mode=ceil)
    result = cuda.MaxPool.apply(ours, kernel, stride, expected.shape[2:])
    assert torch.equal(result, expected)
    grad = random_map(expected.shape, dtype, 1)
    (our_gradient,) = torch.autograd.grad(result, ours, grad)
    (their_gradient,) = torch.autograd.grad(expected, theirs, grad)
    # The values are small integers, so that sums are the same in any order.
    assert torch.equal(our_gradient, their_gradient)
    with torch.no_grad():
        assert torch.equal(cuda.MaxPool.apply(ours, kernel, stride, expected.shape[2:]), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_maximum_of_a_window_with_nan_is_nan(dtype):
    x = random_map((1, 8, 6, 6), dtype)
    x[0, 3, 1, 1], x[0, 2] = float("nan"), -float("inf")
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    expected = F.max_pool2d(theirs, 2, 2)
    result = cuda.MaxPool.apply(ours, (2, 2), (2, 2), expected.shape[2:])
    assert torch.equal(result.isnan(), expected.isnan()) and expected.isnan().any()
    assert torch.equal(result.nan_to_num(0), expected.nan_to_num(0))
    for y in (result, expected):
        y.backward(torch.ones_like(y))
    # Of a window of -infinity, the kernel takes the first value, PyTorch another.
    others = [c for c in range(8) if c != 2]
    assert torch.equal(ours.grad[:, others], theirs.grad[:, others])
    assert ours.grad[:, 2, ::2, ::2].sum() == ours.grad[:, 2].sum() == 9


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
@pytest.mark.parametrize("size", [11, 12])
def test_pooling_layers_use_the_kernel(tmp_path, monkeypatch, precision, size):
    caffe.set_precision(precision)
    text = f"""force_backward: true
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 2 dim: 16 dim: {size} dim: 13 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 8 kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param {{ kernel_size: 3 stride: 2 }} }}"""
    outcomes, used, apply = [], [], cuda.MaxPool.apply
    for by_kernel in (True, False):
        monkeypatch.setattr(
            cuda.MaxPool, "apply", lambda *args: used.append(args[0].shape) or apply(*args)
        )
        if not by_kernel:
            monkeypatch.setattr(cuda, "takes", lambda x: False)
        caffe.set_random_seed(1)
        net = caffe.Net(nets.write(tmp_path, text), caffe.TRAIN)
        net.blobs["data"].data[...] = np.random.RandomState(2).randn(2, 16, size, 13)
        net.forward()
        net.blobs["pool"].diff[...] = np.random.RandomState(3).randn(*net.blobs["pool"].shape)
        net.backward()
        outcomes.append([net.blobs["pool"].data.copy(), net.blobs["data"].diff.copy()])
    assert used == [(2, 8, size, 13)]
    for ours, theirs in zip(*outcomes):
        assert np.allclose(ours, theirs, rtol=1e-2, atol=1e-2)
    assert np.array_equal(outcomes[0][0], outcomes[1][0])


def test_a_convolution_with_21_outputs_is_the_same_in_bfloat16(tmp_path):
    text = """force_backward: true
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 16 dim: 9 dim: 10 } } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 21 kernel_size: 3 pad: 1 weight_filler { type: "xavier" }
    bias_filler { type: "gaussian" std: 1 } } }"""
    outcomes = []
    for precision in ("float32", "bfloat16"):
        caffe.set_precision(precision)
        caffe.set_random_seed(1)
        net = caffe.Net(nets.write(tmp_path, text), caffe.TRAIN)
        net.blobs["data"].data[...] = np.random.RandomState(2).randn(1, 16, 9, 10)
        net.forward()
        net.blobs["score"].diff[...] = np.random.RandomState(3).randn(1, 21, 9, 10)
        net.backward()
        gradients = [b.diff.copy() for b in net.params["score"]]
        outcomes.append([net.blobs["score"].data.copy(), net.blobs["data"].diff.copy(), *gradients])
    assert outcomes[1][0].shape == (1, 21, 9, 10)
    for full, low in zip(*outcomes):
        assert np.allclose(full, low, rtol=2e-2, atol=2e-2 * abs(full).max())


SHAPES = [((2, 5, 7, 6), 4, 2, 0), ((1, 21, 9, 8), 16, 8, 0), ((2, 3, 5, 5), 3, 2, 1)]
SHAPES += [((1, 2, 4, 6), 2, 3, 0), ((1, 8, 3, 3), 5, 1, 2), ((1, 1, 6, 5), 4, 2, 1)]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_upsampling_each_channel_equals_pytorch(case, layout):
    shape, k, s, p = case
    draw = torch.Generator("cuda").manual_seed(2)
    x = torch.randn(shape, device="cuda", generator=draw).contiguous(memory_format=layout)
    w = torch.randn((k, k + 1, shape[1]), device="cuda", generator=draw)
    b = torch.randn(shape[1], device="cuda", generator=draw)
    for bias in (None, b):
        ours, theirs = (x.clone().requires_grad_() for _ in range(2))
        biases = [None if bias is None else bias.clone().requires_grad_() for _ in range(2)]
        expected = F.conv_transpose2d(
            theirs, w.permute(2, 0, 1)[:, None], biases[1], (s, s + 1), (p, 0), groups=shape[1]
        )
        result = cuda.Upsample.apply(
            ours, w, biases[0], tuple(expected.shape[2:]), (s, s + 1), (p, 0)
        )
        assert result.shape == expected.shape and torch.allclose(
            result, expected, rtol=1e-5, atol=1e-5
        )
        grad = torch.randn(expected.shape, device="cuda", generator=draw)
        for y in (result, expected):
            y.backward(grad)
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-5, atol=1e-4)
        if bias is not None:
            assert torch.allclose(biases[0].grad, biases[1].grad, rtol=1e-5, atol=1e-3)


def upsampling(folder, group=1, learns=False):
    """A net with a Deconvolution that is fixed, or learned."""
    text = f"""force_backward: {str(learns).lower()}
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 1 dim: 4 dim: 5 dim: 6 }} }} }}
layer {{ name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param {{ num_output: 4 kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "up" type: "Deconvolution" bottom: "score" top: "up" param {{ lr_mult: 0 }}
  convolution_param {{ num_output: 4 kernel_size: 4 stride: 2 group: {group} bias_term: false
    weight_filler {{ type: "bilinear" }} }} }}"""
    caffe.set_random_seed(1)
    net = caffe.Net(nets.write(folder, text), caffe.TRAIN)
    net.blobs["data"].data[...] = np.random.RandomState(2).randn(1, 4, 5, 6)
    return net


def values_and_gradient(net):
    net.forward()
    net.blobs["up"].diff[...] = np.random.RandomState(3).randn(*net.blobs["up"].shape)
    net.backward()
    return [np.array(net.blobs["up"].data), np.array(net.params["score"][0].diff)]


def set_separate_channels(net):
    """Set random kernels from each channel to itself, and zeros between channels."""
    weights = np.zeros((4, 4, 4, 4), np.float32)
    weights[range(4), range(4)] = np.random.RandomState(4).rand(4, 4, 4)
    net.params["up"][0].data[...] = weights


@pytest.mark.parametrize("kind", ["diagonal", "full", "grouped", "learned"])
def test_a_fixed_deconvolution_of_separate_channels_uses_the_kernel(tmp_path, monkeypatch, kind):
    def build():
        net = upsampling(tmp_path, 4 if kind == "grouped" else 1, kind == "learned")
        if kind in ("diagonal", "learned"):
            set_separate_channels(net)
        return net

    used, apply = [], cuda.Upsample.apply
    monkeypatch.setattr(
        cuda.Upsample, "apply", lambda *args: used.append(args[1].shape) or apply(*args)
    )
    ours = values_and_gradient(build())
    assert bool(used) == (kind in ("diagonal", "grouped"))
    monkeypatch.setattr(cuda, "upsamples", lambda x, size: False)
    for a, b in zip(ours, values_and_gradient(build())):
        assert np.allclose(a, b, rtol=1e-5, atol=1e-5)


def test_changed_weights_change_the_upsampling(tmp_path):
    net = upsampling(tmp_path)
    set_separate_channels(net)
    # The net runs so often that its passes are replayed.
    before = [net.forward()["up"].copy() for _ in range(5)][-1]
    net.params["up"][0].data[...] *= 2
    assert np.allclose(net.forward()["up"], 2 * before, rtol=1e-5)
    weights = net.params["up"][0].data
    assert np.allclose(net.forward()["up"], 2 * before, rtol=1e-5)
    net.params["up"][0].data[0, 1] = 1
    assert not np.allclose(net.forward()["up"][:, 1], 2 * before[:, 1], rtol=1e-3)
    del weights
    assert not np.allclose(net.forward()["up"][:, 1], 2 * before[:, 1], rtol=1e-3)
