"""The demo set: drawn scenes with the twenty VOC classes, in the folder layouts of SBD and VOC.

Every class is a silhouette (solid parts and thin ones: legs, spokes, masts, tails) in a texture of
its own. Scenes lay several of them over each other on a cluttered ground, so a net has to tell the
classes apart and a finer stride has thin parts and overlaps to gain on.

    python -m fcn_data.demo ROOT [--seed N] [--train N] [--scale F] ...
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fcn_common.files import write_json, write_text
from fcn_common.progress import ProgressBar
from fcn_common.voc import CLASSES, PALETTE

#: Height and width of scenes at scale 1: a few fixed sizes, so that engines can reuse their plans.
SIZES = ((176, 240), (240, 176), (200, 232), (232, 200), (216, 216))
CROP = 96
VERSION = 1

_BICUBIC = 3  # Image.BICUBIC, a name that Pillow has moved about

Point = Tuple[float, float]
Polygon = List[Point]


class Parts(NamedTuple):
    """A silhouette in the square [-1, 1] x [-1, 1], y downwards, as closed polygons."""

    solid: List[Polygon]
    thin: List[Polygon]


class Look(NamedTuple):
    """A class's texture: pattern name, period as a fraction of the object, and two HSV colours."""

    pattern: str
    period: float
    first: Tuple[float, float, float]
    second: Tuple[float, float, float]


def box(left: float, top: float, right: float, bottom: float) -> Polygon:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def oval(x: float, y: float, rx: float, ry: Optional[float] = None) -> Polygon:
    ry = rx if ry is None else ry
    turns = [2 * math.pi * k / 20 for k in range(20)]
    return [(x + rx * math.cos(t), y + ry * math.sin(t)) for t in turns]


def bar(x0: float, y0: float, x1: float, y1: float, width: float = 0.09) -> Polygon:
    length = math.hypot(x1 - x0, y1 - y0)
    dx, dy = (x1 - x0) / length * width / 2, (y1 - y0) / length * width / 2
    return [(x0 - dy, y0 + dx), (x1 - dy, y1 + dx), (x1 + dy, y1 - dx), (x0 + dy, y0 - dx)]


def rod(*points: Point, width: float = 0.09) -> List[Polygon]:
    """A bent bar through `points`, rounded at its joints."""
    bars = [bar(*a, *b, width=width) for a, b in zip(points, points[1:])]
    return bars + [oval(x, y, width / 2) for x, y in points[1:-1]]


def wheel(x: float, y: float, radius: float, width: float, spokes: int = 0) -> List[Polygon]:
    """A tyre as a chain of bars, with spokes to the hub."""
    turns = [2 * math.pi * k / 18 for k in range(19)]
    rim = [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in turns]
    parts = rod(*rim, width=width)
    for k in range(spokes):
        t = math.pi * k / spokes
        dx, dy = radius * math.cos(t), radius * math.sin(t)
        parts.append(bar(x - dx, y - dy, x + dx, y + dy, width=0.05))
    return parts


def legs(*feet: Tuple[float, float, float], top: float, bottom: float = 1.0) -> List[Polygon]:
    """Legs given as (x at the top, x at the bottom, width)."""
    return [bar(x0, top, x1, bottom, width=width) for x0, x1, width in feet]


