"""Edges: the side outputs of an edge detector fused, thinned, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import cv2
import numpy as np


def fuse(scores: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Return the mean of the probabilities of side outputs, height x width, 0 .. 1.

    scores: maps h x w before the sigmoid, of any sizes. size: height and width of the result (Xie &
    Tu 2015, "HED", section 3.2: the average of the fused and the side outputs).
    """
    height, width = size
    total: np.ndarray = np.zeros((height, width), np.float64)
    for map_ in scores:
        probabilities = 1 / (1 + np.exp(-np.asarray(map_, np.float64)))
        total = total + cv2.resize(probabilities, (width, height))
    return total / len(scores)


def thin(edges: np.ndarray) -> np.ndarray:
    """Return the edges, H x W, with 0 where a neighbour across the edge is stronger.

    The direction across is that of the gradient of the smoothed map, in steps of 45 degrees.
    """
    smooth = cv2.GaussianBlur(edges, (0, 0), 1.0)
    dx = cv2.Sobel(smooth, cv2.CV_64F, 1, 0)
    dy = cv2.Sobel(smooth, cv2.CV_64F, 0, 1)
    # Across a ridge, the second derivative is most negative.
    xx = cv2.Sobel(dx, cv2.CV_64F, 1, 0)
    yy = cv2.Sobel(dy, cv2.CV_64F, 0, 1)
    xy = cv2.Sobel(dx, cv2.CV_64F, 0, 1)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    step = np.round(angle / (np.pi / 4)).astype(int) % 4
    padded = np.pad(smooth, 1, mode="edge")
    height, width = edges.shape
    kept = np.zeros(edges.shape, bool)
    for number, (y, x) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        after = padded[1 + y : 1 + y + height, 1 + x : 1 + x + width]
        before = padded[1 - y : 1 - y + height, 1 - x : 1 - x + width]
        kept |= (step == number) & (smooth >= after) & (smooth > before)
    return np.where(kept, edges, 0)


def draw_edges(edges: np.ndarray, picture: Optional[np.ndarray] = None) -> np.ndarray:
    """Return edges 0 .. 1 as dark lines on white, or as red lines on a picture."""
    strength = edges.clip(0, 1)[:, :, None]
    ground = np.full((*edges.shape, 3), 255.0) if picture is None else picture.astype(np.float64)
    colour = np.zeros(3) if picture is None else np.array([230.0, 25, 75])
    return np.rint(ground * (1 - strength) + colour * strength).astype(np.uint8)
