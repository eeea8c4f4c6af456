"""Changes of an image and its labels in training: scale, mirror, crop; and batches of images.

The papers train without them ("Augmentation", arXiv 1411.4038, section 4.3), so all are off by
default. Nothing here depends on Caffe: arrays in, arrays out.
"""

from __future__ import annotations

import math
import random
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
from PIL import Image

#: Pillow's filters, which lie elsewhere before Pillow 9.1.
FILTERS = getattr(Image, "Resampling", Image)


class Augmentation(NamedTuple):
    """How the images of a train split are changed.

    mirror: half of the images are mirrored, left to right. crop: height and width in pixels of the
    random window that is cut out; 0: none. scale: the least and the greatest factor of the size,
    drawn so that halving is as likely as doubling.
    """

    mirror: bool = False
    crop: int = 0
    scale: Tuple[float, float] = (1.0, 1.0)

    def check(self, name: str) -> None:
        """Raise ValueError, which begins with `name`, for a value that makes no image."""
        if self.crop < 0:
            raise ValueError(f"{name}: crop is {self.crop}, needs a number of pixels, or 0: none")
        factors = [f for f in self.scale if isinstance(f, (int, float)) and 0 < f < math.inf]
        if len(factors) != 2 or factors != sorted(factors) or len(self.scale) != 2:
            raise ValueError(
                f"{name}: scale is {self.scale}, needs two factors above 0, the smaller one first"
            )

    def pixels(self, pixels: float) -> float:
        """Return the mean number of pixels of an image that had `pixels` before."""
        low, high = self.scale
        if low < high:  # the mean of the squared factor, whose logarithm is uniform
            pixels *= (high**2 - low**2) / (2 * math.log(high / low))
        else:
            pixels *= low**2
        return float(min(pixels, self.crop**2)) if self.crop else pixels

    def apply(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        ignored: Sequence[int],
        seed: str,
    ) -> Tuple[List[np.ndarray], List[np.ndarray]]:
        """Return the images (C x H x W, float32) and the label maps (1 x H x W), changed alike.

        Images are scaled bilinearly, labels to the nearest pixel. A window that is larger than
        the image is filled up with 0 and with ignored labels at the right and at the bottom.
        ignored: the ignored label of each map. seed: of the draw, from which the change follows.
        """
        rng = random.Random(seed)
        low, high = (math.log(factor) for factor in self.scale)
        factor = math.exp(rng.uniform(low, high))
        images, labels = list(images), list(labels)
        if factor != 1:
            height, width = (max(1, round(side * factor)) for side in images[0].shape[1:])
            images = [scale_image(image, height, width) for image in images]
            labels = [scale_labels(label, height, width) for label in labels]
        if self.mirror and rng.random() < 0.5:
            images = [image[:, :, ::-1] for image in images]
            labels = [label[:, :, ::-1] for label in labels]
        if self.crop:
            rows, columns = (max(0, side - self.crop) for side in images[0].shape[1:])
            top, left = rng.randint(0, rows), rng.randint(0, columns)
            window = np.s_[:, top : top + self.crop, left : left + self.crop]
            images = [pad(image[window], self.crop, self.crop) for image in images]
            labels = [
                pad(label[window], self.crop, self.crop, value)
                for label, value in zip(labels, ignored)
            ]
        return images, labels


def scale_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an image (C x H x W) as C x height x width, float32, bilinearly."""
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), FILTERS.BILINEAR))
        for plane in np.asarray(image, np.float32)
    ]
    return np.stack(planes)


def scale_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a label map (1 x H x W) as 1 x height x width: the label of the nearest pixel."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip((height, width), labels.shape[1:])
    )
    return labels[:, rows[:, None], columns[None]]


def pad(array: np.ndarray, height: int, width: int, value: int = 0) -> np.ndarray:
    """Return C x H x W as C x height x width, filled up with `value` at the right and below."""
    rows, columns = height - array.shape[1], width - array.shape[2]
    if not rows and not columns:
        return array
    return np.pad(array, ((0, 0), (0, rows), (0, columns)), mode="constant", constant_values=value)


def join(arrays: Sequence[np.ndarray], value: int = 0) -> np.ndarray:
    """Return arrays C x H x W of several sizes as a batch, N x C x H x W of the largest size."""
    height = max(array.shape[1] for array in arrays)
    width = max(array.shape[2] for array in arrays)
    return np.stack([pad(array, height, width, value) for array in arrays])