SHAPES: Dict[str, Parts] = {
    "aeroplane": Parts(
        [
            oval(0, 0, 1.0, 0.19),
            [(0.25, 0.0), (-0.35, 0.85), (-0.62, 0.85), (-0.25, 0.0)],
            [(0.25, 0.0), (-0.3, -0.75), (-0.55, -0.75), (-0.2, 0.0)],
            [(-0.65, 0.0), (-1.0, -0.5), (-0.8, -0.5), (-0.4, 0.0)],
        ],
        [bar(-0.9, 0.0, -1.0, 0.3), bar(1.0, -0.3, 1.0, 0.3, width=0.07)],
    ),
    "bicycle": Parts(
        [],
        wheel(-0.56, 0.38, 0.38, 0.13, spokes=2)
        + wheel(0.56, 0.38, 0.38, 0.13, spokes=2)
        + rod((-0.56, 0.38), (-0.25, -0.25), (0.4, -0.25), (0.0, 0.38), width=0.12)
        + rod((-0.56, 0.38), (0.0, 0.38), (-0.3, -0.4), width=0.12)
        + rod((0.56, 0.38), (0.36, -0.5), (0.6, -0.6), width=0.12)
        + [bar(-0.48, -0.44, -0.1, -0.4, width=0.14)],
    ),
    "bird": Parts(
        [
            oval(-0.05, 0.0, 0.55, 0.36),
            oval(0.5, -0.42, 0.25),
            [(-0.4, -0.1), (-1.0, -0.45), (-0.95, 0.1), (-0.45, 0.2)],
            [(0.2, -0.1), (-0.35, -0.9), (-0.5, -0.7), (-0.25, 0.0)],
        ],
        [
            [(0.7, -0.5), (1.0, -0.36), (0.7, -0.32)],
            *rod((0.0, 0.3), (0.05, 0.9), (0.22, 0.95)),
            *rod((-0.2, 0.3), (-0.2, 0.9), (-0.03, 0.95)),
        ],
    ),
    "boat": Parts(
        [
            [(-1.0, 0.35), (1.0, 0.35), (0.65, 0.9), (-0.7, 0.9)],
            [(0.08, -0.85), (0.75, 0.2), (0.08, 0.2)],
            [(-0.1, -0.6), (-0.1, 0.2), (-0.6, 0.2)],
        ],
        [bar(0.0, -1.0, 0.0, 0.4), bar(0.9, 0.4, 1.0, 0.0, width=0.06)],
    ),
    "bottle": Parts(
        [
            box(-0.36, -0.2, 0.36, 1.0),
            [(-0.36, -0.18), (-0.15, -0.55), (0.15, -0.55), (0.36, -0.18)],
            box(-0.14, -0.9, 0.14, -0.5),
        ],
        [box(-0.19, -1.0, 0.19, -0.88), *rod((0.3, 0.0), (0.6, 0.1), (0.6, 0.5), (0.3, 0.6))],
    ),
    "bus": Parts(
        [box(-1.0, -0.6, 1.0, 0.5), oval(-0.55, 0.5, 0.2), oval(0.55, 0.5, 0.2)],
        rod((0.95, -0.5), (1.1, -0.5), (1.1, -0.2)) + rod((-0.6, -0.6), (-0.9, -0.95), width=0.07),
    ),
    "car": Parts(
        [
            [(-1.0, 0.0), (1.0, 0.0), (1.0, 0.45), (-1.0, 0.45)],
            [(-0.6, 0.02), (-0.35, -0.42), (0.35, -0.42), (0.65, 0.02)],
            oval(-0.55, 0.45, 0.24),
            oval(0.55, 0.45, 0.24),
        ],
        [bar(-0.8, 0.0, -0.95, -0.6, width=0.07), bar(0.98, 0.38, 1.12, 0.38, width=0.1)],
    ),
    "cat": Parts(
        [
            oval(-0.1, 0.25, 0.55, 0.34),
            oval(0.52, -0.2, 0.3),
            [(0.26, -0.3), (0.3, -0.75), (0.52, -0.42)],
            [(0.54, -0.42), (0.76, -0.75), (0.8, -0.28)],
        ],
        rod((-0.55, 0.15), (-0.9, -0.1), (-0.85, -0.5), (-0.65, -0.65), width=0.12)
        + legs(
            (-0.45, -0.5, 0.13), (-0.25, -0.2, 0.13), (0.2, 0.2, 0.13), (0.38, 0.45, 0.13), top=0.4
        ),
    ),
    "chair": Parts(
        [box(-0.5, -1.0, -0.22, 0.1), box(-0.5, 0.0, 0.6, 0.25)],
        legs(
            (-0.43, -0.55, 0.11), (-0.15, -0.2, 0.11), (0.3, 0.3, 0.11), (0.53, 0.62, 0.11), top=0.2
        )
        + rod((-0.3, -0.35), (0.5, -0.35), (0.5, 0.05), width=0.11),
    ),
    "cow": Parts(
        [box(-0.75, -0.35, 0.5, 0.4), oval(-0.7, 0.02, 0.2, 0.37), oval(0.72, -0.3, 0.27, 0.22)],
        rod((0.6, -0.45), (0.5, -0.7), (0.6, -0.85), width=0.08)
        + rod((0.8, -0.48), (0.95, -0.7), (0.85, -0.85), width=0.08)
        + rod((-0.85, -0.2), (-1.0, 0.1), (-0.95, 0.5), width=0.08)
        + legs(
            (-0.65, -0.68, 0.14),
            (-0.4, -0.38, 0.14),
            (0.2, 0.18, 0.14),
            (0.42, 0.45, 0.14),
            top=0.3,
        ),
    ),
    "diningtable": Parts(
        [oval(0, -0.3, 1.0, 0.34), box(-0.85, -0.3, 0.85, 0.12)],
        legs(
            (-0.75, -0.85, 0.13),
            (-0.3, -0.33, 0.12),
            (0.3, 0.33, 0.12),
            (0.75, 0.85, 0.13),
            top=0.0,
        ),
    ),
    "dog": Parts(
        [
            box(-0.6, -0.15, 0.45, 0.32),
            oval(0.58, -0.3, 0.28, 0.24),
            box(0.7, -0.3, 1.0, -0.1),
            oval(0.38, -0.2, 0.12, 0.3),
        ],
        rod((-0.55, -0.1), (-0.8, -0.5), (-0.75, -0.8), width=0.11)
        + legs(
            (-0.52, -0.6, 0.13),
            (-0.35, -0.3, 0.13),
            (0.22, 0.2, 0.13),
            (0.38, 0.45, 0.13),
            top=0.25,
        ),
    ),
    "horse": Parts(
        [
            oval(-0.15, 0.02, 0.62, 0.32),
            [(0.2, 0.0), (0.45, -0.85), (0.75, -0.8), (0.5, 0.1)],
            oval(0.74, -0.72, 0.28, 0.16),
        ],
        rod((-0.7, -0.1), (-0.95, 0.1), (-0.95, 0.6), width=0.12)
        + legs(
            (-0.6, -0.7, 0.11), (-0.4, -0.3, 0.11), (0.15, 0.1, 0.11), (0.35, 0.5, 0.11), top=0.15
        ),
    ),
    "motorbike": Parts(
        [
            [(-0.5, -0.2), (0.4, -0.35), (0.3, 0.35), (-0.35, 0.4)],
            [(-0.95, -0.25), (-0.1, -0.2), (-0.1, -0.02), (-0.85, -0.08)],
        ],
        wheel(-0.6, 0.45, 0.32, 0.18, spokes=1)
        + wheel(0.65, 0.45, 0.32, 0.18, spokes=1)
        + rod((0.65, 0.45), (0.35, -0.4), (0.5, -0.75), width=0.12)
        + rod((0.35, -0.6), (0.7, -0.8), width=0.1),
    ),
    "person": Parts(
        [oval(0, -0.76, 0.22), box(-0.3, -0.52, 0.3, 0.2)],
        rod((-0.25, -0.45), (-0.6, -0.1), (-0.55, 0.3), width=0.13)
        + rod((0.25, -0.45), (0.6, -0.15), (0.75, -0.5), width=0.13)
        + legs((-0.17, -0.28, 0.2), (0.17, 0.3, 0.2), top=0.15),
    ),
    "pottedplant": Parts(
        [
            [(-0.45, 0.35), (0.45, 0.35), (0.32, 1.0), (-0.32, 1.0)],
            oval(-0.45, -0.35, 0.34, 0.2),
            oval(0.45, -0.25, 0.34, 0.2),
            oval(0.0, -0.7, 0.24, 0.3),
        ],
        [
            bar(0, 0.4, 0, -0.6),
            bar(0, 0.4, -0.45, -0.3),
            bar(0, 0.4, 0.45, -0.2),
            *rod((0.1, 0.35), (0.65, 0.25), (0.9, -0.1), width=0.08),
        ],
    ),
    "sheep": Parts(
        [
            oval(-0.45, 0.0, 0.34),
            oval(-0.1, -0.15, 0.36),
            oval(0.25, 0.0, 0.34),
            oval(-0.1, 0.15, 0.4, 0.3),
            oval(0.7, -0.15, 0.23, 0.2),
        ],
        legs(
            (-0.45, -0.45, 0.12),
            (-0.2, -0.2, 0.12),
            (0.1, 0.1, 0.12),
            (0.35, 0.35, 0.12),
            top=0.25,
            bottom=0.85,
        ),
    ),
    "sofa": Parts(
        [
            box(-0.85, -0.5, 0.85, 0.1),
            box(-0.9, 0.0, 0.9, 0.5),
            oval(-0.88, 0.05, 0.2, 0.3),
            oval(0.88, 0.05, 0.2, 0.3),
        ],
        legs((-0.75, -0.8, 0.1), (0.75, 0.8, 0.1), (0.0, 0.0, 0.1), top=0.45, bottom=0.75),
    ),
    "train": Parts(
        [
            [(-1.0, -0.5), (0.6, -0.5), (1.0, 0.1), (1.0, 0.4), (-1.0, 0.4)],
            oval(-0.7, 0.42, 0.14),
            oval(-0.25, 0.42, 0.14),
            oval(0.25, 0.42, 0.14),
            oval(0.7, 0.42, 0.14),
        ],
        [
            *rod((-0.5, -0.5), (-0.2, -0.75), (-0.5, -1.0), width=0.07),
            bar(-0.8, -1.0, 0.0, -1.0, width=0.07),
        ],
    ),
    "tvmonitor": Parts(
        [box(-0.9, -0.75, 0.9, 0.45)],
        [
            bar(0, 0.4, 0, 0.85, width=0.14),
            bar(-0.45, 0.86, 0.45, 0.86, width=0.12),
            bar(0, -0.7, -0.45, -1.05, width=0.06),
            bar(0, -0.7, 0.45, -1.05, width=0.06),
        ],
    ),
}

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


