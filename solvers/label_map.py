"""Label maps: the class of every pixel, from scores, and as pictures.

A label map is H x W. Its type is uint8 for up to 256 classes and uint16 for up to 65536.
"""

from __future__ import annotations

from typing import Dict, Iterable, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from fcn_common import voc
from fcn_common.files import atomic_write

#: The first class index that needs a wider type than the indices below it, and that type.
WIDER_TYPES = {2**8: np.uint16, 2**16: np.int64}

#: Rows of a picture that `overlay` mixes at a time.
STRIP = 256


def highest(planes: Iterable[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
    """Return, for each element, the index of the plane with the highest value, and that value.

    planes: arrays of one shape, at least one.

    The first of equal values counts. The indices have the smallest of the types uint8, uint16 and
    int64 that holds them all. Where a plane is NaN, the value is NaN and the index is meaningless.
    """
    planes = iter(planes)
    best = np.array(next(planes))
    index = np.zeros(best.shape, np.uint8)
    higher, step = np.empty(best.shape, bool), np.empty_like(index)
    for k, plane in enumerate(planes, 1):
        if k in WIDER_TYPES:
            index = index.astype(WIDER_TYPES[k])
            step = np.empty_like(index)
        np.greater(plane, best, out=higher)
        np.maximum(best, plane, out=best)
        # The larger of two indices is the later one, because indices rise from plane to plane.
        np.multiply(higher.view(np.uint8), index.dtype.type(k), out=step)
        np.maximum(index, step, out=index)
    return index, best


def labels(scores: np.ndarray) -> np.ndarray:
    """Return `scores.argmax(1)` of N x K x H x W, several times as fast as NumPy: N x H x W.

    The type is uint8 for up to 256 classes, uint16 for up to 65536, and int64 for more. The first
    of equal scores counts, and the first NaN, as in NumPy.
    """
    index, best = highest(scores[:, k] for k in range(scores.shape[1]))
    if np.isnan(best).any():
        return scores.argmax(1).astype(index.dtype)
    return index


def save_labels(path: str, label: np.ndarray, palette: np.ndarray = voc.PALETTE) -> None:
    """Write a label map (H x W) as a PNG, atomically.

    A map of type uint16 becomes a 16-bit grey PNG, because PNG palettes have 256 colours. Every
    other map becomes an 8-bit PNG with `palette` (N x 3, uint8, RGB, N up to 256).

    Raises ValueError if 8 bits do not hold the labels of a map that is not of type uint16.
    """
    label = np.asarray(label)
    if label.dtype == np.uint16:
        image = Image.fromarray(label)
    else:
        wrong = label[(label < 0) | (label > 255)]
        if wrong.size:
            raise ValueError(
                f"{path}: label {wrong[0]} of a map of type {label.dtype}, needs 0..255, or a map "
                "of type uint16 for up to 65536 classes"
            )
        image = Image.fromarray(label.astype(np.uint8, copy=False))
        image.putpalette(palette.ravel().tolist())
    save_png(path, image)


def save_png(path: str, image: Image.Image) -> None:
    """Write a Pillow image as a PNG, atomically."""
    with atomic_write(path) as file:
        image.save(file, format="PNG")


def overlay(
    image: np.ndarray,
    label: np.ndarray,
    weight: float = 0.6,
    ignore_label: Optional[int] = voc.IGNORE_LABEL,
    palette: np.ndarray = voc.PALETTE,
) -> np.ndarray:
    """Return a photograph with the colour of each object laid over it, H x W x 3, uint8, RGB.

    image: H x W x 3, uint8, RGB. label: H x W.
    weight: the share of the object's colour in the mixture.
    ignore_label: a label whose pixels stay as they are, like the background's (0); None for a
        prediction, in which every label is a class.
    palette: N x 3, uint8, RGB. Classes beyond it have the colours of VOC's palette, continued.
    """
    count = int(label.max(initial=0)) + 1
    if count > len(palette):
        palette = np.concatenate([palette, voc.palette(count)[len(palette) :]])
    out = np.array(image)
    # Strips keep the mixtures of a large picture, which need 50 bytes a pixel, small.
    for first in range(0, len(label), STRIP):
        rows = slice(first, first + STRIP)
        objects = label[rows] > 0
        if ignore_label is not None:
            objects &= label[rows] != ignore_label
        colours = palette[label[rows][objects]]
        mixture = image[rows][objects] * (1 - weight) + colours.astype(np.float64) * weight
        out[rows][objects] = np.round(mixture).astype(np.uint8)
    return out


def shares(label: np.ndarray, names: Sequence[str]) -> Dict[str, float]:
    """Return the classes in a label map and the fraction of the pixels of each, largest first.

    names: the class names by index.
    """
    counts = np.bincount(label.ravel())
    order = sorted(((n, k) for k, n in enumerate(counts) if n), reverse=True)
    return {names[k]: n / label.size for n, k in order}
