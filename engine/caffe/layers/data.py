"""Data: images with labels from an LMDB database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .. import glog
from ..data import db
from ..data.transformer import Random, decode
from ..proto import caffe_pb2
from ..wire import parse_binary
from .prefetching import Prefetching, Record
from .registry import register


@register
class Data(Prefetching):
    """The Datum messages of an LMDB database in the order of their keys, without end.

    data_layer.cpp. With `shuffle`, of NVIDIA/caffe, intel/caffe and yjxiong/caffe, each turn has an
    order of its own.
    """

    settings = "data_param"

    def open(self) -> Sequence[int]:
        p = self.layer_param.data_param
        if p.backend == p.LEVELDB:
            raise self.error(f"data_param has backend LEVELDB; {db.NO_LEVELDB}")
        with self.using_files():
            self.reader = db.open_reader(p.source, Random() if p.shuffle else None)
        #: How many records were read, by whichever solver.
        self.number = 0
        glog.write("db_lmdb.cpp:35", f"Opened lmdb {p.source}")
        return self._record()[0].shape

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
        """The image and the label at the reader's position."""
        transform = self.layer_param.transform_param
        with self.using_files():
            datum = parse_binary(self.reader.value, caffe_pb2.Datum(), self.reader.path)
            if datum.encoded and transform.force_color and transform.force_gray:
                raise self.error("has both force_color and force_gray; set one of them")
            return decode(datum, transform, self.reader.path), datum.label
