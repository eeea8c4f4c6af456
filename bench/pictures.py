"""Reading the benchmark's data set of pictures; light enough for the process of every peer."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Tuple

import numpy as np
from PIL import Image

from fcn_common import voc


def net_input(photo: np.ndarray) -> np.ndarray:
    """Return a picture in B, G, R order, H x W x 3, as a net's input: 1 x 3 x H x W, float32."""
    data = photo.astype(np.float32) - np.array(voc.MEAN, np.float32)
    return np.ascontiguousarray(data.transpose(2, 0, 1))[None]


def picture_list(root: Path) -> Path:
    """Return the file with the names of the pictures of the data set in `root`."""
    return root / "ImageSets" / "Segmentation" / "seg11valid.txt"


def read_pictures(root: Path, count: int) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Yield the first `count` pictures as a net's input, and their truth, H x W, uint8."""
    for name in picture_list(root).read_text().split()[:count]:
        photo = np.asarray(Image.open(root / "JPEGImages" / f"{name}.jpg"))
        truth = np.asarray(Image.open(root / "SegmentationClass" / f"{name}.png"))
        yield net_input(photo[:, :, ::-1]), truth
