"""The C library computes the gradient of the bottom of convolutions."""

from __future__ import annotations

import caffe
import pytest
import torch
from caffe.layers import convolution
from caffe.ops import bottom_gradient, fused_winograd, product, winograd
from torch.nn.grad import conv2d_input, conv2d_weight

from tests.engine import nets
from tests.engine.test_native import native as native
from tests.engine.test_precision import full_again as full_again
from tests.engine.test_winograd import apart, torch_threads

#: Images, channels and outputs of a group, groups, height, width, the side of the kernels, padding.
SHAPES = {
    "one tile": (1, 16, 32, 1, 6, 6, 3, (0, 0)),
    "three images": (3, 32, 48, 1, 4, 3, 3, (1, 1)),
    "axes with different paddings": (2, 64, 48, 1, 20, 17, 3, (1, 2)),
    "two groups": (2, 48, 32, 2, 13, 9, 3, (1, 1)),
    "many outputs": (1, 16, 1040, 1, 11, 12, 3, (0, 0)),
    "4 x 4": (2, 48, 32, 1, 30, 21, 4, (1, 3)),
    "5 x 5 in two groups": (2, 16, 48, 2, 20, 19, 5, (2, 2)),
    "6 x 6": (1, 48, 32, 1, 30, 41, 6, (2, 1)),
    "7 x 7": (1, 64, 336, 1, 22, 18, 7, (0, 0)),
    "8 x 8": (3, 32, 48, 1, 9, 8, 8, (1, 4)),
}
CASES = pytest.mark.parametrize("case", SHAPES)


@pytest.fixture(autouse=True)
def library(native, monkeypatch):
    """The C library, wherever it is installed."""
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)


def arguments(case, dtype=torch.float32):
    """The shape of the bottom, the gradient of the top, the weights and the padding."""
    images, channels, outputs, groups, height, width, kernel, pad = SHAPES[case]
    torch.manual_seed(4)
    size = (n + 2 * p - kernel + 1 for n, p in zip((height, width), pad))
    y = torch.randn(images, outputs * groups, *size).to(dtype)
    w = torch.randn(outputs * groups, channels, kernel, kernel).to(dtype)
    return (images, channels * groups, height, width), y, w, pad


def exact(shape, y, w, pad):
    """The gradient of the plain convolution in float64."""
    groups = shape[1] // w.shape[1]
    return conv2d_input(shape, w.double(), y.double(), padding=pad, groups=groups)


@CASES
def test_the_gradient_is_that_of_the_exact_convolution(case):
    gradient = bottom_gradient.gradient(*arguments(case))
    assert apart(gradient, exact(*arguments(case))) < 5e-6


@CASES
def test_a_bfloat16_gradient_is_rounded_once(case):
    values = arguments(case, torch.bfloat16)
    gradient = bottom_gradient.gradient(*values)
    assert gradient.dtype == torch.bfloat16
    assert apart(gradient, exact(*values)) < 2**-8


@CASES
def test_the_gradient_is_the_change_of_the_top(case):
    """The derivative of a sum of the top's values along a direction of the bottom."""
    shape, y, w, pad = arguments(case)
    x, groups = torch.randn(shape), shape[1] // w.shape[1]
    top = torch.conv2d(x.double(), w.double(), padding=pad, groups=groups)
    gradient = bottom_gradient.gradient(shape, y, w, pad).double()
    scale = float((top.abs() * y.abs()).sum())
    assert float((top * y).sum()) == pytest.approx(float((x * gradient).sum()), abs=1e-6 * scale)


@CASES
def test_neither_threads_nor_memory_change_the_bits(case, monkeypatch):
    gradients = []
    for threads in (1, 2, 7):
        with torch_threads(threads):
            gradients.append(bottom_gradient.gradient(*arguments(case)))
    monkeypatch.setattr(bottom_gradient, "SUMS", 3 * 36 * 64)
    gradients.append(bottom_gradient.gradient(*arguments(case)))
    assert all(torch.equal(gradients[0], other) for other in gradients[1:])


