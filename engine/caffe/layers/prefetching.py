"""`Prefetching`: the base of layers that read batches of images ahead of the net."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from .. import glog
from ..blob import Blob
from ..data.prefetcher import Prefetcher
from ..data.transformer import DataTransformer
from .resume_values import decode_arrays, encode_arrays
from .source import Source

#: An image, C x H x W, and its label.
Record = tuple[np.ndarray, float]


class Prefetching(Source):
    """A layer of images with labels, which a thread reads ahead (base_data_layer.cpp).

    The tops are images, batch_size x C x H x W, and labels, batch_size. data_param's `prefetch` is
    the number of batches that are read ahead.
    """

    tops = (1, 2)
    #: The field of LayerParameter that holds the layer's settings.
    settings: ClassVar[str]
    #: The line of BVLC Caffe that logs the size of the batch.
    log_place: ClassVar[str] = "data_layer.cpp:45"

    def open(self) -> Sequence[int]:
        """Open the source and return the shape of the first image before its transformation."""
        raise NotImplementedError

    def records(self) -> Iterator[Record]:
        """Yield transformed images, float32, with their labels, without end."""
        raise NotImplementedError

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        batch_size = getattr(self.layer_param, self.settings).batch_size
        self.batch_size = self.positive(batch_size, "batch_size")
        self.transformer = DataTransformer(self.layer_param)
        # BVLC Caffe seeds the transformer twice; `open` draws random numbers in between.
        self.transformer.seed()
        top[0].resize((self.batch_size, *self.transformer.shape(*self.open())))
        for label in top[1:]:
            label.resize((self.batch_size,))
        self.transformer.seed()
        size = ",".join(str(n) for n in top[0].shape)
        glog.write(self.log_place, f"output data size: {size}")
        ahead = self.layer_param.data_param.prefetch
        title = f"prefetch of {self.name}"
        self._prefetcher = Prefetcher(self.batch, ahead, title, self._position)

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
        """Return the next batch: images N x C x H x W and N labels, float32.

        Raises ShapeError for images of different shapes.
        """
        records = [next(self._records) for _ in range(self.batch_size)]
        shapes = {image.shape for image, _ in records}
        if len(shapes) > 1:
            raise self.shape_error(
                f"images of shapes {sorted(shapes)} in one batch; they need to be equal: set "
                "new_height and new_width, crop_size, or batch_size 1"
            )
        images, labels = zip(*records)
        return np.stack(images), np.array(labels, np.float32)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for blob, values in zip(top, self._prefetcher.next()):
            blob.values.set(torch.from_numpy(values))
