"""The C library finds the maxima of windows that PyTorch and Caffe find."""

from __future__ import annotations

import math

import pytest
import torch
from caffe.ops import jobs, pooling

from tests.engine.nets import build
from tests.engine.test_native import native as native
from tests.engine.test_native_memory import fence as fence
from tests.engine.test_winograd import torch_threads

#: Shape of the map, kernel, stride and padding.
CASES = {
    "2 x 2": ((1, 16, 8, 10), (2, 2), (2, 2), (0, 0)),
    "3 x 3 padded": ((2, 48, 13, 7), (3, 3), (1, 1), (1, 1)),
    "3 x 3 beyond the edge": ((1, 32, 12, 14), (3, 3), (2, 2), (0, 0)),
    "uneven": ((3, 16, 9, 21), (2, 5), (3, 1), (1, 2)),
    "the entire map": ((1, 64, 6, 5), (6, 5), (1, 1), (0, 0)),
}


@pytest.fixture(autouse=True)
def c_library(monkeypatch, native):
    monkeypatch.setattr(jobs.library, "load", lambda: native)


def expected_maxima(x, kernel, stride, pad):
    return torch.nn.functional.max_pool2d(x, kernel, stride, pad, ceil_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_the_maxima_are_those_of_pytorch(case, dtype):
    shape, *window = CASES[case]
    torch.manual_seed(1)
    x = torch.randn(shape).to(dtype)
    expected = expected_maxima(x, *window)
    for threads in (1, 2, 5):
        with torch_threads(threads):
            y = pooling.maxima(x, *window, expected.shape[2:])
        assert y.dtype == dtype and torch.equal(y, expected)


@pytest.mark.parametrize("case", CASES)
def test_no_memory_beyond_the_maps_is_touched(fence, case):
    shape, *window = CASES[case]
    x = torch.randn(shape)
    expected = expected_maxima(x, *window)
    assert torch.equal(pooling.maxima(fence.copy(x), *window, expected.shape[2:]), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_nan_is_never_the_maximum(dtype):
    x = torch.full((1, 16, 4, 4), math.nan, dtype=dtype)
    x[0, :, 0, 1], x[0, 3, 2, 3], x[0, 5, 3, 0] = -7, math.inf, -math.inf
    y = pooling.maxima(x, (2, 2), (2, 2), (0, 0), (2, 2))
    least = torch.finfo(dtype).min
    assert (y[0, :, 0, 0] == -7).all() and (y[0, :, 0, 1] == least).all()
    assert y[0, 3, 1, 1] == math.inf and y[0, 5, 1, 0] == least


LAYER = """
layer {
  name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 16 dim: 40 dim: 40 } }
}
layer {
  name: "pool" type: "Pooling" bottom: "data" top: "pool"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 }
}
"""


@pytest.mark.parametrize("more", ["", "avg_include_pad: false"])
@pytest.mark.parametrize("ceil", ["CEIL", "FLOOR"])
@pytest.mark.parametrize("stride", [1, 2])
def test_means_of_a_plan_are_those_of_the_layer(tmp_path, stride, ceil, more):
    window = f"pool: AVE kernel_size: 3 stride: {stride} pad: 1 round_mode: {ceil} {more}"
    layer = build(tmp_path, LAYER.replace("pool: MAX kernel_size: 3 stride: 2", window)).layers[1]
    x = torch.randn(1, 16, 40, 40)
    call = layer.bind([x.shape])
    assert isinstance(call, pooling.Means)
    with torch_threads(3):
        assert torch.allclose(call(x), layer.compute(x), rtol=1e-6, atol=1e-7)
    x[0, 3, 5, 7] = math.nan
    assert torch.equal(call(x).isnan(), layer.compute(x).isnan())


@pytest.mark.parametrize("channels", [16, 24])
def test_layers_pool_large_maps_of_full_vectors_in_c(tmp_path, monkeypatch, channels):
    calls, maxima = [], pooling.Maxima.__call__
    monkeypatch.setattr(pooling.Maxima, "__call__", lambda *a: calls.append(a) or maxima(*a))
    layer = build(tmp_path, LAYER.replace("16", str(channels))).layers[1]
    x = torch.randn(1, channels, 40, 40)
    x[0, 3, 2:6, 2:6] = math.nan
    expected = expected_maxima(x.nan_to_num(torch.finfo(x.dtype).min), 3, 2, 0)
    for y in (layer.compute(x), layer.bind([x.shape])(x)):
        assert torch.equal(y, expected)
    assert torch.equal(layer.inside(x), expected[:, :, :-1, :-1])
    assert len(calls) == (3 if channels == 16 else 0)


def test_maps_that_record_gradients_are_left_to_pytorch():
    x = torch.randn(1, 16, 4, 4, requires_grad=True)
    assert not pooling.is_usable(16, x) and pooling.is_usable(16, x.detach())
