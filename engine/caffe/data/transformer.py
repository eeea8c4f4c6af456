"""Images for data layers: reading, decoding, and the transformation of transform_param."""

from __future__ import annotations

import os
from collections.abc import MutableSequence, Sequence
from typing import Any

import numpy as np

from .. import files, mode
from ..errors import FileError, LayerError, LayerFileError, ShapeError
from ..proto import caffe_pb2
from ..weights import read_blob
from . import changes, crops
from . import opencv as cv2
from .image_size import check_claim


class Random:
    """Caffe's random integers: a Mersenne Twister, seeded by the one of `set_random_seed`."""

    def __init__(self) -> None:
        self._rng = np.random.RandomState(draw(mode.rng()))

    def __call__(self) -> int:
        """Return 32 random bits."""
        return draw(self._rng)

    @property
    def generator(self) -> np.random.RandomState:
        """The generator, for draws that Caffe makes in another way."""
        return self._rng

    def below(self, n: int) -> int:
        """Return an integer 0 .. n - 1, the remainder of a draw."""
        return self() % n

    def uniform_below(self, n: int) -> int:
        """Return an integer 0 .. n - 1, all with the same probability, as boost::uniform_int."""
        bucket = 2**32 // n
        while (value := self() // bucket) >= n:
            pass
        return value

    def state(self) -> list[Any]:
        """Return where the draws are, as values for a JSON file (`mode.twister_state`)."""
        return mode.twister_state(self._rng)

    def set_state(self, values: Sequence[Any]) -> None:
        """Draw on from where `state` was called. Raises ValueError or TypeError."""
        mode.set_twister_state(self._rng, values)

    def shuffle(self, items: MutableSequence) -> None:
        """Shuffle in place, from the end (Fisher & Yates)."""
        for i in range(len(items) - 1, 0, -1):
            j = self.uniform_below(i + 1)
            items[i], items[j] = items[j], items[i]


def draw(rng: np.random.RandomState) -> int:
    """Return the next 32 bits of a Mersenne Twister."""
    return int(rng.randint(0, 2**32, dtype=np.uint32))


class DataTransformer:
    """Crops and mirrors images, subtracts the mean, and scales (data_transformer.cpp).

    layer: the LayerParameter, with its transform_param. Crops have random positions in the TRAIN
        phase and are in the centre in the TEST phase.

    As in SSD's fork, resize_param and noise_param change an image first; as in NVCaffe, its shorter
    side becomes a drawn number from img_rand_resize_lower to img_rand_resize_upper. As in
    yjxiong/caffe, TRAIN draws the place of a crop among some (fix_crop, more_fix_crop) and its size
    (multi_scale), and with is_flow a mirror image has the opposite horizontal flow (Wang et al.
    2016, "Temporal Segment Networks", section 3.2). cvt_bgr2rgb, of MobileNet-YOLO, and bgr2rgb, of
    intel/caffe, exchange blue and red. center_crop, of happynear/caffe-windows, leaves crops in the
    centre in TRAIN.

    Raises LayerError, or LayerFileError for a mean_file that cannot be read.
    """

    def __init__(self, layer: Any) -> None:
        self.layer, self.param = layer, layer.transform_param
        self.train = layer.phase == caffe_pb2.TRAIN
        #: C x H x W, or C x 1 x 1 of mean_value.
        self.mean: np.ndarray | None = None
        if self.param.mean_file and self.param.mean_value:
            raise LayerError(
                layer.name, layer.type, "has both mean_file and mean_value; set one of them"
            )
        if self.param.mean_file:
            try:
                mean = read_blob(self.param.mean_file)
            except FileError as error:
                raise LayerFileError(layer.name, layer.type, str(error)) from error
            # C3D's means of clips, 1 x C x L x H x W, are those of images of C L channels.
            self.mean = mean.reshape(-1, *mean.shape[-2:])
        elif self.param.mean_value:
            self.mean = np.array(self.param.mean_value, np.float32)[:, None, None]
        self._check_sizes()
        self._random: Random | None = None

    def _check_sizes(self) -> None:
        """Raise LayerError for sizes of images without which no batch has a shape."""
        p = self.param
        lower, upper = p.img_rand_resize_lower, p.img_rand_resize_upper
        reason = ""
        if p.HasField("resize_param") and not (p.resize_param.height and p.resize_param.width):
            size = p.resize_param
            reason = f"resize_param has height {size.height}, width {size.width}; it needs both"
        elif lower > upper or (upper and not lower):
            reason = (
                f"img_rand_resize_lower is {lower}, img_rand_resize_upper {upper}; both are "
                "needed, in this order"
            )
        elif lower and not all(self._crop()):
            reason = "img_rand_resize needs a crop_size, so that all images have one shape"
        if reason:
            raise LayerError(self.layer.name, self.layer.type, reason)

    def seed(self) -> None:
        """Start the random numbers of mirrors and crops, where the settings need any."""
        p = self.param
        changed = p.HasField("resize_param") or p.HasField("noise_param") or p.img_rand_resize_lower
        if p.mirror or changed or self._draws_crops():
            self._random = Random()

    @property
    def random(self) -> Random | None:
        """The random numbers of mirrors and crops; None where the settings need none."""
        return self._random

    def shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape after the transformation. Raises ShapeError for a crop too large."""
        if self.param.HasField("resize_param"):
            height, width = changes.size_after(self.param.resize_param, height, width)
        if self.param.img_rand_resize_lower:
            height, width = changes.scaled(height, width, self.param.img_rand_resize_lower)
        rows, columns = self._crop()
        if rows > height or columns > width:
            size = rows if rows == columns else f"{rows} x {columns}"
            raise self._shape_error(
                f"crop_size is {size}, but an image is {height} x {width}; "
                "it needs to fit the image"
            )
        return (channels, rows or height, columns or width)

    def _crop(self) -> tuple[int, int]:
        """Return height and width of crops: crop_size, or crop_h and crop_w of forks; 0: none."""
        p = self.param
        return p.crop_h or p.crop_size, p.crop_w or p.crop_size

    def _draws_crops(self) -> bool:
        return self.train and any(self._crop()) and not self.param.center_crop

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the transformed image, float32. image: uint8 or float, C x H x W.

        Raises ShapeError where crop or mean do not fit the image.
        """
        _, height, width = self.shape(*image.shape)
        image = self._changed(image)
        mean = self.mean_for(image.shape)
        mirror = self.param.mirror and self._below(2)
        top, left, rows, columns = self._window(image.shape[1:], (height, width))
        window = slice(top, top + rows), slice(left, left + columns)
        out = image[:, window[0], window[1]].astype(np.float32)
        if mirror and self.param.is_flow:
            out[::2] = 255 - out[::2]
        if mean is not None:
            out -= mean[:, window[0], window[1]] if mean.shape[1:] != (1, 1) else mean
        if (rows, columns) != (height, width):
            out = np.stack([cv2.resize(plane, (width, height)) for plane in out])
        if self.param.scale != 1:
            out *= np.float32(self.param.scale)
        return np.ascontiguousarray(out[:, :, ::-1] if mirror else out)

    def _changed(self, image: np.ndarray) -> np.ndarray:
        """Return the image after the changes of forks that come before crops."""
        p = self.param
        resized, noisy = p.HasField("resize_param"), p.HasField("noise_param")
        exchanged = p.cvt_bgr2rgb or p.bgr2rgb
        if not (resized or noisy or exchanged or p.img_rand_resize_lower):
            return image
        channels = (3,) if noisy or exchanged else (1, 3)
        if len(image) not in channels or image.dtype != np.uint8:
            needed = " or ".join(map(str, channels))
            raise self._shape_error(
                "resize_param, noise_param, bgr2rgb and img_rand_resize change bytes; they "
                f"need {needed} channels, and found {len(image)} of {image.dtype}"
            )
        pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
        if resized:
            pixels = changes.resized(pixels, p.resize_param, self._generator())
        if noisy:
            pixels = changes.noisy(pixels, p.noise_param, self._generator())
        pixels = pixels[..., ::-1] if exchanged else pixels
        if p.img_rand_resize_lower:
            spare = p.img_rand_resize_upper - p.img_rand_resize_lower + 1
            pixels = changes.drawn_size(pixels, p, p.img_rand_resize_lower + self._below(spare))
        return planes(pixels)

    def _window(self, shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the place of a crop and its size: top, left, rows, columns.

        shape: the height and width of the image. size: of the result.
        """
        p = self.param
        if not self._draws_crops():
            return (shape[0] - size[0]) // 2, (shape[1] - size[1]) // 2, *size
        if p.multi_scale:
            sizes = crops.sizes(shape, size, list(p.scale_ratios), p.max_distort)
            size = sizes[self._below(len(sizes))]
        top, left = shape[0] - size[0], shape[1] - size[1]
        if p.fix_crop:
            places = crops.places(top, left, p.more_fix_crop)
            return *places[self._below(len(places))], *size
        return self._below(top + 1), self._below(left + 1), *size

    def _below(self, n: int) -> int:
        return self._drawn().below(n)

    def _generator(self) -> np.random.RandomState:
        return self._drawn().generator

    def _drawn(self) -> Random:
        if self._random is None:
            self.seed()
        assert self._random is not None
        return self._random

    def mean_for(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return the mean, C x H x W or C x 1 x 1, or None. Raises ShapeError if it does not fit.

        shape: of the image, C x H x W.
        """
        mean = self.mean
        if mean is None:
            return None
        if self.param.mean_file and mean.shape != shape:
            raise self._shape_error(
                f"the mean in {self.param.mean_file} is {mean.shape}; an image is {shape}"
            )
        if len(mean) not in (1, shape[0]):
            raise self._shape_error(
                f"{len(mean)} mean_value; it needs 1, or {shape[0]}, one for each channel"
            )
        return mean

    def _shape_error(self, reason: str) -> ShapeError:
        return ShapeError(self.layer.name, self.layer.type, reason)


def decode(datum: Any, transform: Any, path: str) -> np.ndarray:
    """Return the image of a Datum, C x H x W: uint8, or float32 where the Datum holds floats.

    An encoded image has the channels that force_color or force_gray of the TransformationParameter
    `transform` asks for, or else those that are encoded.

    path: the database, for errors. Raises FileError.
    """
    if datum.encoded:
        import cv2  # imported here because most nets read no images

        flags = cv2.IMREAD_UNCHANGED
        if transform.force_color or transform.force_gray:
            flags = cv2.IMREAD_COLOR if transform.force_color else cv2.IMREAD_GRAYSCALE
        image = _decode(datum.data, flags, path)
        if image is None:
            raise FileError(f"{path}: an encoded image cannot be decoded")
        return planes(image)
    shape = (datum.channels, datum.height, datum.width)
    if datum.data:
        values = np.frombuffer(datum.data, np.uint8)
    else:
        values = np.array(datum.float_data, np.float32)
    if values.size != np.prod(shape):
        raise FileError(
            f"{path}: a Datum of shape {shape} holds {values.size} values; it needs "
            f"{np.prod(shape)}"
        )
    return values.reshape(shape)


def planes(image: np.ndarray) -> np.ndarray:
    """Return an image of OpenCV, H x W or H x W x C, as C x H x W."""
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)


def read_image(path: str, color: bool, height: int = 0, width: int = 0) -> np.ndarray | None:
    """Return an image file as uint8, H x W x 3 in BGR, or H x W without `color`.

    height, width: the size to resize to; 0 keeps the size of the file.

    Returns None for a file that cannot be read as an image. Raises FileError for one that claims a
    size for which there is no memory.
    """
    import cv2  # imported here because most nets read no images

    if not os.path.isfile(path):
        return None
    flags = cv2.IMREAD_COLOR if color else cv2.IMREAD_GRAYSCALE
    image = _decode(files.read_bytes(path), flags, path)
    if image is None or not (height and width):
        return image
    try:
        return cv2.resize(image, (width, height))
    except cv2.error as error:
        raise FileError(_reason(path, error)) from None


def _decode(content: bytes, flags: int, path: str) -> np.ndarray | None:
    """Return a file's content as OpenCV decodes it; None if that is not an image.

    Raises FileError.
    """
    import cv2  # imported here because most nets read no images

    check_claim(content, path)
    if not content:
        return None
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise FileError(_reason(path, error)) from None


def _reason(path: str, error: Exception) -> str:
    return f"{path}: an image that OpenCV refuses: {' '.join(str(error).split())[:200]}"
