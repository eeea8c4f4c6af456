"""Colourisation: lightness as a net's input, and a net's ab map as a picture."""

from __future__ import annotations

import cv2
import numpy as np


def lightness(picture: np.ndarray, size: tuple[int, int], centre: float = 50.0) -> np.ndarray:
    """Return the L channel of CIE Lab, 0 .. 100 less `centre`, as 1 x 1 x height x width.

    size: height and width of the net's input (Zhang et al. 2016, "Colorful image colorization").
    """
    smaller = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(smaller.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab[None, None, :, :, 0] - np.float32(centre)


def join(picture: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """Return the picture, grey or not, with the colours of an ab map, 2 x h x w.

    The picture gives the lightness at its own size; the map is enlarged bilinearly.
    """
    height, width = picture.shape[:2]
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    for channel, map_ in enumerate(np.asarray(ab, np.float32)):
        lab[:, :, channel + 1] = cv2.resize(map_, (width, height))
    rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return np.rint(rgb.clip(0, 1) * 255).astype(np.uint8)


def ab_map(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the ab channels of a picture, 1 x 2 x height x width: what such a net learns."""
    smaller = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(smaller.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab[:, :, 1:].transpose(2, 0, 1)[None]


def grey(picture: np.ndarray) -> np.ndarray:
    """Return the picture without colours, H x W x 3."""
    return join(picture, np.zeros((2, *picture.shape[:2])))
