"""Data layers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from .. import glog, hdf5, launch, mode
from ..blob import Blob
from ..data import db
from ..data.ahead import Ahead
from ..data.transformer import DataTransformer, Random, decode, draw, planes, read_image
from ..errors import CaffeError
from ..fillers import fill
from ..proto import caffe_pb2
from ..wire import parse_binary
from .base import EngineLayer
from .registry import register


class Source(EngineLayer):
    """A layer without bottoms, whose tops no gradient leaves."""

    bottoms, tops = (0, 0), (1, math.inf)

    def __init__(self, param: Any) -> None:
        super().__init__(param)
        alone = self.phase == caffe_pb2.TEST
        self.share = (0, 1) if alone else (launch.solver_rank(), launch.solver_count())

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        pass

    def mine(self, number: int) -> bool:
        """Whether the record of this number is for this solver; several share out TRAIN's."""
        rank, count = self.share
        return number % count == rank

    def for_each(
        self, top: Sequence[Blob], values: Sequence[Any], name: str, optional: bool = False
    ) -> list[Any]:
        """A value for each top; one may stand for all, and if `optional`, there may be none."""
        if len(values) not in (1, len(top)) and (values or not optional):
            none = "none, " if optional else ""
            raise self.error(
                f"{len(values)} {name} for {len(top)} tops; {none}one, or one each is needed"
            )
        return (list(values) * len(top))[: len(top)]

    def need(self, value: int, name: str) -> int:
        """`value` of the parameter `name`, which needs to be at least 1."""
        if value < 1:
            raise self.error(f"{name} is {value}; it needs to be at least 1")
        return value


@register
class Input(Source):
    """Blobs that the user fills, of the given shapes."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        shapes = self.layer_param.input_param.shape
        for blob, shape in zip(top, self.for_each(top, shapes, "shapes", optional=True)):
            blob.resize(list(shape.dim))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass


@register
class DummyData(Source):
    """Blobs that a filler fills: once with a constant, else at each forward."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.dummy_data_param
        names = ("num", "channels", "height", "width")
        if not any(getattr(p, name) for name in names):
            shapes = [list(shape.dim) for shape in self.for_each(top, p.shape, "shapes")]
        elif p.shape:
            raise self.error("has both shape and num, channels, height, width; use shape alone")
        else:
            sizes = [self.for_each(top, getattr(p, name), name) for name in names]
            shapes = [list(shape) for shape in zip(*sizes)]
        fillers = self.for_each(top, p.data_filler, "data_filler", optional=True)
        self.fillers = fillers or [caffe_pb2.FillerParameter(type="constant")] * len(top)
        for blob, shape, filler in zip(top, shapes, self.fillers):
            blob.resize(shape)
            if filler.type == "constant":
                fill(blob, filler, f"layer {self.name!r}")

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for blob, filler in zip(top, self.fillers):
            if filler.type != "constant":
                fill(blob, filler, f"layer {self.name!r}")


