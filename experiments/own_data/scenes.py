"""Drawn photographs of a landscape with a house, and their labels of five classes."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

NAMES = ("sky", "field", "house", "tree", "sun")
COLOURS = ((120, 160, 220), (90, 150, 60), (170, 90, 70), (30, 80, 30), (250, 220, 80))
#: Width and height of the scenes, in turn.
SIZES = ((240, 180), (180, 240), (256, 160))
JPEG_QUALITY = 92
#: Standard deviations of the brightness of a pixel, of its colours, and of the whole scene.
GRAIN, TINT, LIGHT = 12, 6, 10


class Scene(NamedTuple):
    """A photograph as the bytes of a JPEG file, its pixels (H x W x 3, RGB), and labels (H x W)."""

    jpeg: bytes
    pixels: np.ndarray
    labels: np.ndarray


def draw_scene(number: int, scale: float = 1.0) -> Scene:
    """Return the scene of a number. scale: of its size, so that it can be small."""
    rng = np.random.RandomState(number)
    width, height = SIZES[number % len(SIZES)]
    labels = _draw_labels(rng, width, height)
    pixels = np.array(COLOURS, np.float64)[labels]
    pixels += rng.randn(height, width, 1) * GRAIN + rng.randn(height, width, 3) * TINT
    pixels += rng.randn(1, 1, 3) * LIGHT
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(0.7))
    if scale != 1:
        size = round(width * scale), round(height * scale)
        image = image.resize(size)
        labels = np.asarray(Image.fromarray(labels).resize(size, 0))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    with Image.open(file) as decoded:
        return Scene(file.getvalue(), np.asarray(decoded.convert("RGB")), labels)


def _draw_labels(rng: np.random.RandomState, width: int, height: int) -> np.ndarray:
    """Return labels with a horizon, a house left, a tree right, and a sun."""
    image = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(image)
    horizon = int(height * rng.uniform(0.5, 0.7))
    draw.rectangle((0, horizon, width, height), fill=1)
    left, side = rng.randint(10, width // 2), rng.randint(40, 70)
    draw.rectangle((left, horizon - side // 2, left + side, horizon + side // 2), fill=2)
    trunk = rng.randint(width // 2, width - 40)
    draw.rectangle((trunk + 12, horizon, trunk + 18, horizon + 30), fill=3)
    draw.ellipse((trunk - 8, horizon - 40, trunk + 40, horizon + 8), fill=3)
    sun = rng.randint(20, width - 40)
    draw.ellipse((sun, 8, sun + 26, 34), fill=4)
    return np.asarray(image)


def palette_image(labels: np.ndarray) -> Image.Image:
    """Return labels as a palette image in the colours of the classes."""
    image = Image.fromarray(labels)
    image.putpalette([value for colour in COLOURS for value in colour])
    return image


def colour_image(labels: np.ndarray) -> Image.Image:
    """Return labels as an RGB image."""
    return Image.fromarray(np.array(COLOURS, np.uint8)[labels])
