"""WindowData: windows of images, as R-CNN trains on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import glog
from ..data.transformer import Random, planes, read_image
from .prefetching import Prefetching
from .registry import register
from .text_files import read_words


class ImageWindow(NamedTuple):
    """A window of an image: the pixels from column x1 and row y1 to x2 and y2, both included."""

    #: The number of the image.
    image: int
    #: The class, 0 for background.
    label: int
    #: The overlap with an object.
    overlap: float
    x1: int
    y1: int
    x2: int
    y2: int


class Placement(NamedTuple):
    """The pixels x1 .. y2 of an image, their size after warping, and their place in the square."""

    x1: int
    y1: int
    x2: int
    y2: int
    #: Width and height after warping.
    size: tuple[int, int]
    left: int = 0
    top: int = 0


@register
class WindowData(Prefetching):
    """Windows of images, warped to squares of crop_size (window_data_layer.cpp).

    Of each batch, fg_fraction are objects, with an overlap of at least fg_threshold, and the rest
    is background, with an overlap below bg_threshold and label 0. `source` lists for each image

        # number
        path
        channels
        height
        width
        count, and for each of the windows a line: label overlap x1 y1 x2 y2
    """

    tops = (2, 2)
    settings = "window_data_param"

    def open(self) -> Sequence[int]:
        p, transform = self.layer_param.window_data_param, self.layer_param.transform_param
        self.crop = self.positive(transform.crop_size, "crop_size")
        if p.crop_mode not in ("warp", "square"):
            raise self.error(f"crop_mode is {p.crop_mode!r}; it needs to be warp or square")
        if self.crop <= 2 * p.context_pad:
            raise self.error(
                f"context_pad is {p.context_pad}; it needs to be below half of crop_size "
                f"{self.crop}"
            )
        self.random = Random()
        #: The path and the number of channels of each image.
        self.images: list[tuple[str, int]] = []
        self.foreground: list[ImageWindow] = []
        self.background: list[ImageWindow] = []
        self._read_windows(p)
        for kind, windows in (("object", self.foreground), ("background", self.background)):
            if not windows:
                raise self.file_error(f"{p.source}: has no {kind} windows; it needs at least 1")
        glog.write("window_data_layer.cpp:137", f"Number of images: {len(self.images)}")
        return self.images[-1][1], self.crop, self.crop

    def _read_windows(self, p: Any) -> None:
        """Read `source` into images, foreground and background."""
        words = iter(read_words(self, p.source))
        try:
            while next(words, None) is not None:
                next(words)  # the number of the image
                self._read_image_windows(p, words)
        except (StopIteration, ValueError):
            raise self.file_error(
                f"{p.source}: its image {len(self.images)} is not of the form '# number, path, "
                "channels, height, width, count, then a line of label overlap x1 y1 x2 y2 each'"
            ) from None

    def _read_image_windows(self, p: Any, words: Iterator[str]) -> None:
        """Read one image and its windows. Raises StopIteration or ValueError for another form."""
        index, path = len(self.images), p.root_folder + next(words)
        channels, _, _, count = (int(next(words)) for _ in range(4))
        self.images.append((path, channels))
        for _ in range(count):
            label, overlap = int(next(words)), np.float32(next(words))
            corners = [int(next(words)) for _ in range(4)]
            if overlap >= np.float32(p.fg_threshold):
                if label < 1:
                    raise self.file_error(
                        f"{p.source}: an object window has label {label}; it needs at least 1"
                    )
                self.foreground.append(ImageWindow(index, label, float(overlap), *corners))
            elif overlap < np.float32(p.bg_threshold):
                self.background.append(ImageWindow(index, 0, 0, *corners))

    def source_position(self) -> dict[str, Any]:
        return {"random": self.random.state()}

    def set_source_position(self, values: dict[str, Any]) -> None:
        self.random.set_state(values["random"])

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        count = int(np.float32(self.batch_size) * self.layer_param.window_data_param.fg_fraction)
        kinds = [self.background] * (self.batch_size - count) + [self.foreground] * count
        images, labels = [], []
        for windows in kinds:
            window = windows[self.random.below(len(windows))]
            mirror = self.layer_param.transform_param.mirror and self.random.below(2) == 1
            images.append(self._warp(window, mirror))
            labels.append(window.label)
        return np.stack(images), np.array(labels, np.float32)

    def _warp(self, window: ImageWindow, mirror: bool) -> np.ndarray:
        """Return the window with its context, less the mean: C x crop x crop, 0 off the image."""
        import cv2  # imported here because most nets read no images

        path = self.images[window.image][0]
        image = read_image(path, True)
        if image is None:
            raise self.file_error(f"{path}: no image that can be read; mend the file or the list")
        place = self._place(window, image.shape[0], image.shape[1], mirror)
        part = image[place.y1 : place.y2 + 1, place.x1 : place.x2 + 1]
        if not part.size:
            raise self.file_error(
                f"{path}: window {tuple(window[3:])} lies outside the image of "
                f"{image.shape[1]} x {image.shape[0]}"
            )
        part = planes(cv2.resize(part, place.size)).astype(np.float32)
        part = part[:, :, ::-1] if mirror else part
        out = np.zeros((part.shape[0], self.crop, self.crop), np.float32)
        rows = slice(place.top, place.top + part.shape[1])
        columns = slice(place.left, place.left + part.shape[2])
        mean, p = self.transformer.mean, self.layer_param.transform_param
        if mean is not None:
            if p.mean_file:
                off = (mean.shape[2] - self.crop) // 2
                mean = mean[:, off:, off:][:, rows, columns]
            # As in Caffe, `scale` applies only to a window from which a mean is subtracted.
            part = (part - mean) * np.float32(p.scale)
        out[:, rows, columns] = part
        return out

    def _place(self, w: ImageWindow, height: int, width: int, mirror: bool) -> Placement:
        """Return a window with context_pad pixels around it, and the place of both in the crop.

        height, width: the size of the image. The numbers are computed in float32, as in Caffe.
        """
        p, crop = self.layer_param.window_data_param, self.crop
        square = p.crop_mode == "square"
        if not (p.context_pad or square):
            return Placement(w.x1, w.y1, w.x2, w.y2, (crop, crop))
        f = np.float32
        context = f(crop) / f(crop - 2 * p.context_pad)
        half_h, half_w = f(w.y2 - w.y1 + 1) / f(2), f(w.x2 - w.x1 + 1) / f(2)
        x, y = f(w.x1) + half_w, f(w.y1) + half_h
        if square:
            half_h = half_w = max(half_h, half_w)
        x1, x2 = _round(x - half_w * context), _round(x + half_w * context)
        y1, y2 = _round(y - half_h * context), _round(y + half_h * context)
        scale_x, scale_y = f(crop) / f(x2 - x1 + 1), f(crop) / f(y2 - y1 + 1)
        before, after = max(0, -x1), max(0, x2 - width + 1)
        above, below = max(0, -y1), max(0, y2 - height + 1)
        x1, x2, y1, y2 = x1 + before, x2 - after, y1 + above, y2 - below
        left = _round(f(after if mirror else before) * scale_x)
        top = _round(f(above) * scale_y)
        warped_width = min(_round(f(x2 - x1 + 1) * scale_x), crop - left)
        warped_height = min(_round(f(y2 - y1 + 1) * scale_y), crop - top)
        return Placement(x1, y1, x2, y2, (warped_width, warped_height), left, top)


def _round(value: float | np.floating) -> int:
    """Return the nearest integer; halves are rounded away from zero, as by C's round."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), float(value)))
