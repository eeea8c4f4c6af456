"""CustomData: records of several maps, as FlowNet trains on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ...blob import Blob
from ...proto import caffe_pb2
from ...wire import parse_binary
from ..data import Data
from ..prefetching import Record
from ..registry import register

UINT8, UINT16FLOW = caffe_pb2.ChannelEncoding.UINT8, caffe_pb2.ChannelEncoding.UINT16FLOW
#: The 16-bit number of an unknown displacement, and the number of steps of a pixel.
UNKNOWN, STEPS = np.iinfo(np.int16).max, 32


@register
class CustomData(Data):
    """The maps of each Datum of an LMDB database, a top for each (lmb-freiburg/flownet2).

    slice_point cuts the channels of a Datum into maps, N x channels x H x W each; `encoding` says
    what the bytes of each map are: UINT8; UINT16FLOW, signed numbers of 16 bits in units of 1/32
    pixel, the largest of which is not-a-number; BOOL1, one bit a value, the lowest first. One top
    more has the labels. Records come as in Data.
    """

    tops = (1, math.inf)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.data_param
        self.slices = len(p.slice_point) + 1
        if len(top) not in (self.slices, self.slices + 1) or len(p.encoding) not in (
            0,
            self.slices,
        ):
            raise self.error(
                f"{len(p.slice_point)} slice_point, {len(p.encoding)} encoding and {len(top)} "
                f"tops; {self.slices} encoding and {self.slices} tops are needed, or one more"
            )
        super().setup([*bottom], [top[0], *top[self.slices :]])
        channels, *size = top[0].shape[1:]
        self.points = [0, *p.slice_point, channels]
        if any(a >= b for a, b in pairwise(self.points)):
            raise self.error(
                f"slice_point {list(p.slice_point)} of {channels} channels; rising numbers between "
                f"0 and {channels} are needed"
            )
        for blob, (a, b) in zip(top, pairwise(self.points)):
            blob.resize((self.batch_size, b - a, *size))

    def _transformed(self) -> Record:
        """Return all maps of the record at the reader's position, float32, and its label."""
        datum: Any = caffe_pb2.Datum()
        with self.using_files():
            datum = parse_binary(self.reader.value, datum, self.reader.path)
        p, size = self.layer_param.data_param, datum.height * datum.width
        points = [0, *p.slice_point, datum.channels]
        encodings = list(p.encoding) or [UINT8] * self.slices
        maps, rest = [], datum.data
        for (a, b), encoding in zip(pairwise(points), encodings):
            count = (b - a) * size
            length = {UINT8: count, UINT16FLOW: 2 * count}.get(encoding, -(-count // 8))
            if len(rest) < length:
                break
            maps.append(_decoded(rest[:length], encoding, count))
            rest = rest[length:]
        if len(maps) < self.slices or rest:
            raise self.file_error(
                f"{self.reader.path}: a Datum of {datum.channels} x {datum.height} x {datum.width} "
                f"has {len(datum.data)} bytes, which do not fit slice_point and encoding"
            )
        image = np.concatenate(maps).reshape(datum.channels, datum.height, datum.width)
        return image, datum.label

    def _record(self) -> Record:
        return self._transformed()

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        images, labels = self._prefetcher.next()
        for blob, (a, b) in zip(top, pairwise(self.points)):
            blob.values.set(torch.from_numpy(np.ascontiguousarray(images[:, a:b])))
        for blob in top[self.slices :]:
            blob.values.set(torch.from_numpy(labels))


def _decoded(data: bytes, encoding: int, count: int) -> np.ndarray:
    """Return `count` values of a map, float32."""
    if encoding == UINT8:
        return np.frombuffer(data, np.uint8).astype(np.float32)
    if encoding == UINT16FLOW:
        numbers = np.frombuffer(data, "<i2")
        return np.where(numbers == UNKNOWN, np.nan, numbers / np.float32(STEPS)).astype(np.float32)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    return bits[:count].astype(np.float32)
