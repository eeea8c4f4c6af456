"""Pose: the places of a body's parts from heat maps, and limbs drawn on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import cv2
import numpy as np

from .detection import COLOURS

#: x and y in pixels, and the value of the heat map.
Keypoint = tuple[float, float, float]


def read_keypoints(
    maps: np.ndarray, size: tuple[int, int], least: float = 0.1
) -> list[Optional[Keypoint]]:
    """Return the strongest place of each part; None where its heat map is below `least`.

    maps: P x h x w. size: height and width of the picture. The maps are read with a quarter of a
    position towards the larger neighbour (Newell et al. 2016, "Stacked hourglass networks", 3.3).
    """
    points: list[Optional[Keypoint]] = []
    for heat in maps:
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        value = float(heat[row, column])
        if value < least:
            points.append(None)
            continue
        padded = np.pad(heat, 1, mode="edge")
        down = np.sign(padded[row + 2, column + 1] - padded[row, column + 1]) / 4
        right = np.sign(padded[row + 1, column + 2] - padded[row + 1, column]) / 4
        x = (column + right + 0.5) * size[1] / heat.shape[1]
        y = (row + down + 0.5) * size[0] / heat.shape[0]
        points.append((float(x), float(y), value))
    return points


def draw_pose(
    picture: np.ndarray,
    points: Sequence[Optional[Keypoint]],
    limbs: Sequence[tuple[int, int]],
) -> np.ndarray:
    """Return the picture with a line for each limb, a pair of parts, and a disc for each part."""
    drawn = np.array(picture, np.uint8, order="C")
    radius = max(2, round(min(picture.shape[:2]) / 60))
    for number, (first, second) in enumerate(limbs):
        ends = points[first], points[second]
        if ends[0] is None or ends[1] is None:
            continue
        a, b = ((round(x), round(y)) for x, y, _ in ends)  # type: ignore[misc]
        colour = COLOURS[number % len(COLOURS)]
        cv2.line(drawn, a, b, colour, max(1, radius // 2), cv2.LINE_AA)
    for point in points:
        if point is not None:
            centre = (round(point[0]), round(point[1]))
            cv2.circle(drawn, centre, radius, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(drawn, centre, radius, (40, 40, 40), 1, cv2.LINE_AA)
    return drawn
