"""`Layer`, the class that users extend, and `EngineLayer`, the base of the engine's own layers.

Of a user's layer the engine reads `blobs` and calls `setup`, `reshape`, `forward` and `backward`.
All else that the engine needs to know about a layer type, such as its number of bottoms or whether
it is a loss, is an attribute of `EngineLayer` alone. A user's class is free to use those names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from ..blob import Blob, BlobVec
from ..errors import FileError, LayerError, LayerFileError, ShapeError
from ..fillers import fill
from ..proto import caffe_pb2
from .windows import Window


class Layer:
    """The base of a layer that a user writes and that `python_param` in a prototxt names.

    A subclass has four methods:

    - `setup(bottom, top)` reads `param_str`; it is called once.
    - `reshape(bottom, top)` gives the tops their shapes; it is called before each forward.
    - `forward(bottom, top)` computes the data of the tops.
    - `backward(top, propagate_down, bottom)` computes the diff of the bottoms.

    `bottom` and `top` are lists of Blob; `propagate_down` has a bool for each bottom. For example:

        class Double(caffe.Layer):
            def setup(self, bottom, top):
                pass

            def reshape(self, bottom, top):
                top[0].reshape(*bottom[0].shape)

            def forward(self, bottom, top):
                top[0].data[...] = 2 * bottom[0].data

            def backward(self, top, propagate_down, bottom):
                if propagate_down[0]:
                    bottom[0].diff[...] = 2 * top[0].diff

    As in BVLC Caffe, `blobs` and `type` are read-only, and `phase` (caffe.TRAIN or caffe.TEST) and
    `param_str` (the text in the prototxt) are set. `param_str_` is its name in Fast R-CNN's Caffe.
    All other names belong to the subclass.
    """

    def __init__(self, param: Any) -> None:
        self._caffe_type: str = param.type
        self._caffe_blobs = BlobVec()
        self.phase: int = param.phase
        self.param_str: str = param.python_param.param_str
        self.param_str_: str = self.param_str

    @property
    def type(self) -> str:
        """The layer type in the prototxt."""
        return self._caffe_type

    @property
    def blobs(self) -> BlobVec:
        """The parameters, a list of Blob. `blobs.add_blob(*shape)` appends a blob of zeros."""
        return self._caffe_blobs

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Read the settings and add the parameters. Called once."""

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Give the tops the shapes that follow from the shapes of the bottoms."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Compute the data of the tops."""
        raise NotImplementedError(f"{self.type} has no forward")

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """Compute the diff of the bottoms for which `propagate_down` is true."""
        raise NotImplementedError(f"{self.type} has no backward")


class EngineLayer(Layer):
    """A layer of Caffe's catalogue. Class attributes describe the layer type to the engine.

    param: the LayerParameter.
    """

    #: The least and the largest number of bottoms, and of tops.
    bottoms: ClassVar[tuple[int, float]] = (0, math.inf)
    tops: ClassVar[tuple[int, float]] = (0, math.inf)
    equal_bottoms_and_tops: ClassVar[bool] = False
    #: The first top has loss weight 1 unless the prototxt sets another.
    loss: ClassVar[bool] = False
    #: The engine adds unnamed tops until the layer has this many.
    auto_tops: ClassVar[int] = 0
    #: A top may be the bottom itself.
    in_place: ClassVar[bool] = True
    #: Every position of the top belongs to the same position of the bottoms, and the top has the
    #: shape of the first bottom. Statistics may come from other positions, as in BatchNorm.
    pointwise: ClassVar[bool] = False
    #: The tops are the bottom under other names.
    copies: ClassVar[bool] = False
    #: Two forward passes differ in their result, or the second changes the layer again.
    stateful: ClassVar[bool] = False
    #: Files may hold the parameters with other axes of size 1, in which versions of a fork differ.
    loose_axes: ClassVar[bool] = False
    #: A CUDA graph of a pass may contain the layer: forward reads nothing back from the device, and
    #: no state in Python depends on a call of forward.
    replayable: ClassVar[bool] = False

    def __init__(self, param: Any) -> None:
        super().__init__(param)
        self.layer_param = param
        # For each parameter, whether backward computes its gradient. The wiring sets the list.
        self.param_propagate_down: list[bool] = []

    @property
    def name(self) -> str:
        """The name of the layer in the prototxt."""
        return self.layer_param.name

    def resume_state(self) -> Any:
        """Return what a resumed training needs of this layer beside its parameters, or None.

        That is, for example, the position of a data layer: values for a JSON file.
        """
        return None

    def set_resume_state(self, values: Any) -> None:
        """Continue where `resume_state` returned `values`.

        Raises ValueError, TypeError or KeyError for values of another layer.
        """

    def error(self, reason: str) -> LayerError:
        """Return a LayerError about the parameters of this layer."""
        return LayerError(self.name, self.type, reason)

    def shape_error(self, reason: str) -> ShapeError:
        """Return a ShapeError about the bottoms, tops or parameters of this layer."""
        return ShapeError(self.name, self.type, reason)

    def file_error(self, reason: str) -> LayerFileError:
        """Return a LayerFileError about a file that this layer reads or writes."""
        return LayerFileError(self.name, self.type, reason)

    @contextmanager
    def using_files(self) -> Iterator[None]:
        """Raise the FileErrors of functions that know no layer as LayerFileErrors of this layer."""
        try:
            yield
        except LayerFileError:
            raise
        except FileError as error:
            raise self.file_error(str(error)) from error

    def fill(self, blob: Blob, filler: Any) -> None:
        """Fill a blob as the FillerParameter `filler` says. Raises LayerError or ShapeError."""
        fill(blob, filler, self.name, self.type)

    def add_parameter(self, shape: Sequence[int], filler: Any) -> None:
        """Append a parameter of this shape, filled as the FillerParameter `filler` says."""
        self.blobs.add_blob(*shape)
        deployed = self.phase == caffe_pb2.TEST
        fill(self.blobs[-1], filler, self.name, self.type, has_file_values=deployed)

    @property
    def products(self) -> int:
        """The multiplications for one value of a top; 0 where they are too few to count."""
        return 0

    def window(self) -> Window | None:
        """Return the positions that one position of an N x C x H x W top depends on.

        None where the positions differ from place to place, or where the layer cannot tell.
        """
        return None

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        """Return the shapes of the tops for bottoms of these shapes."""
        raise NotImplementedError(f"{self.type} cannot tell its shapes")

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Return whether `force_backward` asks for this bottom's gradient; labels have none."""
        return True


def zero_gradients(propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
    """Set the gradients of the bottoms that ask for one to zero: the tops do not depend on them."""
    for blob, go in zip(bottom, propagate_down):
        if go:
            blob.gradient.zero()
