"""Cases of layers that sample places of a map: regions, masks, spatial transformers, Local."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .case import Arrays, Case, normal


def at(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """Return the bilinear value of C x H x W at a place; 0 beyond the map."""
    total = np.zeros(len(image))
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                weight = (1 - abs(y - row)) * (1 - abs(x - column))
                total += weight * image[:, row, column]
    return total


def aligned(bottoms: Arrays, size: int, scale: float, samples: int) -> np.ndarray:
    """Return ROIAlign's top by loops over bins and samples."""
    x, rois = bottoms
    y = np.zeros((len(rois), x.shape[1], size, size))
    for r, (image, *corners) in enumerate(rois):
        left, top, right, bottom = (scale * c for c in corners)
        height, width = max(bottom - top, 1), max(right - left, 1)
        for i, j, a, b in np.ndindex(size, size, samples, samples):
            row = top + (i + (a + 0.5) / samples) * height / size
            column = left + (j + (b + 0.5) / samples) * width / size
            if -1 < row < x.shape[2] and -1 < column < x.shape[3]:
                row = min(max(row, 0), x.shape[2] - 1)
                column = min(max(column, 0), x.shape[3] - 1)
                y[r, :, i, j] += at(x[int(image)], row, column) / samples**2
    return y


def warped_regions(bottoms: Arrays, size: int, scale: float) -> np.ndarray:
    """Return ROIWarping's top: a bilinear value at regular places from the corner on."""
    x, rois = bottoms
    y = np.zeros((len(rois), x.shape[1], size, size))
    for r, (image, *corners) in enumerate(rois):
        left, top, right, bottom = (scale * c for c in corners)
        for i, j in np.ndindex(size, size):
            row = top + i / size * (bottom - top)
            y[r, :, i, j] = at(x[int(image)], row, left + j / size * (right - left))
    return y


def resized_masks(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return MaskResize's top."""
    y = np.zeros((*x.shape[:2], height, width))
    for n, i, j in np.ndindex(len(x), height, width):
        row = min(i * x.shape[2] / height, x.shape[2] - 1)
        y[n, :, i, j] = at(x[n], row, min(j * x.shape[3] / width, x.shape[3] - 1))
    return y


def transformed(bottoms: Arrays, height: int, width: int, first: float | None) -> np.ndarray:
    """Return SpatialTransformer's top; `first` is theta_1_1 where the prototxt fixes it."""
    x, thetas = bottoms
    y = np.zeros((*x.shape[:2], height, width))
    for n, i, j in np.ndindex(len(x), height, width):
        numbers = list(thetas[n].ravel())
        theta = np.reshape(numbers if first is None else [first, *numbers], (2, 3))
        row, column = theta @ [2 * i / height - 1, 2 * j / width - 1, 1]
        y[n, :, i, j] = at(x[n], (row + 1) / 2 * x.shape[2], (column + 1) / 2 * x.shape[3])
    return y


def local(bottoms: Arrays, parameters: Arrays, kernel: int, stride: int, pad: int) -> np.ndarray:
    """Return Local's top: other weights at each position."""
    x = np.pad(bottoms[0], [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    weights, bias = parameters
    rows, columns = ((n - kernel) // stride + 1 for n in x.shape[2:])
    y = np.zeros((len(x), len(weights), rows, columns))
    for n, o, i, j in np.ndindex(y.shape):
        patch = x[n, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
        place = i * columns + j
        y[n, o, i, j] = patch.ravel() @ weights[o, 0, :, place] + bias[0, 0, o, place]
    return y


def cubic(x: np.ndarray, factor: int) -> np.ndarray:
    """Return maps enlarged by OpenCV's cubic interpolation."""
    size = (x.shape[3] * factor, x.shape[2] * factor)
    maps = [[cv2.resize(m, size, interpolation=cv2.INTER_CUBIC) for m in image] for image in x]
    return np.array(maps)


def regions(random: np.random.RandomState) -> list[np.ndarray]:
    """Draw features 2 x 3 x 7 x 8 and four regions, one of them partly outside."""
    rois = [[0, 1, 2, 20, 22], [1, 5, 3, 27.5, 17], [1, 0, 0, 30, 27], [0, -3, 4, 9, 40]]
    return [random.standard_normal((2, 3, 7, 8)), np.array(rois)]


def inner_regions(random: np.random.RandomState) -> list[np.ndarray]:
    """Draw features 2 x 3 x 7 x 8 and two regions inside the map."""
    rois = [[0, 1.3, 2.1, 20.2, 22.3], [1, 5.4, 3.3, 25.1, 17.2]]
    return [random.standard_normal((2, 3, 7, 8)), np.array(rois)]


def places(numbers: int):  # type: ignore[no-untyped-def]
    """Return a function that draws an image 2 x 3 x 6 x 5 and numbers of theta."""

    def draw(random: np.random.RandomState) -> list[np.ndarray]:
        return [random.standard_normal((2, 3, 6, 5)), 0.6 * random.standard_normal((2, numbers))]

    return draw


MNC = "Dai et al. 2016, MNC; daijifeng001/MNC"
STN = "Jaderberg et al. 2015; daerduoCarey/SpatialTransformerLayer"

CASES = [
    Case(
        "ROIAlign",
        "roi_align_param { pooled_h: 3 pooled_w: 3 spatial_scale: 0.25 }",
        regions,
        "He et al. 2017, Mask R-CNN",
        lambda b, p: aligned(b, 3, 0.25, 2),
    ),
    Case(
        "ROIWarping",
        "roi_warping_param { pooled_h: 3 pooled_w: 3 spatial_scale: 0.25 }",
        inner_regions,
        MNC,
        lambda b, p: warped_regions(b, 3, 0.25),
    ),
    Case("MaskPooling", "", normal((3, 4, 5, 5), (3, 1, 5, 5)), MNC, lambda b, p: b[0] * b[1]),
    Case(
        "MaskResize",
        "mask_resize_param { output_height: 4 output_width: 9 }",
        normal((2, 3, 7, 6)),
        MNC,
        lambda b, p: resized_masks(b[0], 4, 9),
    ),
    Case(
        "SpatialTransformer",
        "st_param { output_H: 4 output_W: 7 }",
        places(6),
        STN,
        lambda b, p: transformed(b, 4, 7, None),
    ),
    Case(
        "SpatialTransformer",
        "st_param { output_H: 4 output_W: 7 theta_1_1: 0.5 }",
        places(5),
        STN,
        lambda b, p: transformed(b, 4, 7, 0.5),
        "theta_1_1 is fixed",
    ),
    Case(
        "Local",
        "local_param { num_output: 3 kernel_size: 3 stride: 2 pad: 1 }",
        normal((2, 4, 6, 5)),
        "Taigman et al. 2014, DeepFace; happynear/caffe-windows",
        lambda b, p: local(b, p, 3, 2, 1),
        learns=(0, 1),
    ),
    Case(
        "ImResize",
        "imresize_param { factor: 4 }",
        normal((1, 2, 5, 6)),
        "Cao et al. 2017; CMU's rtpose",
        lambda b, p: cubic(b[0], 4),
    ),
]