@register
class MemoryData(Source):
    """Batches of the arrays that `net.set_input_arrays` gives, over and over."""

    tops = (2, 2)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.memory_data_param
        self.shape = tuple(
            self.need(getattr(p, name), name)
            for name in ("batch_size", "channels", "height", "width")
        )
        top[0].resize(self.shape)
        top[1].resize(self.shape[:1])
        self.arrays: tuple[np.ndarray, np.ndarray] | None = None
        self.at = 0

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Take data N x channels x height x width and N labels, float32, without a copy.

        N needs to be a multiple of batch_size. Raises CaffeError for anything else.
        """
        batch = self.shape[0]
        for what, array, shape in (
            ("data", data, self.shape[1:]),
            ("labels", labels, (1, 1, 1)),
        ):
            if what == "labels" and array.ndim == 1:
                array = array[:, None, None, None]
            if array.dtype != np.float32 or not array.flags.c_contiguous:
                raise self.error(f"{what} array must be C contiguous float32")
            if array.shape[1:] != shape:
                need = " x ".join(map(str, ("N", *shape)))
                raise self.error(f"{what} array has shape {array.shape}; it needs {need}")
        if len(data) != len(labels) or len(data) % batch or not len(data):
            raise self.error(
                f"{len(data)} data and {len(labels)} labels; as many of each, a multiple of "
                f"batch_size {batch}, is needed"
            )
        self.arrays, self.at = (data, labels.reshape(-1)), 0

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.arrays is None:
            raise self.error("has no data yet; call net.set_input_arrays(data, labels) first")
        part = slice(self.at, self.at + self.shape[0])
        for blob, array in zip(top, self.arrays):
            blob.values.set(torch.from_numpy(array[part].copy()))
        top[1].resize((self.shape[0], 1, 1, 1))
        self.at = part.stop % len(self.arrays[0])


# ---- HDF5 --------------------------------------------------------------------------------------


@register
class HDF5Data(Source):
    """Rows of the datasets named like the tops, from the HDF5 files that a list names."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.hdf5_data_param
        if self.layer_param.HasField("transform_param"):
            raise self.error("does not transform data; remove transform_param")
        self.batch = self.need(p.batch_size, "batch_size")
        self.files = _words(self, p.source)
        glog.write("hdf5_data_layer.cpp:93", f"Number of HDF5 files: {len(self.files)}")
        if not self.files:
            raise self.error(f"{p.source} names no HDF5 file")
        if p.shuffle:
            mode.rng().shuffle(self.files)
        self.rows = self._rows()
        for blob, values in zip(top, self._load(self.files[0])):
            blob.resize((self.batch, *values.shape[1:]))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        batch = [next(self.rows) for _ in range(self.batch)]
        for blob, values in zip(top, zip(*batch)):
            blob.values.set(torch.from_numpy(np.stack(values)))

    def _rows(self) -> Iterator[list[np.ndarray]]:
        """Row after row of every dataset, file after file, without end."""
        shuffle, number, loaded = self.layer_param.hdf5_data_param.shuffle, 0, ""
        while True:
            for path in self.files:
                if path != loaded:
                    values, loaded = self._load(path), path
                order = np.arange(len(values[0]))
                if shuffle:
                    mode.rng().shuffle(order)
                for i in order:
                    if self.mine(number):
                        yield [v[i] for v in values]
                    number += 1
            if shuffle:
                mode.rng().shuffle(self.files)

    def _load(self, path: str) -> list[np.ndarray]:
        import h5py

        try:
            with h5py.File(path, "r") as file:
                values = [file[name][...] for name in self.layer_param.top]
        except (OSError, KeyError) as error:
            names = ", ".join(self.layer_param.top)
            raise self.error(
                f"{path}: is not an HDF5 file with the datasets {names}: {error}"
            ) from None
        for name, array in zip(self.layer_param.top, values):
            if array.dtype.kind not in "fiu" or array.ndim < 1:
                raise self.error(f"{path}: dataset {name!r} is {array.dtype}, numbers are needed")
        if len({len(array) for array in values}) > 1 or not len(values[0]):
            raise self.error(
                f"{path}: the datasets have {[len(v) for v in values]} rows; as many of each, at "
                "least 1, is needed"
            )
        return [array.astype(np.float32) for array in values]


@register
class HDF5Output(EngineLayer):
    """Writes its bottoms, at the first forward, as the datasets `data` and `label` of a file."""

    bottoms, tops = (2, 2), (0, 0)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.path = self.layer_param.hdf5_output_param.file_name
        if not self.path:
            raise self.error("has no file_name")
        self.written = False

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        data, label = (
            b.values.tensor().reshape(b.num, b.channels, b.height, b.width).numpy() for b in bottom
        )
        if len(data) != len(label):
            raise self.error(f"{len(data)} data and {len(label)} label; as many of each is needed")
        if self.written:
            raise self.error(f"{self.path} has a batch already, and takes one; make the net anew")
        with hdf5.create(self.path) as file:
            file["data"], file["label"] = data, label
        self.written = True

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        pass


