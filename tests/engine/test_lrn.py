"""Normalization across channels agrees with the formula in float64."""

from __future__ import annotations

import pytest
import torch
from caffe.ops import lrn

from tests.engine.test_native import native as native

SHAPES = [(2, 7, 5, 4), (1, 1, 3, 3), (3, 4, 1, 1), (2, 16, 1, 9), (1, 64, 30, 20)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def exact(x, n, a, beta, k):
    """The formula, with a sum over all pairs of channels."""
    channels = torch.arange(x.shape[1])
    near = ((channels[:, None] - channels).abs() <= n // 2).to(x.dtype)
    return x / (k + a * torch.einsum("ncyx,cd->ndyx", x * x, near)) ** beta


@pytest.mark.parametrize("way", ["a position at a time", "at once", "C library"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=["planes", "channels last"])
@pytest.mark.parametrize(
    "constants", [(5, 0.1, 0.75, 1.0), (1, 0.2, 0.75, 1.0), (3, 2.0, 0.6, 0.5), (9, 0.3, 0.75, 2.0)]
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_output_and_gradient_are_those_of_the_formula(
    shape, constants, layout, way, monkeypatch, native
):
    monkeypatch.setattr(lrn, "STRETCH", 1 if way == "a position at a time" else 1 << 20)
    monkeypatch.setattr(lrn.library, "load", lambda: native if way == "C library" else None)
    torch.manual_seed(1)
    x, diff = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
    x.requires_grad_()
    expected = exact(x, *constants)
    (gradient,) = torch.autograd.grad(expected, x, diff)
    ours = x.detach().float().contiguous(memory_format=layout).requires_grad_()
    y = lrn.Normalization(*constants)(ours)
    assert y.stride() == ours.stride()
    torch.testing.assert_close(y.double(), expected, rtol=2e-6, atol=1e-6)
    # The layer above chooses the layout of the gradient.
    for diff_layout in LAYOUTS:
        (our_gradient,) = torch.autograd.grad(
            y, ours, diff.float().contiguous(memory_format=diff_layout), retain_graph=True
        )
        torch.testing.assert_close(our_gradient.double(), gradient, rtol=1e-5, atol=1e-5)


def test_a_part_of_a_map_has_the_values_of_the_entire_map():
    x = torch.randn(1, 8, 12, 12).contiguous(memory_format=torch.channels_last)
    part, norm = x[:, :, 2:9, 3:11], lrn.Normalization(5, 0.2, 0.75, 1.0)
    expected = norm(x)[:, :, 2:9, 3:11]
    assert torch.equal(norm(part), expected)


def test_the_jobs_of_a_shape_are_listed_once(monkeypatch, native):
    tables, cuts = [], lrn.jobs.cuts
    monkeypatch.setattr(lrn.library, "load", lambda: native)
    monkeypatch.setattr(lrn.jobs, "cuts", lambda *counts: tables.append(counts) or cuts(*counts))
    norm = lrn.Normalization(5, 0.2, 0.75, 1.0)
    for height in (4, 4, 6, 4, 6):
        x = torch.randn(1, 8, height, 5).contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(norm(x), exact(x, 5, 0.2, 0.75, 1.0), rtol=2e-6, atol=1e-6)
    assert len(tables) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e19])
def test_the_c_library_treats_special_values_as_the_formula(monkeypatch, native, value):
    """The square of 3e19 is infinite, and so is the divisor."""
    x = torch.ones(1, 20, 2, 3).contiguous(memory_format=torch.channels_last)
    x[0, 7, 1, 2] = value
    ways = []
    for library in (native, None):
        monkeypatch.setattr(lrn.library, "load", lambda library=library: library)
        ways.append(lrn.Normalization(5, 1e-4, 0.75, 1.0)(x).nan_to_num(-1))
    torch.testing.assert_close(*ways)
    assert (ways[0] <= 0).any()
