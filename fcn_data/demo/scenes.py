"""Scenes and crops of the demo set: objects painted over each other on a cluttered ground."""

from __future__ import annotations

import math
from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fcn_common.voc import CLASSES, IGNORE_LABEL

from .polygons import bar, oval
from .silhouettes import SHAPES
from .textures import LOOKS, Look, colour, pattern

#: Height and width of scenes at scale 1: a few fixed sizes, so that engines can reuse their plans.
SIZES = ((176, 240), (240, 176), (200, 232), (232, 200), (216, 216))
#: Height and width of crops in pixels.
CROP = 96
#: The shortest and the longest side of objects in pixels, at scale 1.
REACH = (120.0, 200.0)

_BICUBIC = 3  # Image.BICUBIC, whose place in Pillow depends on the version
Random = np.random.RandomState


class Window(NamedTuple):
    """A rectangle of an image: `low` and `high` are its corners as (x, y), `high` excluded."""

    low: np.ndarray
    high: np.ndarray

    @property
    def slices(self) -> Tuple[slice, slice]:
        """The rows and the columns."""
        return slice(self.low[1], self.high[1]), slice(self.low[0], self.high[0])

    @property
    def shape(self) -> Tuple[int, int]:
        """Height and width."""
        return self.high[1] - self.low[1], self.high[0] - self.low[0]


class Pose(NamedTuple):
    """Where an object is: its centre (x, y), its rotation, and the matrix of its silhouette."""

    centre: np.ndarray
    cos: float
    sin: float
    matrix: np.ndarray


def draw_scene(
    rng: Random,
    sizes: Sequence[Tuple[int, int]] = SIZES,
    scale: float = 1.0,
    objects: Tuple[int, int] = (2, 4),
    reach: Tuple[float, float] = REACH,
) -> Tuple[np.ndarray, np.ndarray]:
    """Draw a scene and return its photograph and its label.

    The photograph is H x W x 3, uint8, RGB; the label H x W, uint8, 255 at the borders of objects.
    `objects` bounds the number of objects, `reach` their longer side in pixels at scale 1.
    """
    height, width = (round(scale * side) for side in sizes[rng.randint(len(sizes))])
    image = draw_ground((height, width), scale, rng)
    label = np.zeros((height, width), np.uint8)
    classes = rng.permutation(len(SHAPES))[: rng.randint(objects[0], objects[1] + 1)]
    for k in classes:
        size = scale * rng.uniform(*reach)
        centre = rng.uniform(0.15, 0.85, 2) * (width, height)
        draw_object(image, label, CLASSES[1 + k], centre, size, max(1, round(scale)), rng)
    return expose(image, rng), label


def draw_crop(
    rng: Random, index: int, side: int = CROP, reach: Tuple[float, float] = REACH
) -> np.ndarray:
    """Draw a crop (side x side x 3, uint8, RGB) around an object of class `index`; 0 is ground."""
    image = draw_ground((side, side), 1.0, rng)
    if index:
        label = np.zeros((side, side), np.uint8)
        centre = side / 2 + rng.uniform(-0.3, 0.3, 2) * side
        draw_object(image, label, CLASSES[index], centre, rng.uniform(*reach), 1, rng)
    return expose(image, rng)


def draw_object(
    image: np.ndarray,
    label: np.ndarray,
    name: str,
    centre: np.ndarray,
    size: float,
    border: int,
    rng: Random,
) -> None:
    """Paint an object of class `name` into `image` (H x W x 3, float) and `label` (H x W, uint8).

    `size` is the longer side in pixels; `border` pixels around the object are ignored.
    """
    pose = _pose(centre, size, rng)
    solid, thin = (
        [np.array(polygon) @ pose.matrix + centre for polygon in polygons]
        for polygons in SHAPES[name]
    )
    window = _window([*solid, *thin], label.shape, border)
    if window is None:
        return
    solid_cover = fill([polygon - window.low for polygon in solid], window.shape)
    cover = np.maximum(solid_cover, fill([polygon - window.low for polygon in thin], window.shape))
    paint = _paint(LOOKS[name], pose, size, window, solid_cover, rng)
    image[window.slices] += cover[..., None] * (paint - image[window.slices])

    inside = cover >= 0.5
    near = Image.fromarray(inside).convert("L").filter(ImageFilter.MaxFilter(2 * border + 1))
    label[window.slices][np.asarray(near) > 0] = IGNORE_LABEL
    label[window.slices][inside] = CLASSES.index(name)


