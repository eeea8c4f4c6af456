"""Frames of videos: of files that OpenCV reads, of cameras, and of folders of numbered images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import FileError
from . import opencv as cv2
from .transformer import read_image

#: Names of the images in a folder: C3D's, and those of the tools that two-stream nets came with.
PATTERNS = ("%06d.jpg", "image_%04d.jpg", "image_%05d.jpg", "img_%05d.jpg", "frame%06d.jpg")


class Video:
    """The frames of a video file or of a camera, one after another.

    source: the path of a file, or the number of a camera. Raises FileError if neither opens.
    """

    def __init__(self, source: str | int) -> None:
        self.title = source if isinstance(source, str) else f"camera {source}"
        if isinstance(source, str) and not os.path.isfile(source):
            raise FileError(f"{source}: no such file; a video is needed")
        self._capture: Any = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            raise FileError(
                f"{self.title}: no video that OpenCV can read; convert it, or get it again"
            )
        #: The number of the next frame.
        self.number = 0

    def go_to(self, number: int) -> None:
        """Let frame `number` be the next, from 0 on."""
        if number != self.number:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            self.number = number

    @property
    def count(self) -> int:
        """The number of frames that the file says it has."""
        return int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def next(self) -> np.ndarray | None:
        """Return the next frame, uint8, H x W x 3 in BGR; None after the last."""
        valid, frame = self._capture.read()
        self.number += valid
        return frame if valid else None

    def close(self) -> None:
        """Free the file or the camera."""
        self._capture.release()


def read_video(path: str, numbers: Sequence[int]) -> list[np.ndarray]:
    """Return frames of a video file by their numbers, rising from 0 on. Raises FileError."""
    video = Video(path)
    frames = []
    try:
        video.go_to(numbers[0])
        for number in range(numbers[0], numbers[-1] + 1):
            frame = video.next()
            if frame is None:
                raise FileError(
                    f"{path}: ends before frame {number}; frame {numbers[-1]} is needed"
                )
            if number in numbers:
                frames.append(frame)
    finally:
        video.close()
    return frames


def name_pattern(folder: str, number: int) -> str:
    """Return the entry of PATTERNS that a folder uses for the names of images. Raises FileError."""
    for pattern in PATTERNS:
        if os.path.isfile(os.path.join(folder, pattern % number)):
            return pattern
    raise FileError(
        f"{folder}: has no image number {number}; one of "
        f"{', '.join(pattern % number for pattern in PATTERNS)} is needed"
    )


def read_frame(path: str, color: bool, size: tuple[int, int]) -> np.ndarray:
    """Return an image as `read_image` does. size: height and width. Raises FileError."""
    image = read_image(path, color, *size)
    if image is None:
        raise FileError(f"{path}: no image that can be read; mend the file or the list")
    return image


def count_frames(path: str) -> int:
    """Return the number of frames of a video file, or of images in a folder. Raises FileError."""
    if os.path.isdir(path):
        endings = (".jpg", ".jpeg", ".png", ".bmp")
        return sum(name.lower().endswith(endings) for name in os.listdir(path))
    video = Video(path)
    try:
        return video.count
    finally:
        video.close()
