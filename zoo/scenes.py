"""Drawn scenes for a detector: discs, squares and triangles on a textured ground."""

from __future__ import annotations

from typing import Any, NamedTuple

import caffe
import numpy as np

#: The classes from 1 on; 0 is the background.
SHAPES = ("disc", "square", "triangle")


class Scene(NamedTuple):
    """An image, 3 x size x size, and its objects: labels, and corners as parts of the size."""

    image: np.ndarray
    labels: list[int]
    boxes: list[tuple[float, float, float, float]]


def draw(random: np.random.RandomState, size: int) -> Scene:
    """Return a scene with 1 to 4 objects that do not overlap much."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    slope = random.standard_normal((3, 2, 1, 1))
    image = 0.5 * (slope[:, 0] * x + slope[:, 1] * y) + 0.3 * random.standard_normal(
        (3, size, size)
    )
    scene = Scene(image, [], [])
    covered = np.zeros((size, size), bool)
    for _ in range(random.randint(1, 5)):
        half = random.uniform(0.08, 0.22)
        cx, cy = random.uniform(half, 1 - half, 2)
        label = random.randint(1, len(SHAPES) + 1)
        mask = _mask(SHAPES[label - 1], (x - cx) / half, (y - cy) / half)
        if (covered & mask).sum() > 0.1 * mask.sum():
            continue
        covered |= mask
        image[:, mask] = 2 * random.standard_normal((3, 1)) + image[:, mask] / 3
        scene.labels.append(label)
        scene.boxes.append((cx - half, cy - half, cx + half, cy + half))
    return scene


def _mask(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the positions inside a shape; its box is -1 .. 1 along both axes."""
    if shape == "disc":
        return x * x + y * y <= 1
    if shape == "square":
        return (abs(x) <= 1) & (abs(y) <= 1)
    return (abs(y) <= 1) & (2 * abs(x) <= y + 1)


def batch(random: np.random.RandomState, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images, count x 3 x size x size, and objects, 1 x 1 x G x 8, as SSD's layers read."""
    scenes = [draw(random, size) for _ in range(count)]
    rows = [
        [i, label, 0, *box, 0]
        for i, scene in enumerate(scenes)
        for label, box in zip(scene.labels, scene.boxes)
    ]
    images = np.stack([scene.image for scene in scenes]).astype(np.float32)
    return images, np.array(rows or [[-1] * 8], np.float32)[None, None]


class ScenesLayer(caffe.Layer):
    """Draws a batch of scenes at each forward. param_str: "count size seed"."""

    def setup(self, bottom: Any, top: Any) -> None:
        """Read the settings."""
        self.count, self.size, seed = map(int, self.param_str.split())
        self.random = np.random.RandomState(seed)

    def reshape(self, bottom: Any, top: Any) -> None:
        """Draw the next batch, whose number of objects is a shape."""
        self.images, self.objects = batch(self.random, self.count, self.size)
        top[0].reshape(*self.images.shape)
        top[1].reshape(*self.objects.shape)

    def forward(self, bottom: Any, top: Any) -> None:
        """Give the batch to the tops."""
        top[0].data[...] = self.images
        top[1].data[...] = self.objects

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        """Data has no gradient."""
