"""Data: images with labels from an LMDB database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import glog, mode
from ..data import db
from ..data.transformer import Random, decode, draw
from ..proto import caffe_pb2
from ..wire import parse_binary
from .prefetching import Prefetching, Record
from .registry import register
from .text_files import read_words


@register
class Data(Prefetching):
    """The Datum messages of an LMDB database in the order of their keys, without end.

    data_layer.cpp. With `shuffle`, a field of NVIDIA/caffe, intel/caffe and yjxiong/caffe, each
    turn has an order of its own. Two fields are lmb-freiburg/flownet2's: rand_permute draws one
    order for all turns; preselection_file has a number for each record, and the records whose
    number is preselection_label are read.
    """

    settings = "data_param"

    def open(self) -> Sequence[int]:
        p = self.layer_param.data_param
        if p.backend == p.LEVELDB:
            raise self.error(f"data_param has backend LEVELDB; {db.NO_LEVELDB}")
        with self.using_files():
            self.reader = self._arranged_reader()
        #: How many records were read, by whichever solver.
        self.number = 0
        glog.write("db_lmdb.cpp:35", f"Opened lmdb {p.source}")
        return self._record()[0].shape

    def _arranged_reader(self) -> db.Reader:
        """Return a reader of the records that the settings choose, in their order."""
        p = self.layer_param.data_param
        random = Random() if p.shuffle else None
        if not (p.shuffle or p.rand_permute or p.preselection_file):
            return db.Reader(p.source)
        return db.ArrangedReader(p.source, random, self._chosen)

    def _chosen(self, count: int) -> np.ndarray:
        """Return the numbers of the records that are read, of `count`, in their order."""
        p = self.layer_param.data_param
        numbers: np.ndarray = np.arange(count)
        if p.preselection_file:
            words = read_words(self, p.preselection_file)
            label = str(p.preselection_label)
            if len(words) != count or label not in words:
                raise self.file_error(
                    f"{p.preselection_file}: has {len(words)} numbers for {count} records, "
                    f"{words.count(label)} of them preselection_label {label}; it needs one for "
                    "each record"
                )
            numbers = numbers[np.array(words) == label]
        if p.rand_permute:
            seed = p.rand_permute_seed if p.HasField("rand_permute_seed") else draw(mode.rng())
            numbers = np.random.RandomState(seed).permutation(numbers)
        return numbers

    def records(self) -> Iterator[Record]:
        while True:
            record = self.attempt(self._transformed) if self.in_share(self.number) else None
            self.number += 1
            self.reader.next()
            if record is not None:
                yield record

    def source_position(self) -> dict[str, Any]:
        return {"number": self.number, **self.reader.state()}

    def set_source_position(self, values: dict[str, Any]) -> None:
        self.number = int(values["number"])
        self.reader.go_to(self.number)
        self.reader.set_state(values)

    def _transformed(self) -> Record:
        image, label = self._record()
        return self.transformer(image), label

    def _record(self) -> Record:
        """Return the image and the label at the reader's position."""
        transform = self.layer_param.transform_param
        with self.using_files():
            datum = parse_binary(self.reader.value, caffe_pb2.Datum(), self.reader.path)
            if datum.encoded and transform.force_color and transform.force_gray:
                raise self.error("has both force_color and force_gray; set one of them")
            return decode(datum, transform, self.reader.path), datum.label