def pattern(name: str, u: np.ndarray, v: np.ndarray, period: float, rng) -> np.ndarray:
    """The share of the second colour (0 to 1) at object coordinates `u`, `v` in pixels."""
    a, b = u / period, v / period
    if name == "plain":
        return 0.5 + 0.5 * np.sin(a)
    if name == "stripes":
        return b % 1 < 0.5
    if name == "posts":
        return a % 1 < 0.5
    if name == "diagonal":
        return (a + b) % 1 < 0.5
    if name == "planks":
        return (b % 1 < 0.3) | ((a / 3 + 0.5 * (np.floor(b) % 2)) % 1 < 0.1)
    if name == "checks":
        return (np.floor(a * 2) + np.floor(b * 2)) % 2
    if name == "dots":
        return np.hypot(a % 1 - 0.5, (b + 0.5 * (np.floor(a) % 2)) % 1 - 0.5) < 0.33
    if name == "waves":
        return (b + 0.3 * np.sin(4 * a)) % 1 < 0.5
    if name == "zigzag":
        return (b + np.abs(a % 1 - 0.5)) % 1 < 0.5
    if name == "grid":
        return (a % 1 < 0.25) | (b % 1 < 0.25)
    if name == "bricks":
        return (b % 1 < 0.25) | ((a / 2 + 0.5 * (np.floor(b) % 2)) % 1 < 0.15)
    if name == "rings":
        return np.hypot(a, b) % 1 < 0.5
    if name == "speckle":
        return rng.rand(64, 64)[np.floor(a).astype(int) % 64, np.floor(b).astype(int) % 64]
    phase = rng.uniform(0, 2 * math.pi, 3)
    return np.sin(3 * a + phase[0]) + np.sin(3 * b + phase[1]) + np.sin(2 * (a + b) + phase[2]) > 0