# ---- layers that read ahead --------------------------------------------------------------------

Record = tuple[np.ndarray, float]


class Prefetching(Source):
    """Batches of images with labels, read ahead in a thread.

    A subclass finds the shape of its first image in `open`, and gives transformed images,
    C x H x W, with labels, in `records`, without end.
    """

    tops = (1, 2)
    #: The name of the layer's own parameters in its LayerParameter.
    parameters: ClassVar[str]
    #: Where BVLC Caffe logs the size of its data.
    place: ClassVar[str] = "data_layer.cpp:45"
    open: Callable[[], Sequence[int]]
    records: Callable[[], Iterator[Record]]

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.transform_param
        batch_size = getattr(self.layer_param, self.parameters).batch_size
        self.batch_size = self.need(batch_size, "batch_size")
        self.transformer = DataTransformer(p, self.phase, f"layer {self.name!r}")
        # BVLC Caffe seeds the transformer before and after: draws of `open` come in between.
        self.transformer.seed()
        top[0].resize((self.batch_size, *self.transformer.shape(*self.open())))
        for label in top[1:]:
            label.resize((self.batch_size,))
        self.transformer.seed()
        size = ",".join(str(n) for n in top[0].shape)
        glog.write(self.place, f"output data size: {size}")
        ahead = self.layer_param.data_param.prefetch
        self._ahead = Ahead(self.batch, ahead, f"prefetch of {self.name}")

    @cached_property
    def _records(self) -> Iterator[Record]:
        return self.records()

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """The next batch: N x C x H x W and N labels."""
        records = [next(self._records) for _ in range(self.batch_size)]
        shapes = {image.shape for image, _ in records}
        if len(shapes) > 1:
            raise self.error(
                f"images of shapes {sorted(shapes)} in one batch; they need to be equal: set "
                "new_height and new_width, crop_size, or batch_size 1"
            )
        images, labels = zip(*records)
        return np.stack(images), np.array(labels, np.float32)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for blob, values in zip(top, self._ahead.next()):
            blob.values.set(torch.from_numpy(values))


@register
class Data(Prefetching):
    """Datums of an LMDB database, in the order of their keys."""

    parameters = "data_param"

    def open(self) -> Sequence[int]:
        p = self.layer_param.data_param
        if p.backend == p.LEVELDB:
            raise self.error(f"data_param's backend is LEVELDB; {db.NO_LEVELDB}")
        self.reader = db.Reader(p.source)
        glog.write("db_lmdb.cpp:35", f"Opened lmdb {p.source}")
        return self._image()[0].shape

    def records(self) -> Iterator[Record]:
        number = 0
        while True:
            if self.mine(number):
                image, label = self._image()
                yield self.transformer(image), label
            number += 1
            self.reader.next()

    def _image(self) -> Record:
        datum = parse_binary(self.reader.value, caffe_pb2.Datum(), self.reader.path)
        where = f"layer {self.name!r}: {self.reader.path}"
        return decode(datum, self.layer_param.transform_param, where), datum.label


