"""HDF5Data and HDF5Output: datasets of HDF5 files as tops, and bottoms as datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from .. import glog, hdf5, mode
from ..blob import Blob
from .base import EngineLayer
from .registry import register
from .resume_values import decode_arrays, encode_arrays
from .source import Source
from .text_files import read_words


@register
class HDF5Data(Source):
    """Batches of rows from HDF5 files (hdf5_data_layer.cpp).

    `source` is a text file with the paths of HDF5 files. Each top has the rows of the dataset of
    its own name: batch_size x the shape of a row, as float32. With `shuffle`, the files and the
    rows of each file are read in random order.
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.hdf5_data_param
        if self.layer_param.HasField("transform_param"):
            raise self.error("does not transform data; remove transform_param")
        self.batch_size = self.positive(p.batch_size, "batch_size")
        self.files = read_words(self, p.source)
        glog.write("hdf5_data_layer.cpp:93", f"Number of HDF5 files: {len(self.files)}")
        if not self.files:
            raise self.file_error(f"{p.source}: names no HDF5 file; it needs at least 1")
        if p.shuffle:
            mode.rng().shuffle(self.files)
        #: The number of the row, whichever solver reads it; the file, and the row in its order.
        self.number = self.file = self.row = 0
        self.order: np.ndarray | None = None
        self.rows = self._rows()
        for blob, values in zip(top, self._load(self.files[0])):
            blob.resize((self.batch_size, *values.shape[1:]))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        batch = [next(self.rows) for _ in range(self.batch_size)]
        for blob, values in zip(top, zip(*batch)):
            blob.values.set(torch.from_numpy(np.stack(values)))

    def _rows(self) -> Iterator[list[np.ndarray]]:
        """Yield one row of every dataset after another, file after file, without end."""
        shuffle, loaded = self.layer_param.hdf5_data_param.shuffle, ""
        while True:
            path = self.files[self.file]
            if path != loaded:
                values, loaded = self._load(path), path
            if self.order is None:
                self.order = np.arange(len(values[0]))
                if shuffle:
                    mode.rng().shuffle(self.order)
            while self.row < len(self.order):
                number, row = self.number, self.order[self.row]
                self.number, self.row = number + 1, self.row + 1
                if self.in_share(number):
                    yield [v[row] for v in values]
            self.order, self.row, self.file = None, 0, (self.file + 1) % len(self.files)
            if shuffle and self.file == 0:
                mode.rng().shuffle(self.files)

    def resume_state(self) -> Any:
        shuffle = self.layer_param.hdf5_data_param.shuffle
        order = self.order if shuffle and self.order is not None else np.zeros(0, int)
        values = {"number": self.number, "file": self.file, "row": self.row, "order": order}
        return {**encode_arrays(values), "files": list(self.files)}

    def set_resume_state(self, values: Any) -> None:
        values = {**decode_arrays({**values, "files": None}), "files": values["files"]}
        if sorted(values["files"]) != sorted(self.files):
            raise ValueError(f"a position in {values['files']}; source names {self.files}")
        self.files, self.number = list(values["files"]), int(values["number"])
        self.file, self.row = int(values["file"]), int(values["row"])
        self.order = values["order"] if len(values["order"]) else None
        if self.row and self.order is None:
            self.order = np.arange(len(self._load(self.files[self.file])[0]))
        self.rows = self._rows()

    def _load(self, path: str) -> list[np.ndarray]:
        """Return the dataset of each top, float32, all with equally many rows."""
        kind = f"an HDF5 file with the datasets {', '.join(self.layer_param.top)}"
        with self.using_files(), hdf5.opened(path, kind) as file:
            values = [hdf5.read_values(path, file[name]) for name in self.layer_param.top]
        for name, array in zip(self.layer_param.top, values):
            if array.ndim < 1:
                raise self.file_error(
                    f"{path}: dataset {name!r} is {array.dtype} of {array.ndim} axes; it needs "
                    "numbers, in rows"
                )
        if len({len(array) for array in values}) > 1 or not len(values[0]):
            raise self.file_error(
                f"{path}: the datasets have {[len(v) for v in values]} rows; the numbers need to "
                "be equal, and at least 1"
            )
        return [array.astype(np.float32) for array in values]


@register
class HDF5Output(EngineLayer):
    """Writes its two bottoms as the datasets `data` and `label` of a file (hdf5_output_layer.cpp).

    Each dataset has the 4 axes of the bottom. The first forward writes the file.
    """

    bottoms, tops = (2, 2), (0, 0)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.path = self.layer_param.hdf5_output_param.file_name
        if not self.path:
            raise self.error("has no file_name; set hdf5_output_param file_name")
        self.written = False

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        data, label = (
            b.values.tensor().reshape(b.num, b.channels, b.height, b.width).numpy() for b in bottom
        )
        if len(data) != len(label):
            raise self.shape_error(
                f"{len(data)} data and {len(label)} label; their numbers need to be equal"
            )
        if self.written:
            raise self.file_error(
                f"{self.path} has a batch already, and holds only one; build the net again"
            )
        with self.using_files(), hdf5.create(self.path) as file:
            file["data"], file["label"] = data, label
        self.written = True

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        pass
