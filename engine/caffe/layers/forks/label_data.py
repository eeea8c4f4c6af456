"""Data layers of photographs with a label for each pixel.

ImageSegData, DenseImageData, ImageLabelmapData.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from ... import glog, mode
from ...blob import Blob
from ...data import opencv as cv2
from ...data.prefetcher import Prefetcher
from ...data.transformer import DataTransformer, Random, draw, planes, read_image
from ...proto import caffe_pb2
from ..registry import register
from ..resume_values import decode_arrays, encode_arrays
from ..source import Source
from ..text_files import Turns, read_lines

#: A photograph C x H x W and its labels 1 x H x W, both float32, and the photograph's size.
Pair = tuple[np.ndarray, np.ndarray, tuple[int, int]]


def nearest(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return labels, H x W, at another size: the nearest pixel of each, none in between."""
    rows = (np.arange(height) + 0.5) * labels.shape[0] / height
    columns = (np.arange(width) + 0.5) * labels.shape[1] / width
    return labels[rows.astype(int)[:, None], columns.astype(int)]


class _LabelledPixels(Source):
    """Photographs with labels for each pixel, from a list of pairs of files.

    The tops are data, batch_size x C x H x W, and labels, batch_size x 1 x H x W.
    """

    #: The field of LayerParameter that holds the layer's settings.
    settings: ClassVar[str]
    #: The line of the fork that logs the number of images.
    log_place: ClassVar[str]

    @property
    def param(self) -> Any:
        """The settings of the list of files."""
        return getattr(self.layer_param, self.settings)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.param
        self.batch_size = self.positive(p.batch_size, "batch_size")
        if bool(p.new_height) != bool(p.new_width):
            raise self.error(
                f"new_height {p.new_height}, new_width {p.new_width}; it needs both or none"
            )
        self.transformer = DataTransformer(self.layer_param)
        lines = [line.split() for line in read_lines(self, p.source)]
        if not lines:
            raise self.file_error(f"{p.source}: is empty; it needs lines of an image and a label")
        self.random = Random()
        self.turns = Turns(lines, self.random if p.shuffle else None)
        self.turns.place = draw(mode.rng()) % p.rand_skip if p.rand_skip else 0
        if self.turns.place >= len(lines):
            raise self.error(
                f"rand_skip skips {self.turns.place} of {len(lines)} images; "
                f"set it to at most {len(lines)}"
            )
        glog.write(self.log_place, f"A total of {len(lines)} images.")
        # The first pair tells the shape, and is read again in the first batch.
        self._fit(top, [self._pair(self.turns.line, False)] * self.batch_size)
        self._prefetcher = Prefetcher(
            self.pairs,
            self.layer_param.data_param.prefetch,
            f"prefetch of {self.name}",
            self._position,
        )

    def _position(self) -> dict[str, Any]:
        return {**self.turns.position(), "random": self.random.state()}

    def resume_state(self) -> Any:
        return encode_arrays(self._prefetcher.position)

    def set_resume_state(self, values: Any) -> None:
        self._prefetcher.discard()
        self.turns.set_position(decode_arrays(values))
        self.random.set_state(values["random"])
        self._prefetcher.position = self._position()

    def pairs(self) -> list[Pair]:
        """Return the next batch. Raises ShapeError for images of different shapes."""
        lines = islice(self.turns.lines(), self.batch_size)
        batch = [self._pair(line, True) for line in lines]
        shapes = {image.shape for image, _, _ in batch}
        if len(shapes) > 1:
            raise self.shape_error(
                f"images of shapes {sorted(shapes)} in one batch; they need to be equal: set "
                "crop_size, new_height and new_width, or batch_size 1"
            )
        return batch

    def _pair(self, line: Sequence[str], drawn: bool) -> Pair:
        """Read and transform a pair. `drawn`: whether crop and mirror are drawn."""
        p = self.param
        image = self._read(line[0], p.is_color, (p.new_height, p.new_width))
        labels = self._labels(line, image.shape[:2])
        if p.new_height:
            labels = nearest(labels, p.new_height, p.new_width)
        if labels.shape != image.shape[:2]:
            raise self.shape_error(
                f"{line[0]} is {image.shape[:2]} and its labels are {labels.shape}; they need to "
                "be equal"
            )
        size = image.shape[:2]
        if self._transform.scale_factors and drawn and self.phase == caffe_pb2.TRAIN:
            image, labels = self._scaled(image, labels)
        mean, scale = self.transformer.mean_for(planes(image).shape), self._transform.scale
        values = planes(image).astype(np.float32)
        values = (values if mean is None else values - mean) * np.float32(scale)
        values, rows = self._cropped(values, labels[None].astype(np.float32), drawn)
        if self._transform.mirror and drawn and self.random.below(2):
            values, rows = values[:, :, ::-1], rows[:, :, ::-1]
        return np.ascontiguousarray(values), np.ascontiguousarray(self.divided(rows)), size

    def divided(self, labels: np.ndarray) -> np.ndarray:
        """Return the labels, 1 x H x W, in the size of the net's scores."""
        return labels

    @property
    def _transform(self) -> Any:
        return self.layer_param.transform_param

    def _scaled(self, image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both at one of scale_factors, which is drawn."""
        factors = self._transform.scale_factors
        factor = factors[self.random.below(len(factors))]
        size = [max(1, int(n * factor)) for n in labels.shape]
        return cv2.resize(image, size[::-1]), nearest(labels, *size)

    def _cropped(
        self, values: np.ndarray, labels: np.ndarray, drawn: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Crop both alike to crop_size, or crop_height x crop_width.

        The place is drawn in TRAIN, and the centre in TEST.

        A smaller photograph is first extended below and to the right, by 0, which is the mean, and
        by the label that is ignored.
        """
        p = self._transform
        height, width = p.crop_height or p.crop_size, p.crop_width or p.crop_size
        if not (height and width):
            return values, labels
        short = [(0, max(0, crop - n)) for crop, n in zip((height, width), values.shape[1:])]
        values = np.pad(values, [(0, 0), *short])
        labels = np.pad(labels, [(0, 0), *short], constant_values=self.ignored())
        spare = [n - crop for crop, n in zip((height, width), values.shape[1:])]
        if self.phase == caffe_pb2.TRAIN and drawn:
            top, left = (self.random.below(n + 1) for n in spare)
        else:
            top, left = (n // 2 for n in spare)
        window = slice(None), slice(top, top + height), slice(left, left + width)
        return values[window], labels[window]

    def ignored(self) -> int:
        """Return the label of the pixels beyond a photograph."""
        return 255

    def _labels(self, line: Sequence[str], size: tuple[int, int]) -> np.ndarray:
        """Return the labels of a line of the list, H x W. size: of the photograph."""
        if len(line) < 2:
            raise self.file_error(
                f"{self.param.source}: {' '.join(line)!r} needs an image and a label"
            )
        return self._read(line[1], False)

    def _read(self, name: str, color: bool, size: tuple[int, int] = (0, 0)) -> np.ndarray:
        path = self.param.root_folder + name
        image = read_image(path, color, *size)
        if image is None:
            raise self.file_error(f"{path}: no image that can be read; mend the file or the list")
        return image

    def _fit(self, top: Sequence[Blob], batch: Sequence[Pair]) -> list[np.ndarray]:
        """Resize the tops for a batch and return their values."""
        images, labels, sizes = zip(*batch)
        arrays = [np.stack(images), np.stack(labels), np.reshape(sizes, (-1, 1, 1, 2))]
        for blob, values in zip(top, arrays):
            blob.resize(values.shape)
        return [values.astype(np.float32) for values in arrays]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for blob, values in zip(top, self._fit(top, self._prefetcher.next())):
            blob.data[...] = values


@register
class ImageSegData(_LabelledPixels):
    """Photographs with labels for each pixel (DeepLab; xmyqsh/deeplab-v2, hszhao/PSPNet).

    Each line of `source` is two paths below root_folder, with label_type PIXEL; a path and one
    label for all pixels with IMAGE; or a path alone with NONE, where all labels are ignore_label.
    transform_param's crop_size and mirror hold for both alike. A third top has height and width of
    each photograph, batch_size x 1 x 1 x 2.
    """

    settings = "image_data_param"
    log_place = "image_seg_data_layer.cpp:90"
    tops = (1, 3)
    auto_tops = 3

    def ignored(self) -> int:
        return self.param.ignore_label

    def _labels(self, line: Sequence[str], size: tuple[int, int]) -> np.ndarray:
        p = self.param
        if p.label_type == p.PIXEL:
            return super()._labels(line, size)
        if p.label_type == p.NONE:
            return np.full(size, p.ignore_label)
        try:
            return np.full(size, int(line[1]))
        except (IndexError, ValueError):
            raise self.file_error(
                f"{p.source}: {' '.join(line)!r} is not a path and a label"
            ) from None


@register
class DenseImageData(_LabelledPixels):
    """Photographs with labels for each pixel (alexgkendall/caffe-segnet).

    Each line of `source` is two paths below root_folder. new_height and new_width resize both,
    labels to the nearest pixel. With label_divide_factor, the labels are smaller than the
    photograph by that factor, as the scores of ENet's encoder are (Paszke et al. 2016, ENet).
    """

    settings = "dense_image_data_param"
    log_place = "dense_image_data_layer.cpp:90"
    tops = (2, 2)

    def divided(self, labels: np.ndarray) -> np.ndarray:
        factor = self.positive(self.param.label_divide_factor, "label_divide_factor")
        height, width = (size // factor for size in labels.shape[1:])
        if not (height and width):
            raise self.shape_error(
                f"label_divide_factor is {factor} and the labels are {labels.shape[1:]}; it needs "
                "to be at most their height and width"
            )
        return nearest(labels[0], height, width)[None]


@register
class ImageLabelmapData(_LabelledPixels):
    """Photographs with maps of edges or of salient objects (Xie & Tu 2015, HED; s9xie/hed).

    Each line of `source` is two paths below root_folder: a photograph, and a map of the same size,
    which is read as grey. A map has the values 0 and 255, or 0 and 1; the label of the second value
    is 1. transform_param's mirror holds for both alike, its mean and scale for the photograph.
    Raises LayerError for other values, because forks disagree about them (RCF ignores weak edges),
    and for crop_size, new_height and new_width.
    """

    settings = "image_data_param"
    log_place = "image_labelmap_data_layer.cpp:1"
    tops = (2, 2)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        sizes = self.param.new_height, self.param.new_width, self._transform.crop_size
        if any(sizes):
            raise self.error(
                "new_height {}, new_width {}, crop_size {}; the sizes of the files hold, so remove "
                "the fields".format(*sizes)
            )
        super().setup(bottom, top)

    def _labels(self, line: Sequence[str], size: tuple[int, int]) -> np.ndarray:
        values = super()._labels(line, size)
        high = 255 if values.max() > 1 else 1
        if not ((values == 0) | (values == high)).all():
            raise self.error(
                f"{line[1]} has the values {np.unique(values)[:6].tolist()}; a map of labels needs "
                "0 and 255, or 0 and 1: set each pixel to one of the two"
            )
        return values // high
