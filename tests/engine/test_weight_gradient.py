"""The C library computes the gradient of the weights of convolutions."""

from __future__ import annotations

import pytest
import torch
from caffe.ops import fused_winograd, weight_gradient, winograd
from torch.nn.grad import conv2d_weight

from tests.engine.test_native import native as native
from tests.engine.test_winograd import apart, torch_threads

#: Images, channels and outputs of a group, height, width, the side of the kernels, padding, groups.
SHAPES = {
    "one tile": (1, 16, 32, 6, 6, 3, (0, 0), 1),
    "three images": (3, 32, 48, 4, 3, 3, (1, 1), 1),
    "axes with different paddings": (2, 64, 48, 20, 17, 3, (1, 2), 1),
    "several blocks of tiles": (2, 48, 32, 70, 61, 3, (2, 1), 1),
    "many channels": (1, 1040, 16, 11, 12, 3, (0, 0), 1),
    "4 x 4": (2, 48, 32, 50, 41, 4, (1, 3), 1),
    "5 x 5": (2, 32, 112, 20, 19, 5, (2, 2), 1),
    "6 x 6": (1, 48, 32, 60, 71, 6, (2, 1), 1),
    "7 x 7": (1, 64, 160, 22, 18, 7, (0, 0), 1),
    "8 x 8": (3, 32, 48, 9, 8, 8, (1, 4), 1),
    "two groups": (2, 48, 64, 13, 14, 3, (1, 1), 2),
    "three groups of 5 x 5": (1, 16, 32, 17, 14, 5, (2, 2), 3),
}


@pytest.fixture(autouse=True)
def library(native, monkeypatch):
    """The C library, wherever it is installed."""
    monkeypatch.setattr(fused_winograd.library, "load", lambda: native)


def maps(case, dtype=torch.float32):
    """The convolution's map, the gradient of its result, the shape of the weights, the padding."""
    images, channels, outputs, height, width, kernel, pad, groups = SHAPES[case]
    torch.manual_seed(4)
    x = torch.randn(images, channels * groups, height, width).to(dtype)
    size = (n + 2 * p - kernel + 1 for n, p in zip((height, width), pad))
    y = torch.randn(images, outputs * groups, *size).to(dtype)
    return x, y, (outputs * groups, channels, kernel, kernel), pad


def exact(x, y, shape, pad):
    """The gradient of the plain convolution in float64."""
    groups = x.shape[1] // shape[1]
    return conv2d_weight(x.double(), shape, y.double(), padding=pad, groups=groups)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", SHAPES)
def test_the_gradient_is_that_of_the_exact_convolution(case, dtype):
    x, y, shape, pad = maps(case, dtype)
    gradient = weight_gradient.gradient(x, y, shape, pad)
    assert gradient.dtype == torch.float32
    assert apart(gradient, exact(x, y, shape, pad)) < 1e-5


@pytest.mark.parametrize("case", SHAPES)
def test_the_number_of_threads_does_not_change_the_bits(case):
    gradients = []
    for threads in (1, 2, 7):
        with torch_threads(threads):
            gradients.append(weight_gradient.gradient(*maps(case)))
    assert torch.equal(gradients[0], gradients[1]) and torch.equal(gradients[0], gradients[2])


@pytest.mark.parametrize("case", SHAPES)
def test_the_memory_of_a_job_does_not_change_the_gradient(monkeypatch, case):
    """A block of few tiles, and the sums of few outputs at a time."""
    x, y, shape, pad = maps(case)
    for name in ("FEW", "MANY", "COORDINATES", "SUMS"):
        monkeypatch.setattr(weight_gradient, name, 3)
    gradient = weight_gradient.gradient(x, y, shape, pad)
    assert apart(gradient, exact(x, y, shape, pad)) < 1e-5


def test_the_layout_of_the_maps_does_not_change_the_bits():
    x, y, shape, pad = maps("three images")
    last = [t.contiguous(memory_format=torch.channels_last) for t in (x, y)]
    first = weight_gradient.gradient(x, y, shape, pad)
    assert torch.equal(first, weight_gradient.gradient(*last, shape, pad))


@pytest.mark.parametrize(
    ("channels", "weights", "expected"),
    [
        (32, (64, 32, 3, 3), True),
        (64, (64, 32, 3, 3), True),  # two groups
        (64, (48, 32, 3, 3), False),  # two groups of 24 outputs
        (32, (64, 32, 5, 5), True),
        (32, (64, 32, 5, 3), False),
        (32, (64, 32, 9, 9), False),
        (24, (64, 24, 3, 3), False),  # channels that are no vectors
        (32, (20, 32, 3, 3), False),
    ],
)
def test_the_c_library_takes_square_kernels_if_channels_fill_vectors(channels, weights, expected):
    assert weight_gradient.is_usable(torch.empty(1, channels, 9, 9), weights) is expected


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_that_of_the_plain_convolution(value):
    x, y, shape, pad = maps("three images")
    y[0, 5, 0, 0] = value
    w = torch.randn(shape).requires_grad_()
    winograd.convolve(x, w, None, pad).backward(y)
    plain = conv2d_weight(x, shape, y, padding=pad)
    assert not torch.isfinite(plain).all()
    torch.testing.assert_close(w.grad, plain, equal_nan=True)
