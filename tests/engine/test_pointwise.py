"""1 x 1 convolutions by the C library give the plain convolution's results."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from caffe.native import instructions, library
from caffe.native.records import scratch_size, table
from caffe.ops import (
    bottom_gradient,
    fused_winograd,
    jobs,
    pointwise,
    pooling,
    prepared,
    stem,
    weight_gradient,
)
from torch.nn.grad import conv2d_input, conv2d_weight

from tests.engine.native_library import packing_module
from tests.engine.test_native import native as native
from tests.engine.test_winograd import apart, torch_threads, within_a_rounding


@pytest.fixture(autouse=True)
def with_library(native, monkeypatch):
    monkeypatch.setattr(jobs.library, "load", lambda: native)


SHAPES = {
    "one position": (1, 24, 16, 1, 1, 1),
    "few rows": (1, 7, 48, 3, 5, 1),
    "more outputs than positions": (2, 40, 320, 4, 6, 1),
    "few positions": (1, 300, 96, 7, 7, 1),
    "many channels": (1, 700, 64, 9, 7, 1),
    "stride": (2, 33, 80, 17, 14, 2),
    "outputs that fill no vector": (2, 70, 21, 9, 8, 1),
    "half a vector": (1, 19, 8, 6, 13, 1),
    "one output": (1, 300, 1, 5, 5, 2),
    "stride of three": (1, 600, 32, 31, 23, 3),
}


@pytest.mark.parametrize("slope", [None, 0.0, 0.25])
@pytest.mark.parametrize("adds", [False, True], ids=["alone", "sum"])
@pytest.mark.parametrize("case", SHAPES)
def test_the_output_is_that_of_the_exact_convolution(case, adds, slope):
    n, channels, outputs, high, wide, stride = SHAPES[case]
    torch.manual_seed(2)
    x, w = torch.randn(n, channels, high, wide), torch.randn(outputs, channels, 1, 1)
    b = torch.randn(outputs) if slope != 0.25 else None
    exact = [None if t is None else t.double() for t in (x, w, b)]
    expected = torch.nn.functional.conv2d(*exact, stride=stride)
    other = torch.randn(expected.shape) if adds else None
    expected = expected if other is None else expected + other
    expected = expected if slope is None else torch.where(expected > 0, expected, slope * expected)
    convolve = pointwise.Convolution(x.shape, w, b, (stride, stride), slope)
    y = convolve(x, other)
    assert y.shape == expected.shape and apart(y, expected) < 2e-6
    with torch_threads(3):
        assert torch.equal(convolve(x, other), y)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_special_values_reach_the_outputs_of_their_position_alone(value):
    x, w = torch.ones(1, 32, 5, 6), torch.ones(16, 32, 1, 1)
    x[0, 3, 2, 4] = value
    y = pointwise.Convolution(x.shape, w, None, (1, 1))(x)
    expected = torch.nn.functional.conv2d(x, w)
    assert torch.equal(y.nan_to_num(0, 1, -1), expected.nan_to_num(0, 1, -1))


@pytest.mark.parametrize(
    ("shape", "weights", "stride", "pad", "group", "expected"),
    [
        ((1, 64, 56, 56), (256, 64, 1, 1), 1, 0, 1, "pointwise"),
        ((1, 256, 56, 56), (512, 256, 1, 1), 2, 0, 1, "pointwise"),
        ((1, 64, 56, 56), (21, 64, 1, 1), 1, 0, 1, "pointwise"),
        ((1, 64, 56, 56), (256, 64, 1, 1), 1, 1, 1, "onednn"),
        ((1, 64, 56, 56), (256, 32, 1, 1), 1, 0, 2, "onednn"),
        ((1, 8, 20, 20), (16, 8, 1, 1), 1, 0, 1, "planes"),
    ],
)
def test_the_library_computes_1_x_1_convolutions_of_many_multiplications(
    shape, weights, stride, pad, group, expected
):
    geometry = prepared.Geometry((stride, stride), (pad, pad), (1, 1), group)
    assert prepared.choose_algorithm(shape, weights, geometry) == expected


def test_a_large_map_of_planes_is_not_turned_first():
    x, w = torch.randn(1, 16, 260, 260), torch.randn(32, 16, 1, 1)
    geometry = prepared.Geometry((1, 1), (0, 0), (1, 1), 1)
    y = prepared.convolution(x.shape, w, None, geometry)(x)
    assert y.is_contiguous()
    last = prepared.convolution(x.shape, w, None, geometry)(
        x.contiguous(memory_format=torch.channels_last)
    )
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert apart(last, y.double()) < 2e-6


@pytest.mark.long
def test_processors_without_avx_512_compute_the_same(tmp_path, monkeypatch):
    path = tmp_path / "narrow.so"
    assert packing_module().compile_library(library=path, definitions=["-DWIDEST=1"]) == ""
    narrow = library.open_library(path)
    if not narrow.convolves:
        pytest.skip("this processor has no AVX2")
    monkeypatch.setattr(jobs.library, "load", lambda: narrow)
    torch.manual_seed(2)
    x, w = torch.randn(2, 160, 13, 18), torch.randn(80, 160, 3, 3)
    y = fused_winograd.Convolution(x.shape, w, None, (1, 1))(x)
    assert apart(y, torch.nn.functional.conv2d(x.double(), w.double(), padding=1)) < 1e-5
    low = x.bfloat16()
    y = fused_winograd.Convolution(x.shape, w.bfloat16(), None, (1, 1), dtype=low.dtype)(low)
    exact = torch.nn.functional.conv2d(low.double(), w.bfloat16().double(), padding=1)
    assert within_a_rounding(y, exact)
    for maps in (x, low):
        y = pooling.maxima(maps, (3, 3), (2, 2), (1, 1), (7, 9))
        assert torch.equal(y, torch.nn.functional.max_pool2d(maps, 3, 2, 1))
    large = torch.randn(32, 160, 7, 7)
    y = fused_winograd.Convolution(x.shape, large, None, (0, 0))(x)
    assert apart(y, torch.nn.functional.conv2d(x.double(), large.double())) < 1e-5
    diff = torch.randn(2, 80, 13, 18)
    gradient = weight_gradient.gradient(x, diff, w.shape, (1, 1))
    exact = conv2d_weight(x.double(), w.shape, diff.double(), padding=1)
    assert apart(gradient, exact) < 1e-5
    gradient = bottom_gradient.gradient(x.shape, diff, w, (1, 1))
    exact = conv2d_input(x.shape, w.double(), diff.double(), padding=1)
    assert apart(gradient, exact) < 1e-5
    image, kernels = torch.randn(1, 3, 31, 40), torch.randn(32, 3, 7, 7)
    y = stem.Convolution(image.shape, kernels, None, (3, 3))(image)
    exact = torch.nn.functional.conv2d(image.double(), kernels.double(), stride=2, padding=3)
    assert apart(y, exact) < 2e-6
    w = w[:, :, :1, :1].contiguous()
    y = pointwise.Convolution(x.shape, w, None, (1, 1))(x)
    assert apart(y, torch.nn.functional.conv2d(x.double(), w.double())) < 2e-6
    a, b = np.random.RandomState(0).randn(17, 45), np.random.RandomState(1).randn(45, 37)
    a, b, out = a.astype(np.float32), b.astype(np.float32), np.empty((17, 37), np.float32)
    records = instructions.product(a, b, out).encode()
    scratch = np.zeros(scratch_size(records), np.float32)
    rows = table(records)
    assert narrow.run(rows.ctypes.data, len(rows), scratch.ctypes.data) == len(rows)
    np.testing.assert_allclose(out, a.astype(np.float64) @ b, rtol=1e-4, atol=1e-4)