@register
class ImageData(Prefetching):
    """Image files with labels, from a list of `path label` lines."""

    parameters = "image_data_param"
    place = "image_data_layer.cpp:90"

    def open(self) -> Sequence[int]:
        p = self.layer_param.image_data_param
        if bool(p.new_height) != bool(p.new_width):
            raise self.error(
                f"new_height {p.new_height}, new_width {p.new_width}; both or none is needed"
            )
        glog.write("image_data_layer.cpp:38", f"Opening file {p.source}")
        self.lines = []
        for line in _lines(self, p.source):
            path, _, label = line.rpartition(" ")
            try:
                self.lines.append((path, int(label)))
            except ValueError:
                raise self.error(f"{p.source}: {line!r} is not a path and a label") from None
        if not self.lines:
            raise self.error(f"{p.source}: is empty; lines of a path and a label are needed")
        self.random = Random() if p.shuffle else None
        if self.random:
            glog.write("image_data_layer.cpp:53", "Shuffling data")
            self.random.shuffle(self.lines)
        glog.write("image_data_layer.cpp:63", f"A total of {len(self.lines)} images.")
        self.at = 0
        if p.rand_skip:
            self.at = draw(mode.rng()) % p.rand_skip
            glog.write("image_data_layer.cpp:70", f"Skipping first {self.at} data points.")
            if self.at >= len(self.lines):
                raise self.error(f"rand_skip skips {self.at} of {len(self.lines)} images")
        return self._read(self.lines[self.at][0]).shape

    def records(self) -> Iterator[Record]:
        while True:
            for path, label in self.lines[self.at :]:
                yield self.transformer(self._read(path)), label
            self.at = 0
            if self.random:
                self.random.shuffle(self.lines)

    def _read(self, path: str) -> np.ndarray:
        p = self.layer_param.image_data_param
        image = read_image(p.root_folder + path, p.is_color, p.new_height, p.new_width)
        if image is None:
            raise self.error(f"{p.root_folder + path}: no image that can be read")
        return planes(image)


class Window(NamedTuple):
    """A window of an image: the corners belong to it."""

    image: int
    label: int
    overlap: float
    x1: int
    y1: int
    x2: int
    y2: int


@dataclass
class Placing:
    """Where a window comes from and goes: from `x1 .. y2`, warped to `size`, at `left`, `top`."""

    x1: int
    y1: int
    x2: int
    y2: int
    size: tuple[int, int]
    left: int = 0
    top: int = 0


