"""The textures of the demo set: a pattern in two colours for each of VOC's twenty classes."""

from __future__ import annotations

import math
from typing import Callable, Dict, NamedTuple, Sequence, Tuple

import numpy as np

Pattern = Callable[[np.ndarray, np.ndarray, np.random.RandomState], np.ndarray]


class Look(NamedTuple):
    """The texture of a class: pattern name, period as a fraction of the object, two HSV colours."""

    pattern: str
    period: float
    first: Tuple[float, float, float]
    second: Tuple[float, float, float]


#: Textures by class name, in the order of VOC's classes.
LOOKS: Dict[str, Look] = {
    "aeroplane": Look("stripes", 0.11, (0.56, 0.45, 0.95), (0.60, 0.75, 0.55)),
    "bicycle": Look("plain", 0.07, (0.92, 0.85, 0.90), (0.92, 0.85, 0.60)),
    "bird": Look("dots", 0.09, (0.13, 0.95, 0.95), (0.02, 0.95, 0.75)),
    "boat": Look("planks", 0.11, (0.01, 0.85, 0.70), (0.10, 0.15, 0.95)),
    "bottle": Look("posts", 0.10, (0.36, 0.85, 0.55), (0.33, 0.35, 0.95)),
    "bus": Look("checks", 0.15, (0.15, 0.95, 0.95), (0.15, 0.40, 0.18)),
    "car": Look("diagonal", 0.13, (0.99, 0.95, 0.90), (0.99, 0.60, 0.35)),
    "cat": Look("waves", 0.11, (0.08, 0.85, 0.95), (0.06, 0.70, 0.35)),
    "chair": Look("grid", 0.12, (0.76, 0.60, 0.70), (0.76, 0.15, 0.98)),
    "cow": Look("patches", 0.21, (0.10, 0.04, 0.97), (0.60, 0.10, 0.12)),
    "diningtable": Look("rings", 0.11, (0.09, 0.60, 0.65), (0.07, 0.75, 0.38)),
    "dog": Look("speckle", 0.04, (0.11, 0.40, 0.92), (0.07, 0.65, 0.45)),
    "horse": Look("zigzag", 0.13, (0.04, 0.65, 0.50), (0.12, 0.35, 0.80)),
    "motorbike": Look("checks", 0.11, (0.50, 0.95, 0.90), (0.55, 0.60, 0.20)),
    "person": Look("bricks", 0.13, (0.64, 0.80, 0.85), (0.05, 0.40, 0.98)),
    "pottedplant": Look("dots", 0.10, (0.27, 0.85, 0.80), (0.38, 0.90, 0.30)),
    "sheep": Look("rings", 0.08, (0.15, 0.08, 0.98), (0.62, 0.10, 0.62)),
    "sofa": Look("diagonal", 0.14, (0.46, 0.70, 0.70), (0.95, 0.45, 0.95)),
    "train": Look("posts", 0.14, (0.82, 0.75, 0.75), (0.17, 0.70, 0.95)),
    "tvmonitor": Look("stripes", 0.08, (0.67, 0.85, 0.30), (0.50, 0.50, 0.98)),
}


def _patches(a: np.ndarray, b: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    phase = rng.uniform(0, 2 * math.pi, 3)
    return np.sin(3 * a + phase[0]) + np.sin(3 * b + phase[1]) + np.sin(2 * (a + b) + phase[2]) > 0


def _speckle(a: np.ndarray, b: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    return rng.rand(64, 64)[np.floor(a).astype(int) % 64, np.floor(b).astype(int) % 64]


#: The share of the second colour, 0 to 1, at coordinates in periods.
PATTERNS: Dict[str, Pattern] = {
    "plain": lambda a, b, rng: 0.5 + 0.5 * np.sin(a),
    "stripes": lambda a, b, rng: b % 1 < 0.5,
    "posts": lambda a, b, rng: a % 1 < 0.5,
    "diagonal": lambda a, b, rng: (a + b) % 1 < 0.5,
    "planks": lambda a, b, rng: (b % 1 < 0.3) | ((a / 3 + 0.5 * (np.floor(b) % 2)) % 1 < 0.1),
    "checks": lambda a, b, rng: (np.floor(a * 2) + np.floor(b * 2)) % 2,
    "dots": lambda a, b, rng: np.hypot(a % 1 - 0.5, (b + 0.5 * (np.floor(a) % 2)) % 1 - 0.5) < 0.33,
    "waves": lambda a, b, rng: (b + 0.3 * np.sin(4 * a)) % 1 < 0.5,
    "zigzag": lambda a, b, rng: (b + np.abs(a % 1 - 0.5)) % 1 < 0.5,
    "grid": lambda a, b, rng: (a % 1 < 0.25) | (b % 1 < 0.25),
    "bricks": lambda a, b, rng: (b % 1 < 0.25) | ((a / 2 + 0.5 * (np.floor(b) % 2)) % 1 < 0.15),
    "rings": lambda a, b, rng: np.hypot(a, b) % 1 < 0.5,
    "speckle": _speckle,
    "patches": _patches,
}


def pattern(
    name: str, u: np.ndarray, v: np.ndarray, period: float, rng: np.random.RandomState
) -> np.ndarray:
    """Return the share of the second colour (0 to 1) at object coordinates `u`, `v` in pixels."""
    return PATTERNS[name](u / period, v / period, rng)


def colour(hsv: Sequence[float], rng: np.random.RandomState) -> np.ndarray:
    """Return the RGB colour (0 to 255) of `hsv` (0 to 1), shifted a little at random."""
    h = hsv[0] + rng.uniform(-0.015, 0.015)
    s = min(1.0, max(0.0, hsv[1] + rng.uniform(-0.08, 0.08)))
    v = min(1.0, max(0.0, hsv[2] + rng.uniform(-0.10, 0.05)))
    wave = (5.0 + 6.0 * h) % 6, (3.0 + 6.0 * h) % 6, (1.0 + 6.0 * h) % 6
    return np.array([255 * (v - v * s * max(0.0, min(k, 4 - k, 1.0))) for k in wave], np.float32)