def colour(hsv: Sequence[float], rng, jitter: float = 1.0) -> np.ndarray:
    """The RGB colour (0 to 255) of `hsv`, moved a little at random."""
    h = hsv[0] + jitter * rng.uniform(-0.015, 0.015)
    s = min(1.0, max(0.0, hsv[1] + jitter * rng.uniform(-0.08, 0.08)))
    v = min(1.0, max(0.0, hsv[2] + jitter * rng.uniform(-0.10, 0.05)))
    wave = (5.0 + 6.0 * h) % 6, (3.0 + 6.0 * h) % 6, (1.0 + 6.0 * h) % 6
    return np.array([255 * (v - v * s * max(0.0, min(k, 4 - k, 1.0))) for k in wave], np.float32)


def fill(polygons: Sequence[np.ndarray], shape: Tuple[int, int]) -> np.ndarray:
    """The coverage (0 to 1, antialiased, H x W) of a union of polygons."""
    canvas = Image.new("L", (2 * shape[1], 2 * shape[0]))
    draw = ImageDraw.Draw(canvas)
    for polygon in polygons:
        draw.polygon([(2 * x, 2 * y) for x, y in polygon.tolist()], fill=255)
    return np.asarray(canvas.reduce(2), np.float32) / 255


def upsample(grid: np.ndarray, shape: Tuple[int, int]) -> np.ndarray:
    """A small H x W array, smoothly enlarged to `shape`."""
    return np.asarray(Image.fromarray(grid.astype(np.float32)).resize(shape[::-1], _BICUBIC))


