"""What transform_param does to an image: crop, mirror, mean, scale, in that order of Caffe's."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

import numpy as np

from .. import mode
from ..errors import CaffeError
from ..proto import caffe_pb2
from ..weights import read_blob


class Random:
    """Caffe's random integers: a Mersenne Twister, seeded from the one of `set_random_seed`."""

    def __init__(self) -> None:
        self._rng = np.random.RandomState(draw(mode.rng()))

    def __call__(self) -> int:
        return draw(self._rng)

    def below(self, n: int) -> int:
        """An integer in 0 .. n - 1, as the remainder of a draw."""
        return self() % n

    def evenly_below(self, n: int) -> int:
        """An integer in 0 .. n - 1, each as likely: boost's uniform_int."""
        bucket = 2**32 // n
        while (value := self() // bucket) >= n:
            pass
        return value

    def shuffle(self, items: MutableSequence) -> None:
        """Fisher and Yates' shuffle from the end, in place."""
        for i in range(len(items) - 1, 0, -1):
            j = self.evenly_below(i + 1)
            items[i], items[j] = items[j], items[i]


def draw(rng: np.random.RandomState) -> int:
    """The next 32 bits of a Mersenne Twister."""
    return int(rng.randint(0, 2**32, dtype=np.uint32))


class DataTransformer:
    """Applies a TransformationParameter to images C x H x W.

    param: the TransformationParameter.
    phase: crops are drawn at random in TRAIN, from the centre in TEST.
    where: names the layer in errors.
    """

    def __init__(self, param: Any, phase: int, where: str) -> None:
        self.param, self.train, self.where = param, phase == caffe_pb2.TRAIN, where
        self.mean: np.ndarray | None = None
        if param.mean_file and param.mean_value:
            raise CaffeError(f"{where}: has both mean_file and mean_value; give one of them")
        if param.mean_file:
            mean = read_blob(param.mean_file)
            self.mean = mean.reshape(mean.shape[-3:])
        elif param.mean_value:
            self.mean = np.array(param.mean_value, np.float32)[:, None, None]
        self._random: Random | None = None

    def seed(self) -> None:
        """Start the random numbers of mirrors and crops, if there are any."""
        if self.param.mirror or (self.train and self.param.crop_size):
            self._random = Random()

    def shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """The shape that an image of this shape gets."""
        crop = self.param.crop_size
        if crop > min(height, width):
            raise CaffeError(
                f"{self.where}: crop_size is {crop}, but an image is {height} x {width}"
            )
        return (channels, crop, crop) if crop else (channels, height, width)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image, uint8 or float C x H x W, transformed to float32."""
        _, high, wide = self.shape(*image.shape)
        mean = self._mean(image.shape)
        mirror = self.param.mirror and self._below(2)
        top, left = image.shape[1] - high, image.shape[2] - wide
        if self.param.crop_size and self.train:
            top, left = self._below(top + 1), self._below(left + 1)
        else:
            top, left = top // 2, left // 2
        window = slice(top, top + high), slice(left, left + wide)
        out = image[:, window[0], window[1]].astype(np.float32)
        if mean is not None:
            out -= mean[:, window[0], window[1]] if mean.shape[1:] != (1, 1) else mean
        if self.param.scale != 1:
            out *= np.float32(self.param.scale)
        return np.ascontiguousarray(out[:, :, ::-1] if mirror else out)

    def _below(self, n: int) -> int:
        if self._random is None:
            self.seed()
        assert self._random is not None
        return self._random.below(n)

    def _mean(self, shape: tuple[int, ...]) -> np.ndarray | None:
        mean = self.mean
        if mean is None:
            return None
        if self.param.mean_file and mean.shape != shape:
            raise CaffeError(
                f"{self.where}: the mean in {self.param.mean_file} is {mean.shape}; an image is "
                f"{shape}"
            )
        if len(mean) not in (1, shape[0]):
            raise CaffeError(
                f"{self.where}: {len(mean)} mean_value; 1 or {shape[0]}, one a channel, is needed"
            )
        return mean


def decode(datum: Any, param: Any, where: str) -> np.ndarray:
    """The image C x H x W of a Datum: uint8, or float32 where it holds floats.

    An encoded one is decoded as `force_color` and `force_gray` of the TransformationParameter say,
    otherwise with the channels that it has.
    """
    if datum.encoded:
        import cv2

        if param.force_color and param.force_gray:
            raise CaffeError(f"{where}: has both force_color and force_gray; give one of them")
        how = cv2.IMREAD_UNCHANGED
        if param.force_color or param.force_gray:
            how = cv2.IMREAD_COLOR if param.force_color else cv2.IMREAD_GRAYSCALE
        image = cv2.imdecode(np.frombuffer(datum.data, np.uint8), how)
        if image is None:
            raise CaffeError(f"{where}: an encoded image cannot be decoded")
        return planes(image)
    shape = (datum.channels, datum.height, datum.width)
    if datum.data:
        values = np.frombuffer(datum.data, np.uint8)
    else:
        values = np.array(datum.float_data, np.float32)
    if values.size != np.prod(shape):
        raise CaffeError(f"{where}: a Datum of shape {shape} holds {values.size} values")
    return values.reshape(shape)


def planes(image: np.ndarray) -> np.ndarray:
    """An image H x W or H x W x C of OpenCV's as C x H x W."""
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)


def read_image(path: str, color: bool, height: int = 0, width: int = 0) -> np.ndarray | None:
    """An image file as uint8, H x W x 3 in BGR or H x W; resized if a size is given.

    None if it cannot be read.
    """
    import cv2

    image = cv2.imread(path, cv2.IMREAD_COLOR if color else cv2.IMREAD_GRAYSCALE)
    if image is None or not (height and width):
        return image
    return cv2.resize(image, (width, height))
