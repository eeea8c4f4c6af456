"""Nets of other kinds than FCNs, each with an input of one size and an output named "score".

A deep net of small kernels, two with BatchNorm, of which one has separable convolutions, and one so
small that the cost of a layer counts.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple, Sequence, Tuple

import caffe
import numpy as np
from caffe import layers as L
from caffe import params as P

CLASSES = 1000
FILLER = {"type": "msra"}


class Stage(NamedTuple):
    """Blocks of equal width: MobileNet v2's expansion, channels, number, and the first's stride."""

    expansion: int
    channels: int
    blocks: int
    stride: int


#: Sandler et al. 2018, "MobileNetV2", table 2.
MOBILE_STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)


class Builder:
    """A net that grows by convolutions with BatchNorm and Scale, in place as in published nets.

    size: height and width of the input, 1 x 3 x height x width. width: factor of the channels.
    """

    def __init__(self, size: Tuple[int, int], width: float) -> None:
        self.spec, self._width = caffe.NetSpec(), width
        self.spec.data = L.Input(input_param={"shape": {"dim": [1, 3, *size]}})

    def channels(self, count: int) -> int:
        """Return a number of channels of the published net, times the width."""
        return max(8, int(count * self._width))

    def normalized(
        self, name: str, x: Any, outputs: int, relu: bool = True, **settings: Any
    ) -> Any:
        """Add a convolution with BatchNorm, Scale and, unless told otherwise, ReLU."""
        top = L.Convolution(
            x, num_output=outputs, bias_term=False, weight_filler=FILLER, **settings
        )
        self.spec[name] = top
        self.spec[name + "_bn"] = top = L.BatchNorm(top, in_place=True)
        self.spec[name + "_scale"] = top = L.Scale(top, bias_term=True, in_place=True)
        if relu:
            self.spec[name + "_relu"] = top = L.ReLU(top, in_place=True)
        return top


def vgg16(size: Tuple[int, int], width: float = 1) -> Any:
    """Return VGG16's classifier (Simonyan & Zisserman 2015), configuration D."""
    build = Builder(size, width)
    spec, x = build.spec, build.spec.data
    for i, (count, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for j in range(1, count + 1):
            outputs = build.channels(channels)
            x = L.Convolution(x, num_output=outputs, kernel_size=3, pad=1, weight_filler=FILLER)
            spec[f"conv{i}_{j}"] = x
            spec[f"relu{i}_{j}"] = x = L.ReLU(x, in_place=True)
        spec[f"pool{i}"] = x = L.Pooling(x, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    for i in (6, 7):
        spec[f"fc{i}"] = x = L.InnerProduct(x, num_output=build.channels(4096))
        spec[f"relu{i}"] = x = L.ReLU(x, in_place=True)
    spec.score = L.InnerProduct(x, num_output=CLASSES)
    return spec.to_proto()


def resnet50(size: Tuple[int, int], width: float = 1) -> Any:
    """Return ResNet-50 (He et al. 2016, table 1), with the stride in the first 1 x 1 layer."""
    build = Builder(size, width)
    spec = build.spec
    x = build.normalized("conv1", spec.data, build.channels(64), kernel_size=7, stride=2, pad=3)
    spec.pool1 = x = L.Pooling(x, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    for stage, count in enumerate((3, 4, 6, 3), 2):
        inner = build.channels(2 ** (stage + 4))
        for block in range(count):
            name, stride = f"res{stage}{chr(97 + block)}", 2 if block == 0 and stage > 2 else 1
            shortcut = x
            if block == 0:
                shortcut = build.normalized(
                    name + "_1", x, 4 * inner, False, kernel_size=1, stride=stride
                )
            y = build.normalized(name + "_2a", x, inner, kernel_size=1, stride=stride)
            y = build.normalized(name + "_2b", y, inner, kernel_size=3, pad=1)
            y = build.normalized(name + "_2c", y, 4 * inner, False, kernel_size=1)
            spec[name] = x = L.Eltwise(shortcut, y)
            spec[name + "_relu"] = x = L.ReLU(x, in_place=True)
    spec.pool5 = L.Pooling(x, pool=P.Pooling.AVE, global_pooling=True)
    spec.score = L.InnerProduct(spec.pool5, num_output=CLASSES)
    return spec.to_proto()


def mobilenet_v2(size: Tuple[int, int], width: float = 1) -> Any:
    """Return MobileNet v2 (Sandler et al. 2018), with ReLU as its Caffe ports have it."""
    build = Builder(size, width)
    spec = build.spec
    x = build.normalized("conv1", spec.data, build.channels(32), kernel_size=3, stride=2, pad=1)
    inputs, number = build.channels(32), 0
    for stage in MOBILE_STAGES:
        outputs = build.channels(stage.channels)
        for block in range(stage.blocks):
            number += 1
            name, y, inner = f"block{number}", x, stage.expansion * inputs
            stride = stage.stride if block == 0 else 1
            if stage.expansion > 1:
                y = build.normalized(name + "_expand", y, inner, kernel_size=1)
            y = build.normalized(
                name + "_dw", y, inner, kernel_size=3, stride=stride, pad=1, group=inner
            )
            y = build.normalized(name + "_project", y, outputs, False, kernel_size=1)
            if stride == 1 and inputs == outputs:
                spec[name] = y = L.Eltwise(x, y)
            x, inputs = y, outputs
    x = build.normalized("last", x, build.channels(1280), kernel_size=1)
    spec.pool = L.Pooling(x, pool=P.Pooling.AVE, global_pooling=True)
    spec.score = L.InnerProduct(spec.pool, num_output=CLASSES)
    return spec.to_proto()


def sphereface20(size: Tuple[int, int], width: float = 1) -> Any:
    """Return SphereFace-20 (Liu et al. 2017, table 2): 20 layers, PReLU after each convolution."""
    build = Builder(size, width)
    spec = build.spec
    x = shortcut = spec.data
    for stage, (count, channels) in enumerate(((1, 64), (2, 128), (4, 256), (1, 512)), 1):
        outputs = build.channels(channels)
        for layer in range(1, 2 + 2 * count):
            name = f"conv{stage}_{layer}"
            settings = {"stride": 2} if layer == 1 else {}
            x = L.Convolution(
                x, num_output=outputs, kernel_size=3, pad=1, weight_filler=FILLER, **settings
            )
            spec[name] = x
            spec[f"relu{stage}_{layer}"] = x = L.PReLU(x, in_place=True)
            if layer == 1:
                shortcut = x
            elif layer % 2 == 1:
                spec[f"res{stage}_{layer}"] = x = shortcut = L.Eltwise(shortcut, x)
    spec.fc5 = L.InnerProduct(x, num_output=build.channels(512))
    spec.score = L.InnerProduct(spec.fc5, num_output=CLASSES)
    return spec.to_proto()


def p_net(size: Tuple[int, int], width: float = 1) -> Any:
    """Return the proposal net of MTCNN (Zhang et al. 2016, figure 2), its two outputs as one blob.

    Programs that return one output of a net would return different ones.
    """
    build = Builder(size, width)
    spec, x = build.spec, build.spec.data
    for i, outputs in enumerate((10, 16, 32), 1):
        spec[f"conv{i}"] = x = L.Convolution(
            x, num_output=build.channels(outputs), kernel_size=3, weight_filler=FILLER
        )
        spec[f"prelu{i}"] = x = L.PReLU(x, in_place=True)
        if i == 1:
            spec.pool1 = x = L.Pooling(x, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    classes = L.Convolution(x, num_output=2, kernel_size=1, weight_filler=FILLER)
    spec.classes, spec.box = (
        classes,
        L.Convolution(x, num_output=4, kernel_size=1, weight_filler=FILLER),
    )
    spec.score = L.Concat(spec.classes, spec.box)
    return spec.to_proto()


class Classifier(NamedTuple):
    """A net, the words for it, and the size of its input."""

    title: str
    build: Callable[..., Any]
    size: Tuple[int, int]


CLASSIFIERS: Dict[str, Classifier] = {
    "vgg16": Classifier("VGG16", vgg16, (224, 224)),
    "resnet50": Classifier("ResNet-50", resnet50, (224, 224)),
    "mobilenet-v2": Classifier("MobileNet v2", mobilenet_v2, (224, 224)),
    "sphereface20": Classifier("SphereFace-20", sphereface20, (112, 96)),
    "p-net": Classifier("MTCNN's P-Net", p_net, (12, 12)),
}


def draw(layer_type: str, blobs: Sequence[Any], rng: np.random.Generator) -> bool:
    """Draw the parameters of a layer whose weights are no kernels; return whether it is one.

    The statistics are those of maps of about unit variance, so that the values stay finite.
    """
    if layer_type == "BatchNorm":
        values = [0.1 * rng.standard_normal(blobs[0].shape), 1 + rng.random(blobs[1].shape), 1]
    elif layer_type == "Scale":
        values = [0.5 + rng.random(blobs[0].shape), 0.1 * rng.standard_normal(blobs[1].shape)]
    elif layer_type == "PReLU":
        values = [0.25 * rng.random(blobs[0].shape)]
    else:
        return False
    for blob, value in zip(blobs, values):
        blob.data[...] = value
    return True