def draw_object(image, label, name: str, centre, size: float, border: int, rng) -> None:
    """Paints one object of class `name` into `image` (H x W x 3, float) and `label` (H x W).

    `size` is the longer side in pixels; `border` pixels around it become 255.
    """
    parts, look = SHAPES[name], LOOKS[name]
    angle = math.radians(rng.uniform(-18, 18))
    rx, ry = size / 2 * rng.uniform(0.85, 1.0, 2)
    flip = 1 if rng.rand() < 0.5 else -1
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = np.array([[flip * rx * cos, flip * rx * sin], [-ry * sin, ry * cos]])

    placed = [[np.array(p) @ matrix + centre for p in group] for group in parts]
    corners = np.concatenate(placed[0] + placed[1])
    low = np.maximum(np.floor(corners.min(0)).astype(int) - border - 1, 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + border + 2, label.shape[::-1])
    if (high <= low).any():
        return
    where = slice(low[1], high[1]), slice(low[0], high[0])
    shape = high[1] - low[1], high[0] - low[0]
    solid = fill([p - low for p in placed[0]], shape)
    whole = np.maximum(solid, fill([p - low for p in placed[1]], shape))

    y, x = np.ogrid[low[1] : high[1], low[0] : high[0]]
    u = cos * (x - centre[0]) + sin * (y - centre[1]) + rng.uniform(0, size)
    v = cos * (y - centre[1]) - sin * (x - centre[0]) + rng.uniform(0, size)
    if look.pattern == "rings":
        u, v = u - u.mean(), v - v.mean()
    share = np.float32(pattern(look.pattern, u, v, look.period * size, rng) * solid)[..., None]
    first, second = colour(look.first, rng), colour(look.second, rng)
    slope = rng.uniform(-0.25, 0.25, 2) / size
    light = 1 + slope[0] * (x - centre[0]) + slope[1] * (y - centre[1])
    paint = (first + share * (second - first)) * np.float32(light)[..., None]
    image[where] += whole[..., None] * (paint - image[where])

    inside = whole >= 0.5
    near = Image.fromarray(inside).convert("L").filter(ImageFilter.MaxFilter(2 * border + 1))
    label[where][np.asarray(near) > 0] = 255
    label[where][inside] = CLASSES.index(name)


