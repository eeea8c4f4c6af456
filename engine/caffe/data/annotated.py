"""Images with boxes: the drawn distortions, expansions and crops of SSD's data layer.

An image is uint8, H x W x 3 in BGR. Its objects are G x 7 rows: label, instance, xmin, ymin, xmax,
ymax as parts of the image, and whether the object is difficult. (Liu et al. 2016, "SSD", sections
2.2 and 3.6; data_transformer.cpp and sampler.cpp of weiliu89/caffe, branch ssd.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops import boxes
from . import changes
from . import opencv as cv2

#: Columns of an object's row.
LABEL, INSTANCE, CORNERS, DIFFICULT = 0, 1, slice(2, 6), 6
#: The window that is the whole image.
UNIT = np.array([0, 0, 1, 1], np.float32)


def read_objects(datum: Any) -> np.ndarray:
    """Return the objects of an AnnotatedDatum, G x 7."""
    rows = [
        (
            *(group.group_label, a.instance_id),
            *(a.bbox.xmin, a.bbox.ymin, a.bbox.xmax, a.bbox.ymax, a.bbox.difficult),
        )
        for group in datum.annotation_group
        for a in group.annotation
    ]
    return np.array(rows, np.float32).reshape(-1, 7)


def distorted(image: np.ndarray, p: Any, random: np.random.RandomState) -> np.ndarray:
    """Return an image whose brightness, contrast, saturation and hue are drawn.

    p: the DistortionParameter. Contrast comes second or last, with equal probability.
    """
    steps = [_brightness, _saturation, _hue]
    steps.insert(1 if random.rand() > 0.5 else 3, _contrast)
    for step in steps:
        image = step(image, p, random)
    if random.rand() < p.random_order_prob:
        image = np.ascontiguousarray(image[:, :, random.permutation(3)])
    return image


def _brightness(image: np.ndarray, p: Any, random: np.random.RandomState) -> np.ndarray:
    if random.rand() >= p.brightness_prob:
        return image
    return changes.to_bytes(image + random.uniform(-p.brightness_delta, p.brightness_delta))


def _contrast(image: np.ndarray, p: Any, random: np.random.RandomState) -> np.ndarray:
    if random.rand() >= p.contrast_prob:
        return image
    return changes.to_bytes(image * random.uniform(p.contrast_lower, p.contrast_upper))


def _saturation(image: np.ndarray, p: Any, random: np.random.RandomState) -> np.ndarray:
    if random.rand() >= p.saturation_prob:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    factor = random.uniform(p.saturation_lower, p.saturation_upper)
    hsv[:, :, 1] = changes.to_bytes(hsv[:, :, 1] * factor)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def _hue(image: np.ndarray, p: Any, random: np.random.RandomState) -> np.ndarray:
    if random.rand() >= p.hue_prob:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    # OpenCV's hues are 0 .. 179, two degrees each.
    turn = round(random.uniform(-p.hue_delta, p.hue_delta))
    hsv[:, :, 0] = (hsv[:, :, 0].astype(int) + turn) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def expanded(
    image: np.ndarray,
    objects: np.ndarray,
    p: Any,
    mean: Sequence[float],
    random: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image at a drawn place of a larger one, and its objects there.

    p: the ExpansionParameter. mean: the colour of the new border, one value for each channel.
    """
    ratio = random.uniform(1, max(1.0, p.max_expand_ratio))
    if random.rand() >= p.prob or ratio < 1.01:
        return image, objects
    height, width = image.shape[:2]
    rows, columns = int(height * ratio), int(width * ratio)
    top, left = (int(random.uniform(0, n)) for n in (rows - height, columns - width))
    larger = np.empty((rows, columns, image.shape[2]), np.uint8)
    larger[:] = changes.to_bytes(np.resize(np.array([*mean] or [0.0]), image.shape[2]))
    larger[top : top + height, left : left + width] = image
    moved = objects.copy()
    scale = np.array([width / columns, height / rows] * 2)
    moved[:, CORNERS] = objects[:, CORNERS] * scale + [left / columns, top / rows] * 2
    return larger, moved


def sample(samplers: Sequence[Any], objects: np.ndarray, random: np.random.RandomState) -> Any:
    """Return one of the windows that BatchSamplers draw, 4 corners; None where none is drawn."""
    windows: list[np.ndarray] = []
    for batch_sampler in samplers:
        if not batch_sampler.use_original_image:
            continue
        count = 0
        for _ in range(batch_sampler.max_trials):
            if batch_sampler.max_sample and count >= batch_sampler.max_sample:
                break
            window = _window(batch_sampler.sampler, random)
            if satisfies(window, objects, batch_sampler.sample_constraint):
                windows.append(window)
                count += 1
    return windows[random.randint(len(windows))] if windows else None


