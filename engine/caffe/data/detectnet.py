"""DetectNet's training data: boxes in DIGITS' format, which become maps and move with their image.

NVIDIA's DetectNet (Tao, Barker & Sarathy 2016, "DetectNet: Deep Neural Network for Object
Detection in DIGITS"). A box is a row (xmin, ymin, xmax, ymax) in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import opencv as cv2

#: Numbers of an object in DIGITS' labels: xmin, ymin, width, height, angle, class, and ten others.
COLUMNS = 16
#: Maps before the coverages: foreground, four corners, 1 / width, 1 / height, and the weight.
MAPS = 8


class Objects(NamedTuple):
    """Boxes, K x 4, and classes, K."""

    boxes: np.ndarray
    classes: np.ndarray


def label_array(boxes: Any, classes: Sequence[int], most: int = 64) -> np.ndarray:
    """Return objects as DIGITS stores them, 1 x (1 + most) x 16, for `caffe.io.array_to_datum`.

    boxes: K x 4. The first row has the number of objects and 16; the others have an object each.
    Raises ValueError for more than `most` objects.
    """
    if len(boxes) > most:
        raise ValueError(f"{len(boxes)} objects; {most} is the limit")
    label = np.zeros((1, 1 + most, COLUMNS))
    label[0, 0, :2] = len(boxes), COLUMNS
    corners = np.reshape(boxes, (-1, 4))
    rows = label[0, 1 : 1 + len(boxes)]
    rows[:, :4] = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    rows[:, 5] = classes
    return label


def read_labels(label: np.ndarray) -> Objects:
    """Return the objects of a label (1 + most) x 16. Raises ValueError for any other array."""
    count, columns = label[0, :2].tolist()
    if columns != COLUMNS or label.shape[1] != COLUMNS or not 0 <= count < len(label):
        raise ValueError(
            f"a label of shape {label.shape} says that it has {count:g} objects of {columns:g} "
            f"numbers; DIGITS' labels have {COLUMNS} numbers a row"
        )
    rows = label[1 : 1 + int(count)].astype(np.float64)
    corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], 1)
    return Objects(corners, rows[:, 5].astype(int))


def label_maps(objects: Objects, channels: Mapping[int, int], p: Any) -> np.ndarray:
    """Return the maps that DetectNet learns, (8 + classes) x H x W, float32.

    channels: the map of coverage of each class. p: a DetectNetGroundTruthParameter. The layer
    DetectNetTransformation says what the maps are.
    """
    columns, rows = p.image_size_x // p.stride, p.image_size_y // p.stride
    maps = np.zeros((MAPS + 1 + max(channels.values()), rows, columns), np.float32)
    # The pixels of the cell's object in the cell, and the lower edge of the object.
    pixels, edges = np.zeros((2, rows, columns))
    starts = np.mgrid[:rows, :columns][::-1] * p.stride
    limits = np.array([p.image_size_x, p.image_size_y] * 2)
    for box, name in zip(objects.boxes, objects.classes.tolist()):
        corners = box.clip(0, limits) if p.crop_bboxes else box
        sides = corners[2:] - corners[:2]
        if name not in channels or (sides <= 0).any():
            continue
        (left, top), (right, bottom) = _cells(corners, p, (columns, rows))
        if left >= right or top >= bottom:
            continue
        cells = np.s_[..., top:bottom, left:right]
        start = starts[cells]
        low = np.maximum(corners[:2, None, None], start)
        shared = (np.minimum(corners[2:, None, None], start + p.stride) - low).clip(0).prod(0)
        better = (shared > pixels[cells]) | (
            (shared == pixels[cells]) & (corners[3] > edges[cells]) & (shared > 0)
        )
        weight = 1 / shared.size if p.obj_norm else 1.0
        values = np.zeros((len(maps), *shared.shape))
        values[1:5] = corners[:, None, None] - np.concatenate([start, start])
        values[5:8] = np.array([1 / sides[0], 1 / sides[1], weight])[:, None, None]
        values[[0, MAPS + channels[name]]] = 1
        maps[cells] = np.where(better, values, maps[cells])
        pixels[cells] = np.where(better, shared, pixels[cells])
        edges[cells] = np.where(better, corners[3], edges[cells])
    return maps


def _cells(corners: np.ndarray, p: Any, size: Sequence[int]) -> np.ndarray:
    """Return the first cell (x, y) that a box covers, and the one behind its last."""
    sides = corners[2:] - corners[:2]
    lengths = p.scale_cvg * sides
    if p.gridbox_type == p.GRIDBOX_MIN:
        lengths = np.minimum(np.maximum(lengths, p.min_cvg_len), sides)
    else:
        lengths = np.minimum(lengths, p.max_cvg_len)
    center = (corners[:2] + corners[2:]) / 2
    first = np.floor((center - lengths / 2) / p.stride).astype(int)
    last = np.maximum(np.ceil((center + lengths / 2) / p.stride).astype(int), first + 1)
    return np.stack([first, last]).clip(0, size)


def drawn_move(p: Any, size: Sequence[int], random: np.random.RandomState) -> np.ndarray:
    """Return the 3 x 3 matrix of a drawn change of the places in an image of `size` (x, y).

    p: a DetectNetAugmentationParameter. Each change has its probability: a mirror image, a turn
    by at most max_rotate_degree, a scale from scale_min to scale_max, all around the centre, and a
    shift by at most shift_x and shift_y whole pixels.
    """
    center, move = _shift(np.array(size) / 2), np.eye(3)
    if random.rand() < p.flip_prob:
        move = np.diag([-1.0, 1, 1])
    if random.rand() < p.rotation_prob:
        angle = np.deg2rad(random.uniform(-1, 1) * p.max_rotate_degree)
        turn = np.eye(3)
        turn[:2, :2] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        move = turn @ move
    if random.rand() < p.scale_prob:
        scale = random.uniform(p.scale_min, p.scale_max)
        move = np.diag([scale, scale, 1]) @ move
    move = center @ move @ np.linalg.inv(center)
    if random.rand() < p.crop_prob:
        steps = [random.randint(-int(n), int(n) + 1) for n in (p.shift_x, p.shift_y)]
        move = _shift(np.array(steps)) @ move
    return move


def _shift(vector: np.ndarray) -> np.ndarray:
    matrix = np.eye(3)
    matrix[:2, 2] = vector
    return matrix


def moved_image(image: np.ndarray, move: np.ndarray) -> np.ndarray:
    """Return an image C x H x W with its places changed; 0 where the image does not reach."""
    # A matrix is about places whose pixel i spans i .. i + 1; OpenCV's pixel i lies at i.
    half = np.array([0.5, 0.5])
    matrix = (_shift(-half) @ move @ _shift(half))[:2]
    size = image.shape[:0:-1]
    return np.stack([cv2.warpAffine(channel, matrix, size) for channel in image])


def moved_boxes(boxes: np.ndarray, move: np.ndarray) -> np.ndarray:
    """Return the boxes around the changed boxes, K x 4."""
    corners = boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 4, 2)
    places = corners @ move[:2, :2].T + move[:2, 2]
    return np.concatenate([places.min(1), places.max(1)], 1)


def recoloured(image: np.ndarray, p: Any, random: np.random.RandomState) -> np.ndarray:
    """Return an image 3 x H x W, blue first, with drawn changes of its hue and saturation.

    p: a DetectNetAugmentationParameter. With hue_rotation_prob hues turn by at most hue_rotation
    degrees; with desaturation_prob saturations shrink by at most the part desaturation_max.
    """
    turn = random.rand() < p.hue_rotation_prob
    fade = random.rand() < p.desaturation_prob
    if not (turn or fade):
        return image
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0), np.float32) / np.float32(255)
    hsv = cv2.cvtColor(pixels, cv2.COLOR_BGR2HSV)
    if turn:
        hsv[..., 0] = (hsv[..., 0] + random.uniform(-1, 1) * p.hue_rotation) % 360
    if fade:
        hsv[..., 1] *= 1 - random.uniform(0, p.desaturation_max)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR).transpose(2, 0, 1) * np.float32(255)
