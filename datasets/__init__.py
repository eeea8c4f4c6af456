"""PASCAL VOC's classes and colours; the published files, and the demo set (`datasets.demo`)."""

from __future__ import annotations

import numpy as np

from .published import fetch, require

__all__ = ["CLASSES", "PALETTE", "fetch", "require"]

CLASSES = [
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
]


def _palette() -> np.ndarray:
    index = np.arange(256)[:, None]
    channel = np.arange(3)
    colours = np.zeros((256, 3), int)
    for bit in range(8):
        colours |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.astype(np.uint8)


#: VOC's colour map: 256 x 3, uint8, RGB; bits of the index dealt to R, G, B from the top bit down.
PALETTE = _palette()
