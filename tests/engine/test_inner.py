"""The InnerProduct of one image by the C library gives the exact product."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from caffe.ops import chains, inner, jobs, pointwise, pooling, stem

from tests.engine.test_native import native as native
from tests.engine.test_winograd import apart, torch_threads


@pytest.fixture(autouse=True)
def with_library(native, monkeypatch):
    monkeypatch.setattr(jobs.library, "load", lambda: native)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (31, 5), (1024, 40), (1500, 17)])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_the_output_is_the_exact_product(inputs, outputs, biased, together, monkeypatch):
    torch.manual_seed(5)
    monkeypatch.setattr(inner.large_pages, "LIMIT", 1 if together else 1 << 24)
    x, w = torch.randn(1, inputs, 1, 1), torch.randn(outputs, inputs)
    b = torch.randn(outputs) if biased else None
    expected = w.double() @ x.double().flatten() + (0 if b is None else b.double())
    product = inner.Product(x.shape, w, b)
    y = product(x)
    assert y.shape == (1, outputs) and apart(y, expected[None]) < 2e-6
    with torch_threads(3):
        assert torch.equal(product(x), y)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_map_is_read_plane_by_plane(layout):
    torch.manual_seed(8)
    x, w = torch.randn(1, 5, 3, 4), torch.randn(40, 60)
    y = inner.Product(x.shape, w, None)(x.contiguous(memory_format=layout))
    assert apart(y, (w.double() @ x.double().flatten())[None]) < 2e-6


def test_several_rows_and_weights_with_gaps_are_left_to_pytorch():
    assert not inner.is_usable((2, 64), torch.zeros(8, 64))
    assert inner.is_usable((1, 16, 2, 2), torch.zeros(8, 64))
    assert not inner.is_usable((1, 64), torch.zeros(64, 8).t())


def test_a_chain_ends_before_a_call_that_reads_planes_of_its_results():
    torch.manual_seed(9)
    shape = 1, 64, 6, 5
    calls = [
        pointwise.Convolution(shape, torch.randn(64, 64, 1, 1), None, (1, 1)),
        pointwise.Convolution(shape, torch.randn(64, 64, 1, 1), None, (1, 1)),
        inner.Product(shape, torch.randn(32, 64 * 30), None),
        inner.Product((1, 32), torch.randn(7, 32), None),
    ]
    links = [chains.Link(call, [i], [i + 1], [i]) for i, call in enumerate(calls)]
    rows = chains.joined(links)
    assert [type(row) for row in rows] == [chains.Chain, chains.Chain]
    values: list[Any] = [torch.randn(shape), None, None, None, None]
    expected = list(values)
    for row in rows:
        row.run(values)
    for link in links:
        link.run(expected)
    assert torch.equal(values[4], expected[4])


def test_a_chain_ends_with_means_and_a_product():
    torch.manual_seed(6)
    image = torch.randn(1, 3, 40, 40)
    means = pooling.Means((1, 32, 20, 20), (20, 20), (1, 1), (0, 0), (1, 1))
    calls = [
        stem.Convolution(image.shape, torch.randn(32, 3, 7, 7), None, (3, 3), 0.0),
        means,
        inner.Product((1, 32, 1, 1), torch.randn(9, 32), torch.randn(9)),
    ]
    links = [chains.Link(call, [i], [i + 1], [i]) for i, call in enumerate(calls)]
    (chain,) = chains.joined(links)
    values, expected = [image, None, None, None], [image, None, None, None]
    with torch_threads(2):
        chain.run(values)
    for link in links:
        link.run(expected)
    assert values[:3] == [None] * 3 and torch.equal(values[3], expected[3])


def test_a_chain_reads_an_image_as_planes_and_with_channels_last():
    torch.manual_seed(7)
    image = torch.randn(1, 3, 41, 52)
    from_planes = stem.Convolution(image.shape, torch.randn(16, 3, 7, 7), None, (0, 0))
    from_positions = chains.prepared.convolution(
        image.shape,
        torch.randn(256, 3, 1, 1),
        None,
        chains.prepared.Geometry((1, 1), (0, 0), (1, 1), 1),
    )
    links = [
        chains.Link(from_planes, [0], [1], []),
        chains.Link(from_positions, [0], [2], []),
    ]
    (chain,) = chains.joined(links)
    assert isinstance(chain, chains.Chain)
    values, expected = [image, None, None], [image, None, None]
    chain.run(values)
    for link in links:
        link.run(expected)
    assert all(torch.equal(a, b) for a, b in zip(values, expected))