@register
class WindowData(Prefetching):
    """Windows of images, warped to a square: fg_fraction of them objects, the rest background."""

    tops = (2, 2)
    parameters = "window_data_param"

    def open(self) -> Sequence[int]:
        p, transform = self.layer_param.window_data_param, self.layer_param.transform_param
        self.crop = self.need(transform.crop_size, "crop_size")
        if p.crop_mode not in ("warp", "square"):
            raise self.error(f"crop_mode is {p.crop_mode!r}; it needs to be warp or square")
        if self.crop <= 2 * p.context_pad:
            raise self.error(f"context_pad {p.context_pad} leaves nothing of crop_size {self.crop}")
        self.random = Random()
        self.images: list[tuple[str, int]] = []
        self.foreground: list[Window] = []
        self.background: list[Window] = []
        self._read_windows(p)
        for what, windows in (("object", self.foreground), ("background", self.background)):
            if not windows:
                raise self.error(f"{p.source}: has no {what} windows; at least 1 is needed")
        glog.write("window_data_layer.cpp:137", f"Number of images: {len(self.images)}")
        return self.images[-1][1], self.crop, self.crop

    def _read_windows(self, p: Any) -> None:
        words = iter(_words(self, p.source))
        try:
            while next(words, None) is not None:
                next(words)  # the image's number
                index, path = len(self.images), p.root_folder + next(words)
                channels, _, _, count = (int(next(words)) for _ in range(4))
                self.images.append((path, channels))
                for _ in range(count):
                    label, overlap = int(next(words)), np.float32(next(words))
                    corners = [int(next(words)) for _ in range(4)]
                    if overlap >= np.float32(p.fg_threshold):
                        if label < 1:
                            raise self.error(f"{p.source}: an object window has label {label}")
                        self.foreground.append(Window(index, label, float(overlap), *corners))
                    elif overlap < np.float32(p.bg_threshold):
                        self.background.append(Window(index, 0, 0, *corners))
        except (StopIteration, ValueError):
            raise self.error(
                f"{p.source}: its image {len(self.images)} is not of the form '# number, path, "
                "channels, height, width, count, then a line of label overlap x1 y1 x2 y2 each'"
            ) from None

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        count = int(np.float32(self.batch_size) * self.layer_param.window_data_param.fg_fraction)
        windows = [self.background] * (self.batch_size - count) + [self.foreground] * count
        images, labels = [], []
        for kind in windows:
            window = kind[self.random.below(len(kind))]
            mirror = self.layer_param.transform_param.mirror and self.random.below(2) == 1
            images.append(self._warped(window, mirror))
            labels.append(window.label)
        return np.stack(images), np.array(labels, np.float32)

    def _warped(self, window: Window, mirror: bool) -> np.ndarray:
        import cv2

        path = self.images[window.image][0]
        image = read_image(path, True)
        if image is None:
            raise self.error(f"{path}: no image that can be read")
        place = self._place(window, image.shape[0], image.shape[1], mirror)
        part = image[place.y1 : place.y2 + 1, place.x1 : place.x2 + 1]
        if not part.size:
            raise self.error(f"{path}: window {tuple(window[3:])} lies outside")
        part = planes(cv2.resize(part, place.size)).astype(np.float32)
        part = part[:, :, ::-1] if mirror else part
        out = np.zeros((part.shape[0], self.crop, self.crop), np.float32)
        rows = slice(place.top, place.top + part.shape[1])
        columns = slice(place.left, place.left + part.shape[2])
        mean, p = self.transformer.mean, self.layer_param.transform_param
        if mean is not None:
            off = (mean.shape[2] - self.crop) // 2 if p.mean_file else 0
            if p.mean_file:
                mean = mean[:, off:, off:][:, rows, columns]
            # As in BVLC Caffe, windows are scaled only where a mean is taken off.
            part = (part - mean) * np.float32(p.scale)
        out[:, rows, columns] = part
        return out

    def _place(self, w: Window, height: int, width: int, mirror: bool) -> Placing:
        """The part of the image, widened by the context, and its place in the square."""
        p, crop = self.layer_param.window_data_param, self.crop
        square = p.crop_mode == "square"
        if not (p.context_pad or square):
            return Placing(w.x1, w.y1, w.x2, w.y2, (crop, crop))
        f = np.float32
        grow = f(crop) / f(crop - 2 * p.context_pad)
        half_h, half_w = f(w.y2 - w.y1 + 1) / f(2), f(w.x2 - w.x1 + 1) / f(2)
        x, y = f(w.x1) + half_w, f(w.y1) + half_h
        if square:
            half_h = half_w = max(half_h, half_w)
        x1, x2 = _round(x - half_w * grow), _round(x + half_w * grow)
        y1, y2 = _round(y - half_h * grow), _round(y + half_h * grow)
        scale_x, scale_y = f(crop) / f(x2 - x1 + 1), f(crop) / f(y2 - y1 + 1)
        before, after = max(0, -x1), max(0, x2 - width + 1)
        above, below = max(0, -y1), max(0, y2 - height + 1)
        x1, x2, y1, y2 = x1 + before, x2 - after, y1 + above, y2 - below
        left = _round(f(after if mirror else before) * scale_x)
        top = _round(f(above) * scale_y)
        wide = min(_round(f(x2 - x1 + 1) * scale_x), crop - left)
        high = min(_round(f(y2 - y1 + 1) * scale_y), crop - top)
        return Placing(x1, y1, x2, y2, (wide, high), left, top)


def _round(value: float) -> int:
    """The nearest integer, halves away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))


def _text(layer: EngineLayer, path: str) -> str:
    if not os.path.isfile(path):
        raise layer.error(f"source is {path!r}, which is no file")
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise CaffeError(f"{path}: cannot be read as text: {error}") from None


def _words(layer: EngineLayer, path: str) -> list[str]:
    return _text(layer, path).split()


def _lines(layer: EngineLayer, path: str) -> list[str]:
    return [line for line in _text(layer, path).splitlines() if line.strip()]
