"""`Layer`, which users extend, and `EngineLayer`, the base of the layers that come with the engine.

What the engine needs to know of a type (how many bottoms it takes, whether it is a loss, ...) are
attributes of `EngineLayer` alone. A user's class may use any other name for its attributes and
methods: the engine reads `blobs`, `setup`, `reshape`, `forward` and `backward` of it, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from ..blob import Blob, BlobVec
from ..errors import LayerError


class Layer:
    """A layer of the user's, named by `python_param` in a prototxt.

    A subclass has four methods. `setup(bottom, top)` reads `param_str` once, `reshape(bottom, top)`
    gives the tops their shapes, `forward(bottom, top)` computes the tops' data, and
    `backward(top, propagate_down, bottom)` computes the bottoms' diff from the tops'. `bottom` and
    `top` are lists of Blob; `propagate_down` has a bool for each bottom. For example:

        class Double(caffe.Layer):
            def setup(self, bottom, top):
                pass

            def reshape(self, bottom, top):
                top[0].reshape(*bottom[0].shape)

            def forward(self, bottom, top):
                top[0].data[...] = 2 * bottom[0].data

            def backward(self, top, propagate_down, bottom):
                bottom[0].diff[...] = 2 * top[0].diff

    `blobs` holds the layer's parameters, `phase` is caffe.TRAIN or caffe.TEST, `param_str` the
    prototxt's text. All other names belong to the subclass.
    """

    def __init__(self, param: Any) -> None:
        self.__type: str = param.type
        self.__blobs = BlobVec()
        self.phase: int = param.phase
        self.param_str: str = param.python_param.param_str

    @property
    def type(self) -> str:
        """The layer type, as in the prototxt."""
        return self.__type

    @property
    def blobs(self) -> BlobVec:
        """The layer's parameters, a list of Blob; `add_blob(*shape)` appends one of zeros."""
        return self.__blobs

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Read the parameters, once."""

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Give the tops the shapes that follow from the bottoms'."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Compute the tops' data."""
        raise NotImplementedError(f"{self.type} has no forward")

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """Compute the bottoms' diff, where `propagate_down` says so, from the tops' diff."""
        raise NotImplementedError(f"{self.type} has no backward")


class EngineLayer(Layer):
    """A layer of Caffe's catalogue: what the engine knows of its type is in class attributes."""

    #: How many bottoms and tops the type takes: (least, most).
    bottoms: ClassVar[tuple[int, float]] = (0, math.inf)
    tops: ClassVar[tuple[int, float]] = (0, math.inf)
    equal_bottoms_and_tops: ClassVar[bool] = False
    #: A loss: its first top has loss weight 1 unless the prototxt says otherwise.
    loss: ClassVar[bool] = False
    #: Tops that the prototxt leaves out are made without a name, down to this many.
    auto_tops: ClassVar[int] = 0
    #: May run with a top that is its bottom.
    in_place: ClassVar[bool] = True
    #: A value of the top depends on the values at the same place of the bottoms, and the top has
    #: the bottom's shape.
    pointwise: ClassVar[bool] = False
    #: The tops are the bottom under other names.
    copies: ClassVar[bool] = False
    #: Running the layer a second time gives, or does, something else.
    stateful: ClassVar[bool] = False
    #: The layer runs on the device alone, so that a CUDA graph of a pass may contain it: it reads
    #: nothing back, and nothing in Python depends on having run.
    replayable: ClassVar[bool] = False

    def __init__(self, param: Any) -> None:
        super().__init__(param)
        self.layer_param = param
        # Per parameter blob: whether backward computes its gradient. Set by the wiring.
        self.param_propagate_down: list[bool] = []

    @property
    def name(self) -> str:
        """The layer's name in the prototxt."""
        return self.layer_param.name

    def error(self, reason: str) -> LayerError:
        """A LayerError about this layer."""
        return LayerError(self.name, self.type, reason)

    @property
    def products(self) -> int:
        """The multiplications for one value of a top; 0 where they are not worth counting."""
        return 0

    def window(self) -> Any:
        """The `Window` of each position of an N x C x H x W top, where it is the same everywhere.

        None says that it is not, or that the layer is not known to have one.
        """
        return None

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        """The shapes of the tops from those of the bottoms."""
        raise NotImplementedError(f"{self.type} does not say its shapes")

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Whether `force_backward` reaches this bottom (labels say no)."""
        return True
