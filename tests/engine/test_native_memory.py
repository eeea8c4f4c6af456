"""The convolutions of the C library touch no memory beyond their arrays."""

from __future__ import annotations

import ctypes
import math
import mmap

import pytest
import torch
from caffe.ops import fused_winograd, inner, jobs, lrn, pointwise, stem

from tests.engine.test_native import native as native

PAGE = mmap.PAGESIZE
NO_ACCESS = 0  # PROT_NONE


class Fence:
    """Memory between two pages that nobody may touch. It ends at the second one."""

    def __init__(self) -> None:
        self._maps: list[mmap.mmap] = []
        self._protect = ctypes.CDLL(None).mprotect
        self._protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

    def empty(self, *shape, dtype=torch.float32, memory_format=torch.contiguous_format):
        """As torch.empty; the memory has NaN."""
        shape = shape[0] if isinstance(shape[0], (tuple, torch.Size)) else shape
        count = math.prod(shape)
        used = dtype.itemsize * count
        size = -(-used // PAGE) * PAGE
        area = mmap.mmap(-1, size + 2 * PAGE)
        self._maps.append(area)
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        for page in (start, start + PAGE + size):
            assert self._protect(page, PAGE, NO_ACCESS) == 0
        values = torch.frombuffer(area, dtype=dtype, offset=PAGE + size - used, count=count)
        values.fill_(math.nan)
        if memory_format == torch.channels_last:
            n, c, h, w = shape
            return values.view(n, h, w, c).permute(0, 3, 1, 2)
        return values.view(shape)

    def copy(self, x):
        """Return a tensor's values in such memory, maps with channels last."""
        last = x.dim() == 4 and x.shape[2:] not in ((1, 1), (3, 3))
        layout = torch.channels_last if last else torch.contiguous_format
        return self.empty(x.shape, dtype=x.dtype, memory_format=layout).copy_(x)


@pytest.fixture
def fence(monkeypatch, native):
    for module in (fused_winograd, jobs, pointwise):
        monkeypatch.setattr(module.library, "load", lambda: native)
    fence = Fence()
    monkeypatch.setattr(torch, "empty", fence.empty)
    # The threads' scratch memory is new, so that it lies between such pages, too.
    monkeypatch.setattr(jobs, "team", jobs.Team())
    return fence


@pytest.mark.parametrize("groups", [2, 5])
def test_a_3_x_3_convolution_of_groups_stays_in_its_arrays(fence, groups):
    torch.manual_seed(1)
    x, w = torch.randn(1, 16 * groups, 9, 11), torch.randn(32 * groups, 16, 3, 3)
    x[:, :, :6, :6] = 0
    expected = torch.conv2d(x, w, padding=1, groups=groups)
    convolve = fused_winograd.Convolution(x.shape, fence.copy(w), None, (1, 1), exact=True)
    y = convolve(fence.copy(x))
    assert (y - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("shape", [(1, 16, 4, 4), (2, 32, 9, 11), (1, 48, 23, 6), (1, 512, 5, 7)])
@pytest.mark.parametrize("pad", [(0, 0), (1, 2)])
@pytest.mark.parametrize("outputs", [16, 80])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_3_x_3_convolution_stays_in_its_arrays(fence, shape, pad, outputs, dtype):
    torch.manual_seed(1)
    x, w, b = torch.randn(shape), torch.randn(outputs, shape[1], 3, 3), torch.randn(outputs)
    x, w = x.to(dtype), w.to(dtype)
    expected = torch.conv2d(x.float(), w.float(), b, padding=pad)
    other = torch.randn(expected.shape).to(dtype)
    x, w, b, other = (fence.copy(t) for t in (x, w, b, other))
    y = fused_winograd.Convolution(shape, w, b, pad, 0.0, dtype, True)(x, other)
    expected, error = (
        torch.relu(expected + other).to(dtype),
        1e-3 if dtype == torch.float32 else 1e-2,
    )
    torch.testing.assert_close(y, expected, atol=error, rtol=error)


@pytest.mark.parametrize("shape", [(1, 3, 2, 2), (2, 33, 9, 11), (1, 513, 5, 7)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("outputs", [16, 80])
def test_a_1_x_1_convolution_stays_in_its_arrays(fence, shape, stride, outputs):
    torch.manual_seed(1)
    x, w, b = torch.randn(shape), torch.randn(outputs, shape[1], 1, 1), torch.randn(outputs)
    expected = torch.conv2d(x, w, b, stride=stride)
    other = torch.randn(expected.shape)
    x, b, other = (fence.copy(t) for t in (x, b, other))
    y = pointwise.Convolution(shape, w, b, (stride, stride), 0.0)(x, other)
    torch.testing.assert_close(y, torch.relu(expected + other), atol=1e-3, rtol=1e-3)


def test_a_local_response_normalization_stays_in_its_arrays(fence, monkeypatch):
    last = {"memory_format": torch.channels_last}
    monkeypatch.setattr(torch, "empty_strided", lambda shape, _: fence.empty(shape, **last))
    x, norm = torch.randn(1, 40, 3, 5), lrn.Normalization(5, 0.1, 0.75, 1.0)
    torch.testing.assert_close(norm(fence.copy(x)), norm(x))


@pytest.mark.parametrize("shape", [(2, 3, 17, 26), (1, 1, 30, 9)])
@pytest.mark.parametrize("pad", [(0, 0), (3, 6)])
def test_a_7_x_7_convolution_of_images_stays_in_its_arrays(fence, shape, pad):
    torch.manual_seed(1)
    x, w, b = torch.randn(shape), torch.randn(32, shape[1], 7, 7), torch.randn(32)
    expected = torch.conv2d(x, w, b, stride=2, padding=pad)
    convolve = stem.Convolution(x.shape, w, fence.copy(b), pad)
    y = convolve(fence.empty(x.shape).copy_(x))
    assert (y - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("inputs", [1, 33, 130])
@pytest.mark.parametrize("together", [False, True])
def test_a_product_with_a_row_stays_in_its_arrays(fence, inputs, together, monkeypatch):
    monkeypatch.setattr(inner.large_pages, "LIMIT", 1 if together else 1 << 24)
    x, w, b = (fence.copy(torch.randn(*shape)) for shape in ((1, inputs), (13, inputs), (13,)))
    assert torch.allclose(inner.Product(x.shape, w, b)(x), x @ w.t() + b, atol=1e-4)
