"""`Prefetching`: the base of layers that read batches of images ahead of the net."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Union

import numpy as np
import torch

from .. import glog, mode
from ..blob import Blob
from ..data.prefetcher import Prefetcher
from ..data.transformer import DataTransformer, draw
from ..errors import FileError, NoMemoryError, ShapeError
from ..heap import machine_memory
from .resume_values import decode_arrays, encode_arrays
from .source import Source

FLOAT_BYTES = 4
#: Records in a row that cannot be read, after which a layer no longer skips them.
SKIPPED = 1000
#: The most batches that are read ahead; each has a call that waits in a queue.
MOST_AHEAD = 100_000
#: An image, C x H x W, and its label, or its labels.
Record = tuple[np.ndarray, Union[float, np.ndarray]]


class Prefetching(Source):
    """A layer of images with labels, which a thread reads ahead (base_data_layer.cpp).

    The tops are images, batch_size x C x H x W, and labels, batch_size. data_param's `prefetch` is
    the number of batches that are read ahead.
    """

    tops: ClassVar[tuple[int, float]] = (1, 2)
    #: The field of LayerParameter that holds the layer's settings.
    settings: ClassVar[str]
    #: The line of BVLC Caffe that logs the size of the batch.
    log_place: ClassVar[str] = "data_layer.cpp:45"
    #: The shape of the labels of an image. A layer with several labels sets it in `open`.
    label_shape: tuple[int, ...] = ()

    def open(self) -> Sequence[int]:
        """Open the source and return the shape of the first image before its transformation."""
        raise NotImplementedError

    def shape_of(self, first: Sequence[int]) -> Sequence[int]:
        """Return the shape of a record after its transformation; `first` is before it."""
        return self.transformer.shape(*first)

    def records(self) -> Iterator[Record]:
        """Yield transformed images, float32, with their labels, without end."""
        raise NotImplementedError

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        batch_size = getattr(self.layer_param, self.settings).batch_size
        self.batch_size = self.positive(batch_size, "batch_size")
        self.transformer = DataTransformer(self.layer_param)
        #: The records in a row that were skipped.
        self._skipped = 0
        # BVLC Caffe seeds the transformer twice; `open` draws random numbers in between.
        self.transformer.seed()
        top[0].resize((self.batch_size, *self.shape_of(self.open())))
        for label in top[1:]:
            label.resize((self.batch_size, *self.label_shape))
        self.transformer.seed()
        # BVLC Caffe draws the seed of the thread that reads ahead.
        draw(mode.rng())
        ahead = self.layer_param.data_param.prefetch
        self._check_memory(top[0].count * FLOAT_BYTES, ahead)
        size = ",".join(str(n) for n in top[0].shape)
        glog.write(self.log_place, f"output data size: {size}")
        title = f"prefetch of {self.name}"
        self._prefetcher = Prefetcher(self.batch, ahead, title, self._position)

    def attempt(self, read: Callable[[], Record]) -> Record | None:
        """Return `read()`, or None for a record that transform_param has the layer skip.

        With on_error SKIP, a record that cannot be read is logged and left out. Raises the error of
        the last record after SKIPPED records in a row.
        """
        try:
            record = read()
        except (FileError, ShapeError) as error:
            transform = self.layer_param.transform_param
            self._skipped += 1
            if transform.on_error != transform.SKIP or self._skipped >= SKIPPED:
                raise
            glog.write(self.log_place, f"skipped a record: {error}", level=1)
            return None
        self._skipped = 0
        return record

    def _check_memory(self, batch: int, ahead: int) -> None:
        """Refuse batches, of `batch` bytes each, for which the machine has no memory."""
        total = batch * (ahead + 1)
        if total > machine_memory() or ahead > MOST_AHEAD:
            raise NoMemoryError(
                self.name,
                self.type,
                f"prefetch is {ahead}: reading ahead asks for {total / 2**30:.1f} GiB in "
                f"{ahead + 1} batches, at most {MOST_AHEAD + 1} and {machine_memory() / 2**30:.1f} "
                "GiB are there; set a smaller data_param prefetch or batch_size",
            )

    @cached_property
    def _records(self) -> Iterator[Record]:
        return self.records()

    def source_position(self) -> dict[str, Any]:
        """Return where the source is after the last record, as values for a JSON file."""
        return {}

    def set_source_position(self, values: dict[str, Any]) -> None:
        """Continue after the record at which `source_position` was called."""

    def _position(self) -> dict[str, Any]:
        random = self.transformer.random
        return {**self.source_position(), "transformer": random.state() if random else None}

    def resume_state(self) -> Any:
        return encode_arrays(self._prefetcher.position)

    def set_resume_state(self, values: Any) -> None:
        self._prefetcher.discard()
        random = self.transformer.random
        if random and values["transformer"]:
            random.set_state(values["transformer"])
        self.set_source_position(decode_arrays(values))
        self._records = self.records()
        self._prefetcher.position = self._position()

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the next batch: images N x C x H x W and labels N x label_shape, float32.

        Raises ShapeError for images of different shapes.
        """
        image, label = next(self._records)
        images = np.empty((self.batch_size, *image.shape), np.float32)
        labels = np.empty((self.batch_size, *self.label_shape), np.float32)
        images[0], labels[0] = image, label
        for i in range(1, self.batch_size):
            image, labels[i] = next(self._records)
            if image.shape != images.shape[1:]:
                raise self.shape_error(
                    f"images of shapes {sorted({image.shape, images.shape[1:]})} in one batch; "
                    "they need to be equal: set new_height and new_width, crop_size, or "
                    "batch_size 1"
                )
            images[i] = image
        return images, labels

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for blob, values in zip(top, self._prefetcher.next()):
            blob.values.set(torch.from_numpy(values))
