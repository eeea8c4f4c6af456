"""Winograd's algorithm with kernels that the C library cuts into pieces."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from caffe.ops import fused_winograd, product, winograd

from tests.engine import nets
from tests.engine.test_native import native as native
from tests.engine.test_regions import INPUT, conv
from tests.engine.test_winograd import apart, torch_threads, within_a_rounding

#: Images, channels and outputs of a group, height, width, padding, groups.
SHAPES = {
    "one channel more than a product": (1, 48, 32, 13, 14, (1, 2), 1),
    "two images": (2, 64, 48, 20, 17, (0, 3), 1),
    "two groups": (1, 96, 64, 30, 33, (2, 2), 2),
    "several blocks": (2, 48, 80, 62, 41, (1, 1), 1),
    "smaller than the kernel": (1, 16, 16, 3, 9, (3, 3), 1),
}
CASES = [
    (kernel, case)
    for case in SHAPES
    for kernel in (4, 5, 6, 7, 8)
    if case != "smaller than the kernel" or kernel in (5, 7)
]


@pytest.fixture(autouse=True)
def library(native, monkeypatch):
    """The C library, wherever it is installed."""
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)


def exact_leaves(kernel, case):
    """x, w and b with float32's values in float64."""
    images, channels, outputs, height, width, _, groups = SHAPES[case]
    torch.manual_seed(kernel)
    shapes = (
        (images, channels * groups, height, width),
        (outputs * groups, channels, kernel, kernel),
        (outputs * groups,),
    )
    return [torch.randn(shape).double().requires_grad_() for shape in shapes]


@pytest.mark.parametrize(("kernel", "case"), CASES)
def test_output_and_gradients_are_those_of_the_exact_convolution(kernel, case):
    *_, pad, groups = SHAPES[case]
    leaves = exact_leaves(kernel, case)
    expected = F.conv2d(*leaves, padding=pad, groups=groups)
    ours = [t.detach().float().requires_grad_() for t in leaves]
    y = winograd.convolve(*ours, pad)
    assert y.shape == expected.shape and apart(y, expected) < 1e-5
    diff = torch.randn_like(expected)
    grads = torch.autograd.grad(y, ours, diff.float())
    for grad, exact in zip(grads, torch.autograd.grad(expected, leaves, diff)):
        assert apart(grad, exact) < 1e-5


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("kernel", "case"), CASES[:10])
def test_bfloat16_maps_are_rounded_once(kernel, case, weights):
    *_, pad, groups = SHAPES[case]
    x, w, b = (t.detach().to(torch.bfloat16) for t in exact_leaves(kernel, case))
    w = w.to(weights)
    convolve = fused_winograd.Convolution(x.shape, w, b, pad, dtype=x.dtype)
    exact = F.conv2d(x.double(), w.double(), b.double(), padding=pad, groups=groups)
    assert within_a_rounding(convolve(x), exact)


@pytest.mark.parametrize("kernel", [4, 5, 6, 7, 8])
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_the_memory_of_a_job_do_not_change_the_convolution(
    monkeypatch, kernel, threads
):
    x, w, b = (t.detach().float() for t in exact_leaves(kernel, "several blocks"))
    exact = F.conv2d(x.double(), w.double(), b.double())
    for tile_values, kernel_values in ((1, 1), (1 << 24, 1 << 24)):
        monkeypatch.setattr(fused_winograd, "TILE_VALUES", tile_values)
        monkeypatch.setattr(fused_winograd, "KERNEL_VALUES", kernel_values)
        with torch_threads(threads):
            y = fused_winograd.Convolution(x.shape, w, b, (0, 0), slope=0.0)(x)
        assert apart(y, torch.relu(exact)) < 1e-5