def draw_ground(shape: Tuple[int, int], scale: float, rng: Random) -> np.ndarray:
    """Draw a ground (H x W x 3, float): soft colours, then shapes and lines of no class."""
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
        _draw_clutter(image, scale, rng)
    return image


def expose(image: np.ndarray, rng: Random) -> np.ndarray:
    """Return the photograph (H x W x 3, uint8) of a scene, with gain, noise and rounding."""
    noise = rng.standard_normal(image.shape).astype(np.float32) * np.float32(rng.uniform(2, 7))
    return np.clip(image * np.float32(rng.uniform(0.85, 1.1)) + noise, 0, 255).astype(np.uint8)


def fill(polygons: Sequence[np.ndarray], shape: Tuple[int, int]) -> np.ndarray:
    """Return the coverage (H x W, 0 to 1, antialiased) of a union of polygons."""
    canvas = Image.new("L", (2 * shape[1], 2 * shape[0]))
    draw = ImageDraw.Draw(canvas)
    for polygon in polygons:
        draw.polygon([(2 * x, 2 * y) for x, y in polygon.tolist()], fill=255)
    return np.asarray(canvas.reduce(2), np.float32) / 255


def upsample(grid: np.ndarray, shape: Tuple[int, int]) -> np.ndarray:
    """Return a small H x W array enlarged smoothly to `shape`."""
    return np.asarray(Image.fromarray(grid.astype(np.float32)).resize(shape[::-1], _BICUBIC))


def _pose(centre: np.ndarray, size: float, rng: Random) -> Pose:
    angle = math.radians(rng.uniform(-18, 18))
    rx, ry = size / 2 * rng.uniform(0.85, 1.0, 2)
    flip = 1 if rng.rand() < 0.5 else -1
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = np.array([[flip * rx * cos, flip * rx * sin], [-ry * sin, ry * cos]])
    return Pose(centre, cos, sin, matrix)


def _window(
    polygons: Sequence[np.ndarray], shape: Tuple[int, ...], border: int
) -> Optional[Window]:
    """Return the part of an image that polygons and border touch, or None if there is none."""
    corners = np.concatenate(polygons)
    low = np.maximum(np.floor(corners.min(0)).astype(int) - border - 1, 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + border + 2, shape[::-1])
    return None if (high <= low).any() else Window(low, high)


def _paint(
    look: Look, pose: Pose, size: float, window: Window, solid: np.ndarray, rng: Random
) -> np.ndarray:
    """Return the colours of an object in its window (H x W x 3); light falls off to one side."""
    (x0, y0), cos, sin = pose.centre, pose.cos, pose.sin
    y, x = np.ogrid[window.slices]
    u = cos * (x - x0) + sin * (y - y0) + rng.uniform(0, size)
    v = cos * (y - y0) - sin * (x - x0) + rng.uniform(0, size)
    if look.pattern == "rings":
        u, v = u - u.mean(), v - v.mean()
    painted = pattern(look.pattern, u, v, look.period * size, rng) * solid
    share = np.asarray(painted, np.float32)[..., None]
    first, second = colour(look.first, rng), colour(look.second, rng)
    slope = rng.uniform(-0.25, 0.25, 2) / size
    light = 1 + slope[0] * (x - x0) + slope[1] * (y - y0)
    return (first + share * (second - first)) * np.asarray(light, np.float32)[..., None]


def _draw_clutter(image: np.ndarray, scale: float, rng: Random) -> None:
    """Paint a polygon, an ellipse or a line of no class into `image`."""
    height, width = image.shape[:2]
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    kind, reach = rng.randint(3), scale * rng.uniform(8, 40)
    if kind == 0:
        turn = np.sort(rng.uniform(0, 2 * math.pi, rng.randint(3, 7)))
        polygon = np.stack([x + reach * np.cos(turn), y + reach * np.sin(turn)], 1)
    elif kind == 1:
        polygon = np.array(oval(x, y, reach, reach * rng.uniform(0.3, 1.0)))
    else:
        far = x + rng.uniform(-3, 3) * reach, y + rng.uniform(1, 3) * reach
        polygon = np.array(bar(x, y, far[0], far[1], width=scale * rng.uniform(1.5, 6)))
    window = _window([polygon], (height, width), border=0)
    if window is None:
        return
    cover = fill([polygon - window.low], window.shape)[..., None]
    tint = colour((rng.rand(), rng.uniform(0, 0.35), rng.uniform(0.25, 0.9)), rng)
    part = image[window.slices]
    part += cover * rng.uniform(0.6, 1.0) * (tint - part)
