"""Convolutions on bands of rows have the bits of the same convolutions one after the other."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from caffe.ops import bands, chains, depthwise, image, jobs, pointwise

from tests.engine.test_native import native as native
from tests.engine.test_winograd import torch_threads


@pytest.fixture(autouse=True)
def with_library(native, monkeypatch):
    monkeypatch.setattr(jobs.library, "load", lambda: native)


def convolutions(shape: tuple[int, ...], kinds: str) -> list[jobs.Convolution]:
    """Return successive convolutions: of an image (i), 1 x 1 (p), depthwise (d; with stride: s)."""
    result: list[jobs.Convolution] = []
    for kind in kinds:
        channels = shape[1]
        if kind == "p":
            outputs = random.choice((8, 20, 48))
            w, b = torch.randn(outputs, channels, 1, 1), torch.randn(outputs)
            call: jobs.Convolution = pointwise.Convolution(shape, w, b, (1, 1), 0.1)
        elif kind == "i":
            w = torch.randn(16, channels, 3, 3)
            call = image.Convolution(shape, w, None, (2, 2), (1, 1), 0.0)
        else:
            kernel, stride = random.choice((3, 5)), 2 if kind == "s" else 1
            pad = random.choice((0, kernel // 2))
            w, b = torch.randn(channels, 1, kernel, kernel), torch.randn(channels)
            call = depthwise.Convolution(shape, w, b, (stride, stride), (pad, pad), None)
        result.append(call)
        shape = call.y_shape
    return result


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("values", [1, 1 << 13, 1 << 17])
@pytest.mark.parametrize("kinds", ["pd", "pdp", "dpspd", "ppds", "idpsp"])
def test_a_band_has_the_bits_of_its_convolutions(kinds, values, threads, monkeypatch):
    monkeypatch.setattr(bands, "VALUES", values)
    random.seed(threads)
    torch.manual_seed(threads)
    shape = 1, 3 if kinds[0] == "i" else 24, 71, 33
    calls = convolutions(shape, kinds)
    x, other = torch.randn(shape), torch.randn(calls[-1].y_shape)
    expected = x
    for call in calls[:-1]:
        expected = call(expected)
    expected = calls[-1](expected, other)
    with torch_threads(threads):
        band = bands.Band(calls)
        assert torch.equal(band(x, other), expected)
        assert torch.equal(band(x, other), expected)


def links_of(calls: list[jobs.Convolution], sums: dict[int, int]) -> list[chains.Link]:
    """Return links, each of which reads the value before and drops it unless a sum reads it later.

    sums: by the place of the call that adds a value, the number of the value.
    """
    last = {**{i: i for i in range(len(calls))}, **{value: i for i, value in sums.items()}}
    return [
        chains.Link(
            call,
            [i, *([sums[i]] if i in sums else [])],
            [i + 1],
            [value for value, reader in last.items() if reader == i and value],
        )
        for i, call in enumerate(calls)
    ]


def check_joined(links: list[chains.Link], x: torch.Tensor) -> None:
    """Compare the last value of joined links with that of the same links one by one."""
    values = [x, *[None] * len(links)]
    expected = list(values)
    for link in links:
        link.run(expected)
    for call in chains.joined(links):
        call.run(values)
    assert torch.equal(values[-1], expected[-1])


def test_rows_of_links_become_bands_up_to_a_sum_and_a_value_that_is_read_twice(monkeypatch):
    monkeypatch.setattr(bands, "LARGE", 0)
    shape = 1, 16, 60, 20
    w, b = torch.randn(16, 16, 1, 1), torch.randn(16)
    calls = [pointwise.Convolution(shape, w, b, (1, 1)) for _ in range(9)]
    links = links_of(calls, {5: 3})
    banded, _ = chains.banded(links, calls)
    numbers = [(list(link.inputs), list(link.outputs)) for link in banded]
    assert numbers == [([0], [3]), ([3, 3], [6]), ([6], [9])]
    check_joined(links, torch.randn(shape))


def test_a_sum_of_a_convolution_and_what_the_convolution_reads_begins_a_band(monkeypatch):
    monkeypatch.setattr(bands, "LARGE", 0)
    shape = 1, 16, 60, 20
    calls = [pointwise.Convolution(shape, torch.randn(16, 16, 1, 1), None, (1, 1))] * 4
    links = links_of(calls, {1: 1})
    check_joined(links, torch.randn(shape))


def test_small_maps_and_short_ones_are_no_band():
    for shape in [(1, 16, 40, 40), (1, 64, 20, 4000)]:
        w = torch.randn(shape[1], shape[1], 1, 1)
        calls = [pointwise.Convolution(shape, w, None, (1, 1)) for _ in range(2)]
        assert chains.banded(links_of(calls, {}), calls) == (links_of(calls, {}), calls)


def test_places_are_free_again_after_the_last_reader():
    sizes = [100, 300, 50, 100, 300]
    inputs = [[0], [1], [2, 1], [3], [4]]
    unused = [[], [], [1, 2], [3], []]
    links = [chains.Link(print, i, [k], u) for k, (i, u) in enumerate(zip(inputs, unused), 1)]
    places = chains.places(links, sizes)
    assert set(places) == {1, 2, 3}
    lives = {1: (0, 2), 2: (1, 2), 3: (2, 3)}
    for a, b in itertools.combinations(places, 2):
        together = lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]
        apart = places[a].end <= places[b].start or places[b].end <= places[a].start
        assert apart or not together
    assert all(place.start % 64 == 0 for place in places.values())
