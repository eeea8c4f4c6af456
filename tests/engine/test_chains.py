"""Convolutions in a row run in one call of the C library, with the results of single calls."""

from __future__ import annotations

import pytest
import torch
from caffe.ops import chains, jobs, pointwise, prepared

from tests.engine.test_native import native as native
from tests.engine.test_winograd import torch_threads


@pytest.fixture(autouse=True)
def with_library(native, monkeypatch):
    monkeypatch.setattr(jobs.library, "load", lambda: native)


GEOMETRY = prepared.Geometry((1, 1), (1, 1), (1, 1), 1)


def bottleneck() -> list[chains.Link]:
    """1 x 1, 3 x 3 and 1 x 1 convolutions; the last adds the first one's bottom, value 0."""
    torch.manual_seed(3)
    first, second, third = (
        torch.randn(32, 64, 1, 1),
        torch.randn(32, 32, 3, 3),
        torch.randn(64, 32, 1, 1),
    )
    middle = prepared.convolution((1, 32, 20, 24), second, torch.randn(32), GEOMETRY, 0.0)
    return [
        chains.Link(pointwise.Convolution((1, 64, 20, 24), first, None, (1, 1), 0.0), [0], [1], []),
        chains.Link(middle, [1], [2], [1]),
        chains.Link(
            pointwise.Convolution((1, 32, 20, 24), third, None, (1, 1), 0.1), [2, 0], [3], []
        ),
    ]


def run(calls: list, x: torch.Tensor) -> list:
    values = [x, None, None, None]
    for call in calls:
        call.run(values)
    return values


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_chain_has_the_bits_of_its_links(threads):
    links, x = bottleneck(), torch.randn(1, 64, 20, 24)
    chain = chains.joined(links)
    assert [type(call) for call in chain] == [chains.Chain]
    for bottom in (x, 2 * x):
        with torch_threads(threads):
            values = run(chain, bottom)
        expected = run(links, bottom)
        assert values[1] is None and expected[1] is None
        assert all(torch.equal(values[i], expected[i]) for i in (2, 3))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_chain_leaves_results_that_are_not_finite_to_its_links(value):
    links, x = bottleneck(), torch.randn(1, 64, 20, 24)
    x[0, 5, 3, 4] = value
    values, expected = run(chains.joined(links), x), run(links, x)
    for i in (2, 3):
        assert torch.equal(values[i].nan_to_num(0.5), expected[i].nan_to_num(0.5))
    assert values[1] is None and not values[3].isfinite().all() and values[3].isfinite().any()


def test_other_calls_end_a_chain():
    links = bottleneck()
    double = chains.Link(lambda x: 2 * x, [3], [4], [])
    calls = chains.joined([*links[:2], double, links[2], double])
    assert [type(c) for c in calls] == [chains.Chain, chains.Link, chains.Link, chains.Link]
    assert calls[1:] == [double, links[2], double]
