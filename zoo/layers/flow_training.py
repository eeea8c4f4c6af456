"""Cases of the crops that FlowNet trains on, and of the flow between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .case import Arrays, Case
from .regions import at

FLOWNET = "Dosovitskiy et al. 2015, FlowNet; lmb-freiburg/flownet2"


def place(
    rows: np.ndarray, x: float, y: float, crop: Sequence[int], image: Sequence[int]
) -> np.ndarray:
    """Return the place (x, y) in an image, height x width, of a position of a crop."""
    middle = (crop[1] - 1) / 2, (crop[0] - 1) / 2
    column = rows[0] @ [x - middle[0], y - middle[1], 1] + middle[0] + (image[1] - crop[1]) // 2
    row = rows[1] @ [x - middle[0], y - middle[1], 1] + middle[1] + (image[0] - crop[0]) // 2
    return np.array([column, row])


def moved(bottoms: Arrays, crop: tuple[int, int]) -> np.ndarray:
    """Return the crops of images by their maps, a position at a time."""
    x, maps = bottoms
    y = np.zeros((*x.shape[:2], *crop))
    for n, i, j in np.ndindex(len(x), *crop):
        column, row = place(maps[n], j, i, crop, x.shape[2:])
        y[n, :, i, j] = at(x[n], row, column)
    return y


def flow_between(bottoms: Arrays, crop: tuple[int, int]) -> np.ndarray:
    """Return FlowAugmentation's top: the position that shows the place, by Cramer's rule."""
    flow, first, second = bottoms
    y = np.zeros((len(flow), 2, *crop))
    size = flow.shape[2:]
    for n, i, j in np.ndindex(len(flow), *crop):
        column, row = place(first[n], j, i, crop, size)
        target = np.array([column, row]) + at(flow[n], row, column)
        origin = place(second[n], 0, 0, crop, size)
        right = place(second[n], 1, 0, crop, size) - origin
        down = place(second[n], 0, 1, crop, size) - origin
        area = right[0] * down[1] - right[1] * down[0]
        dx, dy = target - origin
        y[n, 0, i, j] = (dx * down[1] - dy * down[0]) / area - j
        y[n, 1, i, j] = (dy * right[0] - dx * right[1]) / area - i
    return y


def draw_maps(random: np.random.RandomState) -> np.ndarray:
    """Draw two maps near the centre's, 2 x 2 x 3."""
    return np.eye(2, 3) + random.uniform(-0.2, 0.2, (2, 2, 3))


def images(channels: int, maps: int):  # type: ignore[no-untyped-def]
    """Return a function that draws images 2 x channels x 9 x 11 and pairs of maps."""

    def draw(random: np.random.RandomState) -> list[np.ndarray]:
        x = random.standard_normal((2, channels, 9, 11))
        return [x, *(draw_maps(random) for _ in range(maps))]

    return draw


CASES = [
    Case(
        "DataAugmentation",
        "augmentation_param { crop_width: 5 crop_height: 4 }",
        images(3, 1),
        FLOWNET,
        lambda b, p: moved(b, (4, 5)),
        "by maps",
        smooth=(),
    ),
    Case(
        "FlowAugmentation",
        "augmentation_param { crop_width: 5 crop_height: 4 }",
        images(2, 2),
        FLOWNET,
        lambda b, p: flow_between(b, (4, 5)),
        smooth=(),
    ),
]
