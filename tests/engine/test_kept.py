"""Winograd's algorithm with kept kernel coordinates gives the plain convolution's results."""

from __future__ import annotations

import pytest
import torch
from caffe.ops import kept, prepared, winograd


@pytest.fixture(autouse=True)
def kept_at_once(monkeypatch):
    """Keep coordinates from the first call on."""
    monkeypatch.setattr(kept, "BEFORE", 0)


def draw(shape, outputs, seed=1):
    """Return a map, 3 x 3 kernels and biases."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator).contiguous(memory_format=torch.channels_last)
    w = torch.randn(outputs, shape[1], 3, 3, generator=generator)
    return x, w, torch.randn(outputs, generator=generator)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("shape", "outputs", "pad"),
    [((1, 64, 28, 30), 32, (1, 1)), ((2, 16, 29, 31), 24, (0, 2)), ((3, 8, 9, 10), 8, (2, 1))],
)
def test_the_products_of_kept_coordinates_are_those_of_the_weights(shape, outputs, pad, bias):
    x, w, b = draw(shape, outputs)
    b = b if bias else None
    call = kept.convolution(shape, w, b, pad)
    assert kept.used() > 0
    terms = None if b is None else b.double()
    for values in (x, -2 * x):
        exact = torch.conv2d(values.double(), w.double(), terms, padding=pad)
        error = (call(values) - exact).abs().max() / exact.abs().max()
        assert error < 4e-6
    del call
    assert kept.used() == 0


def test_coordinates_beyond_the_budget_are_not_kept(monkeypatch):
    x, w, b = draw((1, 64, 28, 28), 64)
    each = 64 * 64 * kept.KERNEL_BYTES
    monkeypatch.setenv(kept.LIMIT, str(1.5 * each / 2**20))
    calls = [kept.convolution(x.shape, w, b, (1, 1)) for _ in range(2)]
    assert kept.used() == each
    torch.testing.assert_close(calls[0](x), calls[1](x), rtol=0, atol=1e-3)
    calls.clear()
    assert kept.used() == 0


def test_maps_of_one_row_of_tiles_have_no_kept_coordinates():
    x, w, b = draw((1, 64, 4, 40), 64)
    call = kept.convolution(x.shape, w, b, (1, 1))
    assert kept.used() == 0
    exact = torch.conv2d(x.double(), w.double(), b.double(), padding=1)
    assert (call(x) - exact).abs().max() < 4e-6 * exact.abs().max()


def test_the_budget_is_a_share_of_the_memory_unless_the_environment_sets_it(monkeypatch):
    monkeypatch.delenv(kept.LIMIT, raising=False)
    monkeypatch.setattr(kept.heap, "machine_memory", lambda: 1 << 30)
    assert kept.budget() == min(1 << 24, kept.MOST)
    monkeypatch.setattr(kept.heap, "machine_memory", lambda: 2**63 - 1)
    assert 0 < kept.budget() <= kept.MOST
    monkeypatch.setenv(kept.LIMIT, "0")
    assert kept.budget() == 0


def test_a_kept_convolution_of_a_small_map_pays_where_one_with_coordinates_anew_does_not():
    shape, weights = (1, 512, 14, 14), (512, 512, 3, 3)
    assert winograd.pays_for(shape, weights, (1, 1), kept=True)
    assert not winograd.pays_for(shape, weights, (1, 1))


def test_a_prepared_convolution_keeps_coordinates_while_it_lives(monkeypatch):
    monkeypatch.setenv(kept.LIMIT, "64")
    x, w, b = draw((1, 128, 56, 56), 128)
    geometry = prepared.Geometry((1, 1), (1, 1), (1, 1), 1)
    assert prepared.choose_algorithm(x.shape, w.shape, geometry) == "winograd"
    call = prepared.convolution(x.shape, w, b, geometry, slope=0.0)
    assert kept.used() == 128 * 128 * kept.KERNEL_BYTES
    exact = torch.relu(torch.conv2d(x.double(), w.double(), b.double(), padding=1))
    assert (call(x) - exact).abs().max() < 4e-6 * exact.abs().max()
    del call
    assert kept.used() == 0


def test_the_first_calls_keep_no_coordinates_and_give_the_same_results(monkeypatch):
    monkeypatch.setattr(kept, "BEFORE", 2)
    built, products = [], kept.Products
    monkeypatch.setattr(kept, "Products", lambda *args: built.append(1) or products(*args))
    x, w, b = draw((1, 16, 28, 30), 32)
    call = kept.convolution(x.shape, w, b, (1, 1))
    exact = torch.conv2d(x.double(), w.double(), b.double(), padding=1)
    for count in (0, 0, 1, 1):
        assert (call(x) - exact).abs().max() < 4e-6 * exact.abs().max()
        assert len(built) == count