def draw_ground(shape: Tuple[int, int], scale: float, rng) -> np.ndarray:
    """A cluttered ground (H x W x 3, float): soft colours, then shapes and lines of no class."""
    height, width = shape
    base = rng.uniform(60, 190) + rng.uniform(-25, 25, 3)
    image = np.empty((height, width, 3), np.float32)
    soft = upsample(rng.uniform(-45, 45, (5, 5)), shape)
    fine = upsample(
        rng.uniform(-22, 22, (height // int(6 * scale), width // int(6 * scale))), shape
    )
    for c in range(3):
        image[..., c] = base[c] + soft + fine + upsample(rng.uniform(-25, 25, (4, 4)), shape)
    for _ in range(rng.randint(8, 16)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        kind, reach = rng.randint(3), scale * rng.uniform(8, 40)
        if kind == 0:
            turn = np.sort(rng.uniform(0, 2 * math.pi, rng.randint(3, 7)))
            shapes = [np.stack([x + reach * np.cos(turn), y + reach * np.sin(turn)], 1)]
        elif kind == 1:
            shapes = [np.array(oval(x, y, reach, reach * rng.uniform(0.3, 1.0)))]
        else:
            far = x + rng.uniform(-3, 3) * reach, y + rng.uniform(1, 3) * reach
            shapes = [np.array(bar(x, y, far[0], far[1], width=scale * rng.uniform(1.5, 6)))]
        corners = shapes[0]
        low = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(corners.max(0)).astype(int) + 2, (width, height))
        if (high <= low).any():
            continue
        cover = fill([p - low for p in shapes], (high[1] - low[1], high[0] - low[0]))[..., None]
        tint = colour((rng.rand(), rng.uniform(0, 0.35), rng.uniform(0.25, 0.9)), rng)
        part = image[low[1] : high[1], low[0] : high[0]]
        part += cover * rng.uniform(0.6, 1.0) * (tint - part)
    return image


def expose(image: np.ndarray, rng) -> np.ndarray:
    """The photograph (H x W x 3, uint8) of a scene: gain, noise, rounding."""
    noise = rng.standard_normal(image.shape).astype(np.float32) * np.float32(rng.uniform(2, 7))
    return np.clip(image * np.float32(rng.uniform(0.85, 1.1)) + noise, 0, 255).astype(np.uint8)


def draw_scene(rng, sizes=SIZES, scale: float = 1.0, objects=(2, 4), reach=(120, 200)):
    """A scene: its photograph (H x W x 3, uint8, RGB) and label (H x W, uint8, 255 at borders).

    `objects` bounds the number of objects, `reach` their longer side in pixels at scale 1.
    """
    height, width = (round(scale * side) for side in sizes[rng.randint(len(sizes))])
    image = draw_ground((height, width), scale, rng)
    label = np.zeros((height, width), np.uint8)
    names = rng.permutation(len(SHAPES))[: rng.randint(objects[0], objects[1] + 1)]
    for k in names:
        size = scale * rng.uniform(*reach)
        centre = rng.uniform(0.15, 0.85, 2) * (width, height)
        draw_object(image, label, CLASSES[1 + k], centre, size, max(1, round(scale)), rng)
    return expose(image, rng), label


def draw_crop(rng, which: int, side: int = CROP, reach=(120, 200)) -> np.ndarray:
    """A crop (side x side x 3, uint8, RGB) around one object of VOC class `which`; 0 is ground."""
    image = draw_ground((side, side), 1.0, rng)
    if which:
        label = np.zeros((side, side), np.uint8)
        centre = side / 2 + rng.uniform(-0.3, 0.3, 2) * side
        draw_object(image, label, CLASSES[which], centre, rng.uniform(*reach), 1, rng)
    return expose(image, rng)


def make(
    root: str,
    seed: int = 1,
    train: int = 800,
    val: int = 80,
    test: int = 120,
    crops: int = 3150,
    crops_val: int = 420,
    sizes: Sequence[Tuple[int, int]] = SIZES,
    scale: float = 1.0,
) -> None:
    """Draws the demo set as the folder `root`; returns at once if it is there, whole.

    `train` scenes lie in `root`/sbdd/dataset (and in VOC's train split), `val` and `test` scenes in
    `root`/pascal/VOC2011: the splits seg11valid (and val) and test. `crops` and `crops_val` crops
    for a classifier lie in `root`/objects/{train,val}.npz: `data` N x 96 x 96 x 3, uint8, RGB, and
    `label` N, indices into CLASSES, where 0 is a crop of ground alone. `sizes` are height and
    width, multiplied with everything else drawn by `scale`; 2.1 gives images of up to 500 pixels.

    The same arguments draw the same set. Raises ValueError if `root` holds anything else.
    """
    manifest = {
        "version": VERSION,
        "seed": seed,
        "train": train,
        "val": val,
        "test": test,
        "crops": crops,
        "crops_val": crops_val,
        "sizes": [list(size) for size in sizes],
        "scale": scale,
    }
    root = os.path.abspath(root)
    if os.path.isdir(root) and os.listdir(root):
        _recognise(root, manifest)
        return
    part = root + ".part"
    shutil.rmtree(part, ignore_errors=True)
    sbd = os.path.join(part, "sbdd", "dataset")
    voc = os.path.join(part, "pascal", "VOC2011")
    sets = os.path.join(voc, "ImageSets", "Segmentation")
    for folder in (
        os.path.join(sbd, "img"),
        os.path.join(sbd, "cls"),
        os.path.join(voc, "JPEGImages"),
        os.path.join(voc, "SegmentationClass"),
        sets,
        os.path.join(part, "objects"),
    ):
        os.makedirs(folder)

    with ProgressBar(
        train + val + test + crops + crops_val, "drawing the demo set", leave=False
    ) as bar:
        for k, (split, count) in enumerate((("train", train), ("seg11valid", val), ("test", test))):
            ids = [f"2011_{100000 * k + i:06d}" for i in range(count)]
            for i, idx in enumerate(ids):
                image, label = draw_scene(np.random.RandomState([seed, k, i]), sizes, scale)
                photograph = os.path.join(voc, "JPEGImages", idx + ".jpg")
                Image.fromarray(image).save(photograph, quality=92, subsampling=0)
                _save_label(os.path.join(voc, "SegmentationClass", idx + ".png"), label)
                if split == "train":
                    shutil.copyfile(photograph, os.path.join(sbd, "img", idx + ".jpg"))
                    _save_mat(os.path.join(sbd, "cls", idx + ".mat"), label)
                bar.update(1)
            text = "".join(idx + "\n" for idx in ids)
            write_text(os.path.join(sets, split + ".txt"), text)
            if split == "train":
                write_text(os.path.join(sbd, "train.txt"), text)
            elif split == "seg11valid":
                write_text(os.path.join(sets, "val.txt"), text)
        for k, (split, count) in enumerate((("train", crops), ("val", crops_val))):
            label = np.arange(count, dtype=np.uint8) % len(CLASSES)
            data = np.empty((count, CROP, CROP, 3), np.uint8)
            for i in range(count):
                data[i] = draw_crop(np.random.RandomState([seed, 3 + k, i]), int(label[i]))
                bar.update(1)
            np.savez(os.path.join(part, "objects", split + ".npz"), data=data, label=label)
    write_json(os.path.join(part, "manifest.json"), manifest, sort_keys=True)
    if os.path.isdir(root):
        os.rmdir(root)
    os.makedirs(os.path.dirname(root), exist_ok=True)
    os.replace(part, root)


def _recognise(root: str, wanted: dict) -> None:
    path = os.path.join(root, "manifest.json")
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{root}: has files but no demo set's manifest.json; name another folder")
    for key, value in wanted.items():
        if found.get(key) != value:
            raise ValueError(
                f"{root}: is a demo set with {key} {found.get(key)}, needs {value}; "
                "remove the folder or name another"
            )


def _save_label(path: str, label: np.ndarray) -> None:
    image = Image.fromarray(label)
    image.putpalette(PALETTE.tobytes())
    image.save(path)


def _save_mat(path: str, label: np.ndarray) -> None:
    from scipy.io import savemat

    truth = np.zeros((1, 1), [("Segmentation", object)])
    truth[0, 0]["Segmentation"] = label
    savemat(path, {"GTcls": truth}, do_compression=True)


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fcn_data.demo", description=__doc__)
    parser.add_argument("root")
    for name, value in (("seed", 1), ("train", 800), ("val", 80), ("test", 120)):
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--crops", type=int, default=3150)
    parser.add_argument("--crops-val", type=int, default=420)
    parser.add_argument("--scale", type=float, default=1.0)
    try:
        make(**vars(parser.parse_args(argv)))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
