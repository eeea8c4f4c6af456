"""7 x 7 convolutions of images by the C library give the plain convolution's results."""

from __future__ import annotations

import math

import pytest
import torch
from caffe.ops import chains, jobs, pooling, prepared, stem

from tests.engine.test_native import native as native
from tests.engine.test_winograd import apart, torch_threads


@pytest.fixture(autouse=True)
def with_library(native, monkeypatch):
    monkeypatch.setattr(jobs.library, "load", lambda: native)


SHAPES = {
    "one output": (1, 3, 16, 7, 7, (0, 0)),
    "color": (1, 3, 64, 45, 61, (3, 3)),
    "gray": (3, 1, 32, 40, 23, (3, 2)),
    "one row of tiles": (2, 3, 80, 8, 90, (1, 6)),
}


@pytest.mark.parametrize("slope", [None, 0.0, 0.25])
@pytest.mark.parametrize("adds", [False, True], ids=["alone", "sum"])
@pytest.mark.parametrize("case", SHAPES)
def test_the_output_is_that_of_the_exact_convolution(case, adds, slope):
    n, channels, outputs, high, wide, pad = SHAPES[case]
    torch.manual_seed(2)
    x, w = torch.randn(n, channels, high, wide), torch.randn(outputs, channels, 7, 7)
    b = torch.randn(outputs) if slope != 0.25 else None
    exact = [None if t is None else t.double() for t in (x, w, b)]
    expected = torch.nn.functional.conv2d(*exact, stride=2, padding=pad)
    other = torch.randn(expected.shape) if adds else None
    expected = expected if other is None else expected + other
    expected = expected if slope is None else torch.where(expected > 0, expected, slope * expected)
    convolve = stem.Convolution(x.shape, w, b, pad, slope)
    y = convolve(x, other)
    assert y.shape == expected.shape and apart(y, expected) < 2e-6
    with torch_threads(3):
        assert torch.equal(convolve(x, other), y)
    assert torch.equal(convolve(x.contiguous(memory_format=torch.channels_last), other), y)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_results_that_are_not_finite_are_those_of_the_plain_convolution(value):
    x, w = torch.ones(1, 3, 30, 30), torch.ones(16, 3, 7, 7)
    x[0, 1, 12, 17] = value
    assert stem.Convolution(x.shape, w, None, (3, 3)).compute(x) is None
    y = prepared.convolution(x.shape, w, None, GEOMETRY)(x)
    expected = torch.nn.functional.conv2d(x, w, stride=2, padding=3)
    assert torch.equal(y.nan_to_num(0, 1, -1), expected.nan_to_num(0, 1, -1))


GEOMETRY = prepared.Geometry((2, 2), (3, 3), (1, 1), 1)


@pytest.mark.parametrize(
    ("weights", "changes", "dtype", "expected"),
    [
        ((64, 3, 7, 7), {}, torch.float32, "stem"),
        ((64, 1, 7, 7), {}, torch.float32, "stem"),
        ((64, 3, 7, 7), {}, torch.bfloat16, "onednn"),
        ((64, 4, 7, 7), {}, torch.float32, "image"),
        ((40, 3, 7, 7), {}, torch.float32, "image"),
        ((64, 3, 5, 5), {}, torch.float32, "image"),
        ((64, 3, 7, 7), {"stride": (1, 1)}, torch.float32, "onednn"),
        ((64, 3, 7, 7), {"dilation": (2, 2)}, torch.float32, "onednn"),
    ],
)
def test_windows_of_7_x_7_with_stride_2_of_color_and_gray_images_are_stems(
    weights, changes, dtype, expected
):
    shape, geometry = (1, weights[1], 224, 224), GEOMETRY._replace(**changes)
    assert prepared.choose_algorithm(shape, weights, geometry, dtype) == expected


def test_a_chain_begins_with_an_image_and_has_the_bits_of_its_links():
    torch.manual_seed(4)
    x, w = torch.randn(1, 3, 50, 70), torch.randn(32, 3, 7, 7)
    first = prepared.convolution(x.shape, w, torch.randn(32), GEOMETRY, 0.0)
    second = pooling.Maxima((1, 32, 25, 35), (3, 3), (2, 2), (0, 0), (12, 17))
    third = prepared.convolution(
        (1, 32, 12, 17),
        torch.randn(64, 32, 3, 3),
        None,
        prepared.Geometry((1, 1), (1, 1), (1, 1), 1),
    )
    links = [chains.Link(call, [i], [i + 1], []) for i, call in enumerate((first, second, third))]
    (chain,) = chains.joined(links)
    assert isinstance(chain, chains.Chain)
    values, expected = [x, None, None, None], [x, None, None, None]
    with torch_threads(2):
        chain.run(values)
    for link in links:
        link.run(expected)
    assert all(torch.equal(a, b) for a, b in zip(values, expected))