@pytest.mark.parametrize("value", [0.0, 1e-8])
@pytest.mark.parametrize("kernel", [4, 5, 7])
def test_outputs_of_zeros_and_of_small_inputs_are_exact(kernel, value):
    torch.manual_seed(1)
    x = torch.full((1, 32, 26, 26), value)
    x[:, :, 9:15, 11:14] = torch.randn(1, 32, 6, 3)
    pad = (kernel - 1) // 2
    w, b = torch.randn(48, 32, kernel, kernel), torch.randn(48) * value
    ones = torch.ones(1, 32, kernel, kernel)
    unlike = F.conv2d((x != value).float(), ones, padding=pad) == 0
    y = fused_winograd.Convolution(x.shape, w, b, (pad, pad), exact=True)(x)
    exact = F.conv2d(x.double(), w.double(), b.double(), padding=pad)
    unlike = unlike.expand_as(y)
    assert unlike.any() and not unlike.all()
    assert (y[unlike] - exact[unlike]).abs().max() <= 1e-5 * exact[unlike].abs().max()
    assert apart(y, exact) < 1e-5


def test_a_nan_reaches_the_outputs_that_read_it_and_no_other():
    x, w = torch.zeros(1, 32, 20, 20), torch.ones(32, 32, 7, 7)
    x[0, 0, 0, -1] = float("nan")
    y = winograd.convolve(x, w, None, (0, 0))
    assert y[:, :, 0, -1].isnan().all() and torch.isfinite(y[:, :, 1:]).all()


@pytest.mark.parametrize(
    ("weights", "size", "expected"),
    [
        ((4096, 512, 7, 7), 22, True),  # VGG16's fc6 in an image of 500 x 500
        ((4096, 256, 6, 6), 22, True),
        ((4096, 512, 7, 7), 7, False),  # one output, for which all weights change their basis
        ((64, 24, 5, 5), 56, False),  # channels that are no vectors
        ((64, 64, 9, 9), 56, False),
        ((64, 64, 5, 7), 56, False),
    ],
)
def test_the_algorithm_is_used_where_faster(weights, size, expected):
    assert winograd.pays_for((1, weights[1], size, size), weights, (0, 0)) is expected


@pytest.mark.parametrize("phase", [caffe.TEST, caffe.TRAIN], ids=["test", "train"])
def test_a_layer_with_large_weights_has_the_gradients_of_a_product(tmp_path, monkeypatch, phase):
    """The gradient of the weights is written to the memory of the blob."""
    calls, forward = [], winograd.forward
    monkeypatch.setattr(product, "LARGE", 1)
    monkeypatch.setattr(
        winograd, "forward", lambda x, *rest: calls.append(x.shape) or forward(x, *rest)
    )
    text = "force_backward: true\n" + INPUT.replace("dim: 2 ", "dim: 64 ").format(1, 40, 40)
    net = nets.build(tmp_path, text + conv("fc6", "data", 128, 7, 0), phase=phase)
    draw = np.random.RandomState(2)
    for blob in (net.blobs["data"], *net.params["fc6"]):
        blob.data[...] = draw.randn(*blob.shape)
    net.forward()
    assert calls == [(1, 64, 40, 40)]
    net.blobs["fc6"].diff[...] = draw.randn(*net.blobs["fc6"].shape)
    net.backward()
    blobs = (net.blobs["data"], *net.params["fc6"])
    leaves = [torch.tensor(blob.data).double().requires_grad_() for blob in blobs]
    expected = F.conv2d(*leaves)
    assert apart(torch.tensor(net.blobs["fc6"].data), expected) < 1e-5
    expected.backward(torch.tensor(net.blobs["fc6"].diff).double())
    for blob, leaf in zip(blobs, leaves):
        assert apart(torch.tensor(blob.diff), leaf.grad) < 1e-5


def test_a_gradient_of_large_weights_that_is_not_finite_is_that_of_the_product(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(product, "LARGE", 1)
    text = "force_backward: true\n" + INPUT.replace("dim: 2 ", "dim: 64 ").format(1, 30, 30)
    net = nets.build(tmp_path, text + conv("fc6", "data", 128, 7, 0))
    draw = np.random.RandomState(2)
    for blob in (net.blobs["data"], *net.params["fc6"]):
        blob.data[...] = draw.randn(*blob.shape)
    net.forward()
    diff = draw.randn(*net.blobs["fc6"].shape)
    diff[0, 3, 5, 5] = np.inf
    net.blobs["fc6"].diff[...] = diff
    net.backward()
    gradient = net.params["fc6"][0].diff
    assert not np.isfinite(gradient[3]).any() and np.isfinite(np.delete(gradient, 3, 0)).all()
