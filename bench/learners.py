"""Nets that are trained on arrays, as tables of layers from which every program builds them.

A net so small that the cost of a layer counts, LeNet and CaffeNet, with small and large batches.
"""

from __future__ import annotations

from typing import Dict, Mapping, NamedTuple, Sequence, Tuple, Union


class Convolution(NamedTuple):
    """A convolution with a bias; all settings are for both axes."""

    name: str
    outputs: int
    kernel: int
    stride: int = 1
    pad: int = 0
    group: int = 1


class Dense(NamedTuple):
    """A product of all values with a matrix, and a bias: Caffe's InnerProduct."""

    name: str
    outputs: int


class Pooling(NamedTuple):
    """The maxima of windows."""

    kernel: int
    stride: int


class Other(NamedTuple):
    """A layer without settings: "ReLU", or "LRN" over 5 channels with alpha 1e-4 and beta 0.75."""

    type: str


Layer = Union[Convolution, Dense, Pooling, Other]
RELU, LRN = Other("ReLU"), Other("LRN")
#: Fields of every solver. With a small rate the weights stay finite in long measurements.
SOLVER = {"base_lr": 0.001, "momentum": 0.9, "weight_decay": 0.0005}

SIX_LAYERS = (Dense("ip1", 10), RELU, Dense("ip2", 10), RELU, Dense("score", 4))
#: LeCun et al. 1998, in the form of Caffe's example.
LENET = (
    *(Convolution("conv1", 20, 5), Pooling(2, 2), Convolution("conv2", 50, 5), Pooling(2, 2)),
    *(Dense("ip1", 500), RELU, Dense("score", 10)),
)
#: Krizhevsky et al. 2012, with pooling before normalization, and without dropout: the programs draw
#: different numbers.
CAFFENET = (
    *(Convolution("conv1", 96, 11, stride=4), RELU, Pooling(3, 2), LRN),
    *(Convolution("conv2", 256, 5, pad=2, group=2), RELU, Pooling(3, 2), LRN),
    *(Convolution("conv3", 384, 3, pad=1), RELU),
    *(Convolution("conv4", 384, 3, pad=1, group=2), RELU),
    *(Convolution("conv5", 256, 3, pad=1, group=2), RELU, Pooling(3, 2)),
    *(Dense("fc6", 4096), RELU, Dense("fc7", 4096), RELU, Dense("score", 1000)),
)


def name_of(layer: Layer, number: int) -> str:
    """Return the name of a layer, the `number`-th of its net."""
    kind = layer.type if isinstance(layer, Other) else "pool"
    return layer.name if isinstance(layer, (Convolution, Dense)) else f"{kind.lower()}{number}"


class Learner(NamedTuple):
    """A net that learns.

    title: its name on the page. layers: those between the data and the softmax loss. shape: that of
    the data, N x C x H x W. family: the name of its weights, which do not depend on the batch.
    """

    title: str
    layers: Sequence[Layer]
    shape: Tuple[int, int, int, int]
    family: str

    @property
    def classes(self) -> int:
        """The outputs of the last layer."""
        return self.weighted()[-1].outputs

    def weighted(self) -> Sequence[Union[Convolution, Dense]]:
        """Return the layers with weights."""
        return [layer for layer in self.layers if isinstance(layer, (Convolution, Dense))]


LEARNERS: Dict[str, Learner] = {
    "six-layers": Learner("six small layers, batch 64", SIX_LAYERS, (64, 10, 1, 1), "six-layers"),
    "lenet-2": Learner("LeNet, batch 2", LENET, (2, 1, 28, 28), "lenet"),
    "lenet-64": Learner("LeNet, batch 64", LENET, (64, 1, 28, 28), "lenet"),
    "caffenet-2": Learner("CaffeNet, batch 2", CAFFENET, (2, 3, 227, 227), "caffenet"),
    "caffenet-64": Learner("CaffeNet, batch 64", CAFFENET, (64, 3, 227, 227), "caffenet"),
}


def with_outputs(learner: Learner, outputs: Mapping[str, int]) -> Learner:
    """Return a net with other numbers of outputs, by the names of the layers."""

    def changed(layer: Layer) -> Layer:
        weighted = isinstance(layer, (Convolution, Dense))
        return layer._replace(outputs=outputs[layer.name]) if weighted else layer  # type: ignore

    return learner._replace(layers=tuple(map(changed, learner.layers)))


def narrow(learner: Learner, width: float) -> Learner:
    """Return a net with `width` times as many channels but for the scores.

    The channels of a smaller net are multiples of 4, so that groups divide them.
    """
    if width == 1:
        return learner
    *inner, last = learner.weighted()
    outputs = {layer.name: max(4, 4 * round(layer.outputs * width / 4)) for layer in inner}
    return with_outputs(learner, {**outputs, last.name: last.outputs})