def _window(p: Any, random: np.random.RandomState) -> np.ndarray:
    """Return a window of a drawn size and place, inside the image."""
    scale = random.uniform(p.min_scale, p.max_scale)
    low, high = max(p.min_aspect_ratio, scale**2), min(p.max_aspect_ratio, 1 / scale**2)
    ratio = random.uniform(min(low, high), max(low, high))
    width, height = min(1.0, scale * math.sqrt(ratio)), min(1.0, scale / math.sqrt(ratio))
    left, top = random.uniform(0, 1 - width), random.uniform(0, 1 - height)
    return np.array([left, top, left + width, top + height], np.float32)


def satisfies(window: np.ndarray, objects: np.ndarray, p: Any) -> bool:
    """Return whether an object fits a window as the SampleConstraint `p` says.

    Overlap is the Jaccard overlap; sample coverage is the part of the window that the object
    covers, object coverage the part of the object in the window.
    """
    names = ("jaccard_overlap", "sample_coverage", "object_coverage")
    set_names = [name for name in names if p.HasField(f"min_{name}") or p.HasField(f"max_{name}")]
    if not set_names:
        return True
    corners = objects[:, CORNERS]
    values = {
        "jaccard_overlap": boxes.overlaps(window[None], corners)[0],
        "sample_coverage": coverage(np.broadcast_to(window, corners.shape), corners),
        "object_coverage": coverage(corners, np.broadcast_to(window, corners.shape)),
    }
    fits = np.zeros(len(objects), bool)
    valid = np.ones(len(objects), bool)
    for name in set_names:
        low = getattr(p, f"min_{name}") if p.HasField(f"min_{name}") else -np.inf
        high = getattr(p, f"max_{name}") if p.HasField(f"max_{name}") else np.inf
        valid &= (values[name] >= low) & (values[name] <= high)
        fits |= valid
    return bool(fits.any())


def coverage(windows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the part of each window that the other box in its row covers."""
    low, high = np.maximum(windows[:, :2], others[:, :2]), np.minimum(windows[:, 2:], others[:, 2:])
    shared = (high - low).clip(min=0).prod(1)
    areas = boxes.areas(windows)
    return shared / np.where(areas > 0, areas, 1)


def cropped(
    image: np.ndarray, objects: np.ndarray, window: np.ndarray, constraint: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of an image in a window, and the objects that remain.

    constraint: the EmitConstraint, or None where every object that the window touches remains.
    """
    height, width = image.shape[:2]
    left, top = int(window[0] * width), int(window[1] * height)
    right, bottom = (
        max(a + 1, int(b)) for a, b in ((left, window[2] * width), (top, window[3] * height))
    )
    return image[top:bottom, left:right], projected(objects, window, constraint)


def projected(objects: np.ndarray, window: np.ndarray, constraint: Any = None) -> np.ndarray:
    """Return the objects of an image relative to a window of the image, clipped to the window."""
    corners = objects[:, CORNERS]
    kept = np.ones(len(objects), bool)
    if constraint is not None and constraint.emit_type == constraint.CENTER:
        centre = (corners[:, :2] + corners[:, 2:]) / 2
        kept = ((centre >= window[:2]) & (centre <= window[2:])).all(1)
    elif constraint is not None:
        kept = coverage(corners, np.broadcast_to(window, corners.shape)) > constraint.emit_overlap
    size = window[2:] - window[:2]
    moved = ((corners - np.tile(window[:2], 2)) / np.tile(size, 2)).clip(0, 1)
    kept &= (moved[:, 2:] > moved[:, :2]).all(1)
    result = objects[kept].copy()
    result[:, CORNERS] = moved[kept]
    return result


def resized(
    image: np.ndarray, objects: np.ndarray, p: Any, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image at the size of a ResizeParameter, and its objects there."""
    rows, columns = image.shape[:2]
    result = changes.resized(image, p, random)
    if p.resize_mode != p.FIT_LARGE_SIZE_AND_PAD:
        return result, objects
    top, left, height, width = changes.place(p, rows, columns)
    moved = objects.copy()
    corners = objects[:, CORNERS] * ([width, height] * 2) + [left, top] * 2
    moved[:, CORNERS] = corners / ([p.width, p.height] * 2)
    return result, moved


def mirrored(image: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the image and its objects, left to right."""
    turned = objects.copy()
    turned[:, 2], turned[:, 4] = 1 - objects[:, 4], 1 - objects[:, 2]
    return image[:, ::-1], turned
