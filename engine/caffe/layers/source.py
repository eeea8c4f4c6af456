"""`Source`, the base of layers without bottoms, and the layers that read no files.

Input, DummyData and MemoryData.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import boost_random, launch, mode
from ..blob import Blob
from ..proto import caffe_pb2
from .base import EngineLayer
from .registry import register


class Source(EngineLayer):
    """A layer without bottoms. No gradient passes through it."""

    bottoms, tops = (0, 0), (1, float("inf"))

    def __init__(self, param: Any) -> None:
        super().__init__(param)
        test = self.phase == caffe_pb2.TEST
        #: The rank of this solver, and the number of solvers that share out the records.
        self.share = (0, 1) if test else (launch.solver_rank(), launch.solver_count())

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        pass

    def in_share(self, number: int) -> bool:
        """Return whether this solver reads record `number`; in TRAIN several solvers take turns."""
        rank, count = self.share
        return number % count == rank

    def for_each(
        self, top: Sequence[Blob], values: Sequence[Any], name: str, optional: bool = False
    ) -> list[Any]:
        """Return a value for each top, where one value stands for all tops.

        values: the entries of the field `name`. With `optional` there may be none, and the result
        is then empty. Raises LayerError for another number of values.
        """
        if len(values) not in (1, len(top)) and (values or not optional):
            alternatives = "none, one for all, or" if optional else "one for all, or"
            raise self.error(
                f"{len(values)} {name} for {len(top)} tops; it needs {alternatives} one for each"
            )
        return (list(values) * len(top))[: len(top)]

    def positive(self, value: int, name: str) -> int:
        """Return `value` of the field `name`. Raises LayerError where it is below 1."""
        if value < 1:
            raise self.error(f"{name} is {value}; it needs to be at least 1")
        return value


@register
class Input(Source):
    """Tops of the shapes in input_param, which the user fills (input_layer.cpp)."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        shapes = self.layer_param.input_param.shape
        for blob, shape in zip(top, self.for_each(top, shapes, "shapes", optional=True)):
            blob.resize(list(shape.dim))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass


@register
class DummyData(Source):
    """Tops that fillers fill: a constant once, other fillers at each forward.

    dummy_data_layer.cpp. Without data_filler the tops are 0.
    """

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
                self.fill(blob, filler)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for blob, filler in zip(top, self.fillers):
            if filler.type != "constant":
                self.fill(blob, filler)


@register
class MemoryData(Source):
    """Batches of the arrays that `net.set_input_arrays` sets, in turn, without end.

    The tops are data, batch_size x channels x height x width, and labels, batch_size
    (memory_data_layer.cpp).
    """

    tops = (2, 2)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.memory_data_param
        self.shape = tuple(
            self.positive(getattr(p, name), name)
            for name in ("batch_size", "channels", "height", "width")
        )
        top[0].resize(self.shape)
        top[1].resize(self.shape[:1])
        self.arrays: tuple[np.ndarray, np.ndarray] | None = None
        #: The row at which the next batch begins.
        self.position = 0
        transform = self.layer_param.transform_param
        if transform.mirror or (transform.crop_size and self.phase == caffe_pb2.TRAIN):
            # BVLC Caffe seeds a transformer, which changes no arrays.
            boost_random.raw(mode.rng(), 1)

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Use these arrays, without a copy: data N x channels x height x width, and N labels.

        Both are float32, and N is a multiple of batch_size. Raises LayerError or ShapeError.
        """
        rows = labels[:, None, None, None] if labels.ndim == 1 else labels
        self._check_array("data", data, self.shape[1:])
        self._check_array("labels", rows, (1, 1, 1))
        batch = self.shape[0]
        if len(data) != len(labels) or len(data) % batch or not len(data):
            raise self.shape_error(
                f"{len(data)} data and {len(labels)} labels; their numbers need to be equal, and a "
                f"multiple of batch_size {batch}"
            )
        self.arrays, self.position = (data, labels.reshape(-1)), 0

    def _check_array(self, name: str, array: np.ndarray, shape: Sequence[int]) -> None:
        """Raise LayerError for a type other than float32, ShapeError for rows of other shapes."""
        if array.dtype != np.float32 or not array.flags.c_contiguous:
            raise self.error(f"{name} array must be C contiguous float32")
        if array.shape[1:] != tuple(shape):
            need = " x ".join(map(str, ("N", *shape)))
            raise self.shape_error(f"{name} array has shape {array.shape}; it needs {need}")

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.arrays is None:
            raise self.error("has no data yet; call net.set_input_arrays(data, labels) first")
        part = slice(self.position, self.position + self.shape[0])
        for blob, array, shape in zip(top, self.arrays, (self.shape, (self.shape[0], 1, 1, 1))):
            if blob.values.shape != shape:
                blob.resize(shape)
            np.copyto(blob.values.mutable().numpy(), array[part].reshape(shape))
        self.position = part.stop % len(self.arrays[0])

    def resume_state(self) -> Any:
        return {"position": self.position}

    def set_resume_state(self, values: Any) -> None:
        if self.arrays is not None:
            self.position = int(values["position"]) % len(self.arrays[0])
