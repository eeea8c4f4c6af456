"""What SSD's data transformer does to whole images: resize_param and noise_param.

An image is uint8, H x W or H x W x C. (Liu et al. 2016, "SSD"; data_transformer.cpp and
im_transforms.cpp of weiliu89/caffe, branch ssd.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import opencv as cv2

#: OpenCV's names by the number in ResizeParameter.Interp_mode, from 1 on.
INTERPOLATION = ("", "INTER_LINEAR", "INTER_AREA", "INTER_NEAREST", "INTER_CUBIC", "INTER_LANCZOS4")
#: OpenCV's names by the number in ResizeParameter.Pad_mode, from 1 on.
BORDERS = ("", "BORDER_CONSTANT", "BORDER_REFLECT101", "BORDER_REPLICATE")


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Return values rounded to uint8, the nearest of 0 .. 255."""
    return np.rint(values).clip(0, 255).astype(np.uint8)


def size_after(p: Any, rows: int, columns: int) -> tuple[int, int]:
    """Return the height and width of an image of this size after `resized`."""
    if p.resize_mode != p.FIT_SMALL_SIZE:
        return p.height, p.width
    scale = max(p.height / rows, p.width / columns)
    return round(rows * scale), round(columns * scale)


def scaled(rows: int, columns: int, side: int) -> tuple[int, int]:
    """Return the height and width that give the shorter side of an image this size."""
    factor = side / min(rows, columns)
    return max(1, round(rows * factor)), max(1, round(columns * factor))


def drawn_size(image: np.ndarray, p: Any, side: int) -> np.ndarray:
    """Return the image with this shorter side, as a TransformationParameter of NVCaffe says."""
    rows, columns = image.shape[:2]
    height, width = scaled(rows, columns, side)
    algorithm = p.interpolation_algo_down
    if side > min(rows, columns):
        algorithm = p.interpolation_algo_up
    how = getattr(cv2, p.InterpolationAlgo.Name(algorithm))
    return cv2.resize(image, (width, height), interpolation=how)


def place(p: Any, rows: int, columns: int) -> tuple[int, int, int, int]:
    """Return top, left, height and width of an image in the larger one of FIT_LARGE_SIZE_AND_PAD.

    rows, columns: the size of the image before it is resized.
    """
    scale = min(p.height / rows, p.width / columns)
    height, width = max(1, int(rows * scale)), max(1, int(columns * scale))
    return (p.height - height) // 2, (p.width - width) // 2, height, width


def resized(image: np.ndarray, p: Any, random: np.random.RandomState) -> np.ndarray:
    """Return the image at the size of a ResizeParameter.

    WARP ignores the image's proportions, FIT_LARGE_SIZE_AND_PAD keeps them and fills the rest,
    FIT_SMALL_SIZE keeps them, so that the smaller side is the smaller of height and width. One of
    interp_mode is drawn.
    """
    modes = p.interp_mode or [p.LINEAR]
    how = getattr(cv2, INTERPOLATION[modes[random.randint(len(modes))]])
    rows, columns = image.shape[:2]
    if p.resize_mode != p.FIT_LARGE_SIZE_AND_PAD:
        height, width = size_after(p, rows, columns)
        return cv2.resize(image, (width, height), interpolation=how)
    top, left, height, width = place(p, rows, columns)
    smaller = cv2.resize(image, (width, height), interpolation=how)
    value = [*np.resize(np.array([*p.pad_value] or [0.0]), 3)]
    border = (top, p.height - height - top, left, p.width - width - left)
    return cv2.copyMakeBorder(smaller, *border, getattr(cv2, BORDERS[p.pad_mode]), value=value)


def noisy(image: np.ndarray, p: Any, random: np.random.RandomState) -> np.ndarray:
    """Return the image with the changes that a NoiseParameter switches on, with probability prob.

    Without prob they are made always.
    """
    if p.HasField("prob") and random.rand() >= p.prob:
        return image
    if p.decolorize:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if p.gauss_blur:
        image = cv2.GaussianBlur(image, (7, 7), 1.5)
    if p.hist_eq:
        image = _on_lightness(image, cv2.equalizeHist)
    if p.clahe:
        image = _on_lightness(image, cv2.createCLAHE(4).apply)
    if p.jpeg > 0:
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(p.jpeg)])
        image = cv2.imdecode(code, cv2.IMREAD_COLOR)
    if p.erode:
        image = cv2.erode(image, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    if p.posterize:
        image = image // 64 * 64
    if p.inverse:
        image = 255 - image
    if p.saltpepper:
        image = image.copy()
        drawn = random.rand(*image.shape[:2]) < p.saltpepper_param.fraction
        values = [*p.saltpepper_param.value] or [0, 255]
        image[drawn] = to_bytes(np.array(values))[random.randint(len(values), size=drawn.sum())][
            :, None
        ]
    if p.convert_to_hsv:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    if p.convert_to_lab:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2LAB)
    return image


def _on_lightness(image: np.ndarray, change: Any) -> np.ndarray:
    lab = cv2.cvtColor(image, cv2.COLOR_BGR2LAB)
    lab[:, :, 0] = change(np.ascontiguousarray(lab[:, :, 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)
