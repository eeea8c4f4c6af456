"""Nets of other kinds than FCNs, each with an input of one size and an output named "score".

A deep net of small kernels, two with BatchNorm, of which one has separable convolutions, and one so
small that the cost of a layer counts.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple, Sequence, Tuple

import numpy as np
from caffe import layers as L
from caffe import params as P

from bench import dense_maps, faces
from bench.builder import Builder
from bench.faces import CLASSES


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


def vgg16(size: Tuple[int, int], width: float = 1) -> Any:
    """Return VGG16's classifier (Simonyan & Zisserman 2015), configuration D."""
    build = Builder(size, width)
    spec, x = build.spec, build.spec.data
    for i, (count, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for j in range(1, count + 1):
            x = build.rectified(f"conv{i}_{j}", x, build.channels(channels))
        x = build.pooled(f"pool{i}", x)
    for i in (6, 7):
        spec[f"fc{i}"] = x = L.InnerProduct(x, num_output=build.channels(4096))
        spec[f"relu{i}"] = x = L.ReLU(x, in_place=True)
    spec.score = L.InnerProduct(x, num_output=CLASSES)
    return spec.to_proto()


def resnet50(size: Tuple[int, int], width: float = 1, inner_channels: int = 64) -> Any:
    """Return ResNet-50 (He et al. 2016, table 1), with the stride in the first 1 x 1 layer.

    inner_channels: of the first stage's 3 x 3 layers; the later stages double them.
    """
    build = Builder(size, width)
    spec = build.spec
    x = build.normalized("conv1", spec.data, build.channels(64), kernel_size=7, stride=2, pad=3)
    x = build.pooled("pool1", x, 3)
    for stage, count in enumerate((3, 4, 6, 3), 2):
        inner = build.channels(inner_channels * 2 ** (stage - 2))
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
    spec.score = L.InnerProduct(build.averaged("pool5", x), num_output=CLASSES)
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
    spec.score = L.InnerProduct(build.averaged("pool", x), num_output=CLASSES)
    return spec.to_proto()


def open_nsfw(size: Tuple[int, int], width: float = 1) -> Any:
    """Return the thin ResNet-50 of Yahoo's open_nsfw (2016): half the channels of its stages."""
    return resnet50(size, width, inner_channels=32)


#: The branches of Inception v3's blocks (Szegedy et al. 2016, "Rethinking the Inception
#: Architecture", figures 5 to 7 and 10, with the channels of the published net). A layer is its
#: kernel, outputs and stride; "max" and "ave" pool; a tuple of layers is a fork.
Layer = Tuple[Tuple[int, int], int, int]


def _small(pooled: int) -> Sequence[Sequence[Any]]:
    """Return the branches of a block at 35 x 35. pooled: the outputs behind the pooling."""
    one, three, five = (1, 1), (3, 3), (5, 5)
    return (
        [(one, 64, 1)],
        [(one, 48, 1), (five, 64, 1)],
        [(one, 64, 1), (three, 96, 1), (three, 96, 1)],
        ["ave", (one, pooled, 1)],
    )


def _long(inner: int) -> Sequence[Sequence[Any]]:
    """Return the branches of a block at 17 x 17, with kernels of 1 x 7 and 7 x 1."""
    one, row, column = (1, 1), (1, 7), (7, 1)
    double = [(column, inner, 1), (row, inner, 1), (column, inner, 1), (row, 192, 1)]
    return (
        [(one, 192, 1)],
        [(one, inner, 1), (row, inner, 1), (column, 192, 1)],
        [(one, inner, 1), *double],
        ["ave", (one, 192, 1)],
    )


def _wide() -> Sequence[Sequence[Any]]:
    """Return the branches of a block at 8 x 8, two of which end in a fork."""
    fork = (((1, 3), 384, 1), ((3, 1), 384, 1))
    return (
        [((1, 1), 320, 1)],
        [((1, 1), 384, 1), fork],
        [((1, 1), 448, 1), ((3, 3), 384, 1), fork],
        ["ave", ((1, 1), 192, 1)],
    )


INCEPTIONS: Sequence[Sequence[Sequence[Any]]] = (
    _small(32),
    _small(64),
    _small(64),
    ([((3, 3), 384, 2)], [((1, 1), 64, 1), ((3, 3), 96, 1), ((3, 3), 96, 2)], ["max"]),
    _long(128),
    _long(160),
    _long(160),
    _long(192),
    (
        [((1, 1), 192, 1), ((3, 3), 320, 2)],
        [((1, 1), 192, 1), ((1, 7), 192, 1), ((7, 1), 192, 1), ((3, 3), 192, 2)],
        ["max"],
    ),
    _wide(),
    _wide(),
)


def inception_v3(size: Tuple[int, int], width: float = 1) -> Any:
    """Return Inception v3 (Szegedy et al. 2016, table 1) without its auxiliary classifier."""
    build = Builder(size, width)

    def layer(name: str, x: Any, kernel: Tuple[int, int], outputs: int, stride: int) -> Any:
        pads = [0, 0] if stride > 1 else [k // 2 for k in kernel]
        settings: Dict[str, Any] = {"kernel_h": kernel[0], "kernel_w": kernel[1], "stride": stride}
        settings.update(pad_h=pads[0], pad_w=pads[1])
        return build.normalized(name, x, build.channels(outputs), **settings)

    def branch(name: str, x: Any, layers: Sequence[Any]) -> Sequence[Any]:
        for i, item in enumerate(layers, 1):
            if item == "max":
                x = build.pooled(name + "_pool", x, 3)
            elif item == "ave":
                x = build.pooled(name + "_pool", x, 3, 1, pad=1, pool=P.Pooling.AVE)
            elif isinstance(item[0][0], tuple):
                return [layer(f"{name}_{i}{c}", x, *end) for c, end in zip("ab", item)]
            else:
                x = layer(f"{name}_{i}", x, *item)
        return [x]

    x = layer("conv1", build.spec.data, (3, 3), 32, 2)
    x = build.normalized("conv2", x, build.channels(32), kernel_size=3)
    x = layer("conv3", x, (3, 3), 64, 1)
    x = layer("conv4", build.pooled("pool1", x, 3), (1, 1), 80, 1)
    x = build.normalized("conv5", x, build.channels(192), kernel_size=3)
    x = build.pooled("pool2", x, 3)
    for i, block in enumerate(INCEPTIONS, 1):
        tops = [top for j, layers in enumerate(block, 1) for top in branch(f"i{i}_{j}", x, layers)]
        x = build.joined(f"i{i}", tops)
    build.spec.score = L.InnerProduct(build.averaged("pool", x), num_output=CLASSES)
    return build.spec.to_proto()


class Classifier(NamedTuple):
    """A net, its title, and the size of its input."""

    title: str
    build: Callable[..., Any]
    size: Tuple[int, int]


CLASSIFIERS: Dict[str, Classifier] = {
    "vgg16": Classifier("VGG16", vgg16, (224, 224)),
    "resnet50": Classifier("ResNet-50", resnet50, (224, 224)),
    "mobilenet-v2": Classifier("MobileNet v2", mobilenet_v2, (224, 224)),
    "sphereface20": Classifier("SphereFace-20", faces.sphereface20, (112, 96)),
    "p-net": Classifier("MTCNN's P-Net", faces.p_net, (12, 12)),
    "retinaface": Classifier("RetinaFace, MobileNet 0.25", faces.retinaface, (640, 640)),
    "lightened-cnn": Classifier("the lightened CNN", faces.lightened_cnn, (128, 128)),
    "open-nsfw": Classifier("open_nsfw", open_nsfw, (224, 224)),
    "inception-v3": Classifier("Inception v3", inception_v3, (299, 299)),
    "body25": Classifier("OpenPose's BODY_25", dense_maps.body25, (368, 368)),
    "colorization": Classifier("the colorization net", dense_maps.colorization, (224, 224)),
}


def draw(layer_type: str, blobs: Sequence[Any], rng: np.random.Generator) -> bool:
    """Draw the parameters of a layer without kernels, such as BatchNorm; return whether it is one.

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
