"""PASCAL VOC: the names of its classes, its colours, and the mean that its nets subtract."""

from __future__ import annotations

import numpy as np

#: Class names by index; 0 is the background.
CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
#: Label of the pixels that neither training nor scoring counts.
IGNORE_LABEL = 255
#: Mean of ILSVRC's training images in B, G, R order, from the published data layers.
MEAN = (104.00699, 116.66877, 122.67892)


def palette(count: int = 256) -> np.ndarray:
    """Return VOC's colours of `count` class indices, count x 3, uint8, RGB; count is up to 2^24.

    The bits of the index are dealt to R, G and B in turn, lowest bit first, into the colours' bits
    from the highest down.
    """
    index = np.arange(count)[:, None]
    channel = np.arange(3)
    colours = np.zeros((count, 3), int)
    for bit in range(8):
        colours |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.astype(np.uint8)


#: Colours by class index, 256 x 3, uint8, RGB.
PALETTE = palette()
