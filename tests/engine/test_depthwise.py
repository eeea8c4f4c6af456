"""The C library's convolutions of images and single channels give the plain ones' results."""

from __future__ import annotations

import pytest
import torch
from caffe.ops import depthwise, image, jobs, prepared

from tests.engine.test_native import native as native
from tests.engine.test_winograd import apart, torch_threads


@pytest.fixture(autouse=True)
def with_library(native, monkeypatch):
    monkeypatch.setattr(jobs.library, "load", lambda: native)


#: Images, channels, outputs (None: depthwise), height, width, kernel, stride, padding.
SHAPES = {
    "depthwise, one column": (1, 24, None, 9, 1, 3, 1, 1),
    "depthwise, narrow": (2, 29, None, 7, 3, 3, 1, 1),
    "depthwise, more channels than a block": (1, 300, None, 7, 7, 3, 1, 1),
    "depthwise, stride": (2, 48, None, 13, 14, 3, 2, 1),
    "depthwise, without padding": (1, 16, None, 12, 9, 3, 2, 0),
    "depthwise, kernel of five": (1, 40, None, 11, 17, 5, 1, 2),
    "depthwise, kernel of five, stride": (1, 40, None, 14, 15, 5, 2, 2),
    "image": (2, 3, 32, 17, 31, 3, 2, 1),
    "gray image": (1, 1, 20, 30, 14, 5, 1, 0),
    "image, few outputs": (1, 3, 8, 20, 26, 3, 2, 1),
    "image, large kernel": (1, 4, 33, 40, 45, 11, 4, 0),
    "image, window beyond": (1, 3, 16, 2, 2, 3, 10, 4),
}


def convolution_of(case: str, b: torch.Tensor | None, slope: float | None):
    """Return the map, the exact result without a sum and a ReLU, and the library's convolution."""
    n, channels, outputs, high, wide, kernel, stride, pad = SHAPES[case]
    x, groups = torch.randn(n, channels, high, wide), 1 if outputs else channels
    w = torch.randn(outputs or channels, channels // groups, kernel, kernel)
    exact = [None if t is None else t.double() for t in (x, w, b)]
    y = torch.nn.functional.conv2d(*exact, stride=stride, padding=pad, groups=groups)
    kind = image.Convolution if outputs else depthwise.Convolution
    return x, y, kind(x.shape, w, b, (stride, stride), (pad, pad), slope)


@pytest.mark.parametrize("slope", [None, 0.0, 0.25])
@pytest.mark.parametrize("adds", [False, True], ids=["alone", "sum"])
@pytest.mark.parametrize("case", SHAPES)
def test_the_output_is_that_of_the_exact_convolution(case, adds, slope):
    torch.manual_seed(2)
    has_bias = slope != 0.25 or case == "image, window beyond"
    b = torch.randn(SHAPES[case][2] or SHAPES[case][1]) if has_bias else None
    x, expected, convolve = convolution_of(case, b, slope)
    other = torch.randn(expected.shape) if adds else None
    expected = expected if other is None else expected + other
    expected = expected if slope is None else torch.where(expected > 0, expected, slope * expected)
    y = convolve.compute(x, other)
    assert y.shape == expected.shape and apart(y, expected) < 2e-6
    with torch_threads(3):
        assert torch.equal(convolve.compute(x, other), y)


@pytest.mark.parametrize("case", ["depthwise, narrow", "image"])
@pytest.mark.parametrize("slope", [None, 0.0])
def test_nan_stays_nan_and_reaches_the_windows_that_have_it(case, slope):
    x, _, convolve = convolution_of(case, None, slope)
    x[0, 0, 3, 1] = torch.nan
    is_nan = convolve.compute(x, None).isnan()
    window = torch.ones(1, 1, *[convolve.vertical()[1]] * 2)
    stride, _, pad = convolve.vertical()
    holes = x[:, :1].isnan().float()
    reached = torch.nn.functional.conv2d(holes, window, stride=stride, padding=pad)
    assert reached.any() and torch.equal(is_nan[:, 0], reached[:, 0] > 0)


GEOMETRY = prepared.Geometry((1, 1), (1, 1), (1, 1), 96)


@pytest.mark.parametrize(
    ("shape", "weights", "changes", "expected"),
    [
        ((1, 96, 56, 56), (96, 1, 3, 3), {}, "depthwise"),
        ((1, 96, 56, 56), (96, 1, 5, 5), {"stride": (2, 2), "pad": (2, 2)}, "depthwise"),
        ((1, 96, 56, 56), (96, 1, 3, 3), {"stride": (3, 3)}, "onednn"),
        ((1, 96, 56, 56), (96, 1, 3, 3), {"dilation": (2, 2)}, "onednn"),
        ((1, 96, 56, 56), (96, 1, 7, 7), {}, "onednn"),
        ((1, 96, 56, 56), (192, 1, 3, 3), {}, "onednn"),
        ((1, 96, 160, 160), (96, 1, 3, 3), {}, "onednn"),
        ((1, 3, 224, 224), (32, 3, 3, 3), {"group": 1, "stride": (2, 2)}, "image"),
        ((1, 3, 40, 40), (32, 3, 3, 3), {"group": 1}, "image"),
        ((1, 3, 224, 224), (64, 3, 3, 3), {"group": 1}, "onednn"),
        ((1, 3, 224, 224), (8, 3, 3, 3), {"group": 1, "stride": (2, 2)}, "onednn"),
    ],
)
def test_the_library_computes_the_convolutions_that_it_computes_fastest(
    shape, weights, changes, expected
):
    geometry = GEOMETRY._replace(**changes)
    assert prepared.choose_algorithm(shape, weights, geometry) == expected
    if expected in ("depthwise", "image"):
        torch.manual_seed(0)
        x, w, b = torch.randn(shape), torch.randn(weights), torch.randn(weights[0])
        y = prepared.convolution(shape, w, b, geometry, 0.0)(x)
        settings = geometry.stride, geometry.pad, geometry.dilation, geometry.group
        plain = torch.nn.functional.conv2d(x, w, b, *settings).relu()
        assert apart(y, plain.double()) < 2e-6


@pytest.mark.parametrize("adds", [False, True], ids=["alone", "sum"])
@pytest.mark.parametrize("case", ["depthwise, narrow", "image", "image, few outputs"])
def test_a_relu_gives_zero_for_infinite_negative_values(case, adds):
    x, _, convolve = convolution_of(case, torch.full([SHAPES[case][2] or 29], -torch.inf), 0.0)
    other = torch.zeros(convolve.y_shape) if adds else None
    assert not convolve.compute(x, other).any()