@CASES
def test_small_gradients_are_exact_beside_large_ones_and_zeros_stay_zeros(case):
    shape, y, w, pad = arguments(case)
    y[:, :, :2, :3] *= 1e-6
    y[:, :, 3:5] *= 1e-12
    y[:, :, 4:, 5:] = 0
    gradient, plain = bottom_gradient.gradient(shape, y, w, pad), exact(shape, y, w, pad)
    errors, sizes = (t.abs().amax(1) for t in (gradient - plain, plain))
    assert (errors <= 5e-6 * sizes).all()


def test_a_gradient_of_zeros_is_zero_unless_a_weight_is_not_finite():
    shape, y, w, pad = arguments("7 x 7")
    assert torch.equal(bottom_gradient.gradient(shape, 0 * y, w, pad), torch.zeros(shape))
    w[3, 4, 5, 6] = torch.inf
    assert bottom_gradient.gradient(shape, 0 * y, w, pad) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("case", ["7 x 7", "two groups"])
def test_a_gradient_that_is_not_finite_is_that_of_the_plain_convolution(case, value, monkeypatch):
    monkeypatch.setattr(bottom_gradient, "WEIGHTS", {1: 0, 4: 0})
    shape, y, w, pad = arguments(case)
    y[0, 5, 0, 0] = value
    assert bottom_gradient.gradient(shape, y, w, pad) is None
    x = torch.randn(shape).requires_grad_()
    winograd.convolve(x, w, None, pad).backward(y)
    plain = conv2d_input(shape, w, y, padding=pad, groups=shape[1] // w.shape[1])
    assert not torch.isfinite(plain).all()
    torch.testing.assert_close(x.grad, plain, equal_nan=True, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "weights", "pad", "expected"),
    [
        ((1, 512, 22, 22), (4096, 512, 7, 7), (0, 0), True),
        ((1, 512, 18, 18), (512, 512, 3, 3), (1, 1), True),
        ((1, 64, 260, 260), (64, 64, 3, 3), (1, 1), False),  # many tiles
        ((1, 512, 22, 22), (4096, 512, 9, 9), (0, 0), False),
        ((1, 512, 22, 22), (4096, 512, 7, 5), (0, 0), False),
        ((1, 512, 22, 22), (4090, 512, 7, 7), (0, 0), False),  # outputs that are no vectors
    ],
)
def test_it_takes_many_weights_for_few_tiles(shape, weights, pad, expected):
    assert bottom_gradient.pays(shape, weights, pad) is expected


NET = """
force_backward: true
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 64 dim: 15 dim: 13 } } }
layer { name: "fc6" type: "Convolution" bottom: "data" top: "fc6"
  convolution_param { num_output: 128 kernel_size: 7 pad: 1 weight_filler { type: "xavier" } } }
"""


@pytest.mark.parametrize(("precision", "error"), [("float32", 5e-6), ("bfloat16", 2**-6)])
def test_a_layer_with_large_weights_learns_without_patches(
    tmp_path, monkeypatch, precision, error, full_again
):
    monkeypatch.setattr(product, "LARGE", 1)
    monkeypatch.setattr(fused_winograd, "saved_time", lambda *_: 1)
    monkeypatch.setattr(convolution, "product", None)  # the product of patches
    caffe.set_precision(precision)
    net = caffe.Net(nets.write(tmp_path, NET), caffe.TRAIN)
    x, y = torch.randn(1, 64, 15, 13), torch.randn(1, 128, 11, 9)
    net.blobs["data"].data[...] = x.numpy()
    net.forward()
    net.blobs["fc6"].diff[...] = y.numpy()
    net.backward()
    w = torch.tensor(net.params["fc6"][0].data)
    assert apart(torch.tensor(net.blobs["data"].diff), exact(x.shape, y, w, (1, 1))) < error
    to_w = conv2d_weight(x.double(), w.shape, y.double(), padding=(1, 1))
    assert apart(torch.tensor(net.params["fc6"][0].diff), to_w) < error
