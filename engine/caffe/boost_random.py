"""Boost's random distributions over a 32-bit Mersenne Twister, in float32 as BVLC Caffe draws.

Each function takes the `RandomState` that plays boost::mt19937 and draws as many of its numbers as
Boost 1.56 and later do, in the same order. The normal and the exponential distribution are
ziggurats (Marsaglia & Tsang 2000): most draws fall into one of the layers and need one number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

F = np.float32
#: One more than the largest number of the Mersenne Twister, 2^32.
RANGE = F(2**32)
LARGEST = float(np.finfo(F).max)


def raw(rng: np.random.RandomState, n: int) -> np.ndarray:
    """Return the next n numbers of 32 bits."""
    return rng.randint(0, 2**32, n, dtype=np.uint32)


def uniform(rng: np.random.RandomState, low: float, high: float, n: int) -> np.ndarray:
    """Return n values in [low, high], float32; boost::uniform_real up to the next float."""
    start, end = F(low), np.nextafter(F(high), F(np.finfo(F).max))
    values = np.empty(0, F)
    while len(values) < n:
        drawn = raw(rng, n - len(values)).astype(F) / RANGE * (end - start) + start
        values = np.concatenate([values, drawn[drawn < end]])
    return values


def bernoulli(rng: np.random.RandomState, probability: float, n: int) -> np.ndarray:
    """Return n bools that are True with this probability."""
    if probability == 0:  # Boost draws no number then.
        return np.zeros(n, bool)
    return raw(rng, n).astype(F) <= F(probability) * RANGE


def normal(rng: np.random.RandomState, mean: float, std: float, n: int) -> np.ndarray:
    """Return n values of a normal distribution, float32."""
    parts, missing = [], n
    while missing:
        part = _normal_part(rng, missing)
        parts.append(part)
        missing -= len(part)
    values = np.concatenate(parts) if parts else np.empty(0, F)
    return values * F(std) + F(mean)


def _normal_density(x: float) -> float:
    return math.exp(-x * x / 2)


def _exponential_density(x: float) -> float:
    return math.exp(-x)


@cache
def _edges(normal: bool) -> np.ndarray:
    """Return the right ends of the layers, the base first, and 0 behind them.

    All layers have the area of the base, which holds the tail.
    """
    if normal:
        layers, end, density = 128, 3.4426198558966521214, _normal_density
        tail = math.sqrt(math.pi / 2) * math.erfc(end / math.sqrt(2))
    else:
        layers, end, density = 256, 7.69711747013104972, _exponential_density
        tail = density(end)
    area = end * density(end) + tail
    edges = [area / density(end), end]
    while len(edges) < layers:
        height = density(edges[-1]) + area / edges[-1]
        edges.append(math.sqrt(-2 * math.log(height)) if normal else -math.log(height))
    return np.array([*edges, 0.0])


def _normal_part(rng: np.random.RandomState, n: int) -> np.ndarray:
    """Return at most n values of the standard normal distribution, float32.

    The first n numbers of the generator are its candidates, apart from those that a candidate
    outside the layers needs; that candidate may need more.
    """
    edges = _edges(True)
    numbers = raw(rng, n)
    layer, sign = (numbers & 0xFF) >> 1, (numbers & 1).astype(F) * 2 - 1
    x = (numbers >> 8).astype(F) * F(2**-24) * edges.astype(F)[layer]
    keep = x < edges[layer + 1]
    position = 0

    def number() -> int:
        nonlocal position
        position += 1
        return int(numbers[position - 1] if position <= n else raw(rng, 1)[0])

    outside = np.flatnonzero(~keep)
    scalar, under = _wedges(numbers, outside, layer[outside], x[outside])
    for index, by_itself, accepted in zip(outside.tolist(), scalar.tolist(), under.tolist()):
        if index < position:
            continue  # not a candidate: the one before has used its number
        position = index + 1
        if not by_itself:
            keep[index], position = accepted, index + 2
        elif layer[index] == 0:
            x[index], keep[index] = _normal_tail(number), True
        else:
            keep[index] = _under(True, int(layer[index]), x[index], number)
        keep[index + 1 : position] = False
    return (x * sign)[keep]


def _wedges(
    numbers: np.ndarray, outside: np.ndarray, layer: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Decide, as `_under`, on candidates outside the layers whose next number is there.

    Return for each candidate whether it has to be decided by itself, and whether it is accepted.
    """
    edges = _edges(True)
    has_next = outside + 1 < len(numbers)
    share = numbers[np.minimum(outside + 1, len(numbers) - 1)].astype(F) / RANGE
    heights = np.exp(-edges * edges / 2)
    low, high = heights[layer], heights[layer + 1]
    density = np.exp(-(x.astype(np.float64) ** 2) / 2).astype(F)
    under = low.astype(F) + share * (high - low).astype(F) < density
    return (layer == 0) | ~has_next | (share >= 1), under


def _normal_tail(number: Callable[[], int]) -> np.float32:
    """Return a value beyond the base layer, from two exponential ones."""
    start = F(_edges(True)[1])
    while True:
        x, y = _exponential(number) / start, _exponential(number)
        if 2 * y > x * x:
            return x + start


def _exponential(number: Callable[[], int]) -> np.float32:
    """Return a value of the exponential distribution with the mean 1."""
    edges, shift = _edges(False), F(0)
    while True:
        bits = number()
        layer = bits & 0xFF
        x = F(bits >> 8) * F(2**-24) * F(edges[layer])
        if x < F(edges[layer + 1]):
            return shift + x
        if layer == 0:
            shift += F(edges[1])
        elif _under(False, layer, x, number):
            return shift + x


def _under(normal: bool, layer: int, x: np.float32, number: Callable[[], int]) -> bool:
    """Return whether a random height between the ends of a layer is under the density at x."""
    density = _normal_density if normal else _exponential_density
    edges = _edges(normal)
    while (share := F(number()) / RANGE) >= 1:
        pass
    low, high = density(edges[layer]), density(edges[layer + 1])
    return bool(F(low) + share * F(high - low) < F(density(float(x))))
