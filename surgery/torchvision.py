"""Weights of torchvision's VGG16 and GoogLeNet as a .caffemodel: `python -m surgery torchvision`.

torchvision's nets read RGB images of 0..1 minus a mean and divided by a standard deviation; Caffe's
read BGR images of 0..255 minus a mean. The first convolution takes up the difference: its channels
are turned around, its weights divided by 255 times the deviation, and its bias moved by the
difference of the means. The results equal torchvision's where the window of the first convolution
lies inside the image. At the padding, which has the value of the mean, they are equal for the mean
`MEAN_OF_TORCHVISION`.
"""

from __future__ import annotations

import argparse
import os
from fractions import Fraction
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import caffe
import numpy as np

import net_gen
from fcn_common.arguments import Parser
from fcn_common.files import atomic_path
from fcn_common.places import make_folder, temporary_folder
from fcn_common.voc import MEAN
from net_gen.trunks.googlenet import INCEPTIONS
from net_gen.trunks.vgg16 import BLOCKS
from surgery.tensor_files import SUFFIXES, Arrays, read_tensors

#: torchvision's mean and standard deviation of R, G and B, for images of 0..1.
INPUT_MEAN, INPUT_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: The same of what the published GoogLeNet computes from its input (transform_input).
TRANSFORMED_MEAN, TRANSFORMED_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
#: B, G, R of 0..255: the mean for which the padding has torchvision's value too.
MEAN_OF_TORCHVISION = tuple(255 * value for value in reversed(INPUT_MEAN))
#: Added to the variance by the normalization of torchvision's GoogLeNet.
NORMALIZATION_EPS = 1e-3


class Conversion(NamedTuple):
    """What became of a file: the classifier, a key of `net_gen.CLASSIFIERS`, and its settings.

    width: fraction of the channel counts. classes: the number of scores.
    """

    classifier: str
    width: Fraction
    classes: int


def vgg16_names() -> Dict[str, str]:
    """Return the names of VGG16's layers: Caffe's -> torchvision's."""
    names, place = {}, 0
    for block, (convolutions, _) in enumerate(BLOCKS, 1):
        for number in range(1, convolutions + 1):
            names[f"conv{block}_{number}"] = f"features.{place}"
            place += 2  # with the ReLU behind it
        place += 1  # the pooling
    names.update(fc6="classifier.0", fc7="classifier.3", fc8="classifier.6")
    return names


def googlenet_names() -> Dict[str, str]:
    """Return the names of GoogLeNet's layers: Caffe's -> torchvision's."""
    names = {"conv1/7x7_s2": "conv1", "conv2/3x3_reduce": "conv2", "conv2/3x3": "conv3"}
    branches = {
        **{"1x1": "branch1", "3x3_reduce": "branch2.0", "3x3": "branch2.1"},
        **{"5x5_reduce": "branch3.0", "5x5": "branch3.1", "pool_proj": "branch4.1"},
    }
    for module in INCEPTIONS:
        for layer, branch in branches.items():
            names[f"inception_{module}/{layer}"] = f"inception{module}.{branch}"
    names["loss3/classifier"] = "fc"
    return names


#: Classifier -> the names of its layers.
NAMES = {"vgg16": vgg16_names(), "googlenet": googlenet_names()}
#: Classifier -> its first layer, and the layer that scores the classes.
ENDS = {"vgg16": ("conv1_1", "fc8"), "googlenet": ("conv1/7x7_s2", "loss3/classifier")}
#: Channels of the first layer at full width.
FIRST_CHANNELS = 64


def convert(
    path: str,
    out: str,
    mean: Sequence[float] = MEAN,
    transform_input: Optional[bool] = None,
    net: Optional[str] = None,
) -> Conversion:
    """Write the weights of a torchvision file as a .caffemodel of VGG16 or GoogLeNet.

    path: a .safetensors file, or a state dict in a .pth file, which needs this project's engine.
    mean: of B, G and R, which is subtracted from the images of 0..255 that the net will read.
    transform_input: whether torchvision's net changes its input by itself, as the published
        GoogLeNet does; None means yes for GoogLeNet only.
    net: path of a prototxt to write, the classifier that computes what torchvision's does:
        torchvision's GoogLeNet has no LRN, and its pool4 has a kernel of 2.

    Raises OSError for a file that cannot be read, and ValueError for weights of another net.
    """
    name, blobs = layers_of(path, read_tensors(path), mean, transform_input)
    first, last = ENDS[name]
    width = Fraction(len(blobs[first][1]), FIRST_CHANNELS)
    result = Conversion(name, width, len(blobs[last][1]))
    param = net_gen.CLASSIFIERS[name]("deploy", classes=result.classes, width=width)
    _save(path, param, blobs, out)
    if net is not None:
        net_gen.write(as_in_torchvision(param), net)
    return result


def layers_of(
    path: str,
    tensors: Arrays,
    mean: Sequence[float] = MEAN,
    transform_input: Optional[bool] = None,
) -> Tuple[str, Dict[str, List[np.ndarray]]]:
    """Return the classifier of torchvision's tensors, and Caffe's layer -> arrays of its blobs.

    path: the file, for messages. mean, transform_input: as in `convert`. Raises ValueError for the
    tensors of another net.
    """
    name = _architecture(path, tensors)
    first, _ = ENDS[name]
    blobs = {layer: _blobs(path, tensors, theirs) for layer, theirs in NAMES[name].items()}
    transformed = name == "googlenet" if transform_input is None else transform_input
    statistics = (TRANSFORMED_MEAN, TRANSFORMED_STD) if transformed else (INPUT_MEAN, INPUT_STD)
    blobs[first] = fold_input(*blobs[first], *statistics, mean)
    for layer in blobs:
        if layer.endswith("/5x5"):
            weights, bias = blobs[layer]
            blobs[layer] = (_centred(weights, 5), bias)
    return name, {layer: list(arrays) for layer, arrays in blobs.items()}


def _architecture(path: str, tensors: Arrays) -> str:
    """Return the classifier whose tensors these are. Raises ValueError."""
    for name, table in NAMES.items():
        if all(f"{_key(tensors, theirs)}.weight" in tensors for theirs in table.values()):
            # VGG with normalization has other numbers, VGG19 further convolutions.
            count = sum(key.startswith("features.") and key.endswith("t") for key in tensors)
            if name != "vgg16" or count == len(table) - 3:
                return name
    some = ", ".join(sorted(tensors)[:4])
    raise ValueError(
        f"{path}: has the tensors {some}, ...; needs those of torchvision's vgg16 or googlenet"
    )


def _key(tensors: Mapping[str, Any], name: str) -> str:
    """Return the name of a layer's tensors; `.conv` follows where a normalization does."""
    return f"{name}.conv" if f"{name}.conv.weight" in tensors else name


def _blobs(path: str, tensors: Arrays, name: str) -> Tuple[np.ndarray, np.ndarray]:
    """Return a layer's weights and bias, multiplied by the normalization that follows."""
    if _key(tensors, name) == name:
        if f"{name}.bias" not in tensors:
            raise ValueError(f"{path}: lacks the tensor {name}.bias")
        return tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    needed = [f"{name}.bn.{key}" for key in ("weight", "bias", "running_mean", "running_var")]
    lacking = [key for key in needed if key not in tensors]
    if lacking:
        raise ValueError(f"{path}: lacks the tensor {lacking[0]}")
    gamma, beta, average, variance = (tensors[key].astype(np.float64) for key in needed)
    factor = gamma / np.sqrt(variance + NORMALIZATION_EPS)
    weights = tensors[f"{name}.conv.weight"] * factor[:, None, None, None]
    return weights.astype(np.float32), (beta - average * factor).astype(np.float32)


def fold_input(
    weights: np.ndarray,
    bias: np.ndarray,
    input_mean: Sequence[float],
    input_std: Sequence[float],
    mean: Sequence[float],
) -> Tuple[np.ndarray, np.ndarray]:
    """Return the weights and the bias of a first convolution for Caffe's images.

    weights: K x 3 x h x w, of a net that reads (RGB / 255 - input_mean) / input_std.
    mean: B, G, R; the net then reads BGR - mean, in 0..255.
    """
    if weights.shape[1:2] != (3,) or len(mean) != 3:
        raise ValueError(
            f"the first layer reads {weights.shape[1]} channels, the mean has {len(mean)} values; "
            "both need to be 3"
        )
    deviation = 255 * np.array(input_std, np.float64)
    shift = np.array(mean[::-1], np.float64) / deviation - np.divide(input_mean, input_std)
    moved = bias + np.einsum("kchw,c->k", weights.astype(np.float64), shift)
    scaled = weights / deviation[None, :, None, None]
    return scaled[:, ::-1].astype(np.float32), moved.astype(np.float32)


def _save(path: str, param: Any, blobs: Mapping[str, Sequence[np.ndarray]], out: str) -> None:
    """Write blobs as the weights of a net. Raises ValueError for blobs of other shapes."""
    make_folder(os.path.dirname(os.path.abspath(out)))
    with temporary_folder() as folder:
        prototxt = os.path.join(folder, "classifier.prototxt")
        net_gen.write(param, prototxt)
        net = caffe.Net(prototxt, caffe.TEST)
    for layer, arrays in blobs.items():
        for blob, values in zip(net.params[layer], arrays):
            if values.shape != tuple(blob.shape):
                raise ValueError(
                    f"{path}: layer {layer} has a blob of shape {values.shape}, needs "
                    f"{tuple(blob.shape)} for the width that the first layer has"
                )
            blob.data[...] = values
    with atomic_path(out) as temporary:
        net.save(temporary)


def _centred(weights: np.ndarray, size: int) -> np.ndarray:
    """Kernels in the middle of larger ones; torchvision's "5x5" branches have 3 x 3 kernels."""
    margin = (size - weights.shape[2]) // 2
    return np.pad(weights, [(0, 0), (0, 0), (margin, margin), (margin, margin)])


def as_in_torchvision(param: Any) -> Any:
    """Return a classifier's NetParameter with torchvision's layers: no LRN, and pool4 of 2 x 2."""
    result = type(param)()
    result.CopyFrom(param)
    replaced: Dict[str, str] = {}
    for layer in list(result.layer):
        layer.bottom[:] = [replaced.get(bottom, bottom) for bottom in layer.bottom]
        if layer.type == "LRN":
            replaced[layer.top[0]] = layer.bottom[0]
            result.layer.remove(layer)
        elif layer.name == "pool4/3x3_s2":
            layer.pooling_param.kernel_size = 2
    return result


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    program = Parser(
        prog="python -m surgery torchvision",
        description="Write the weights of torchvision's VGG16 or GoogLeNet as a .caffemodel.",
    )
    program.add_argument("weights", metavar="WEIGHTS", help=f"a file {', '.join(SUFFIXES)}")
    program.add_argument("out", nargs="?", metavar="OUT", help=".caffemodel (default: beside it)")
    program.add_argument(
        "--mean",
        metavar="B,G,R",
        help="the mean that is subtracted from the images, of 0..255 (default: ILSVRC's); "
        "`torchvision` is torchvision's",
    )
    program.add_argument("--net", metavar="FILE", help="write the classifier's prototxt, too")
    program.add_argument(
        "--transform-input",
        choices=("yes", "no"),
        help="whether torchvision's net changes its input (default: yes for GoogLeNet, as the "
        "published one does)",
    )
    return program


def parse_mean(text: Optional[str]) -> Tuple[float, ...]:
    """Return B, G, R of the option --mean. Raises ValueError."""
    if text is None:
        return tuple(MEAN)
    if text == "torchvision":
        return MEAN_OF_TORCHVISION
    try:
        values = tuple(float(value) for value in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3:
        raise ValueError(f"--mean {text}: needs three numbers, B,G,R, or torchvision")
    return values


def main(argv: Optional[List[str]] = None) -> None:
    """Convert a file and print what was written."""
    arguments = parser().parse_args(argv)
    out = arguments.out or os.path.splitext(arguments.weights)[0] + ".caffemodel"
    transform = {None: None, "yes": True, "no": False}[arguments.transform_input]
    mean = parse_mean(arguments.mean)
    done = convert(arguments.weights, out, mean, transform, arguments.net)
    print(f"{done.classifier}, {done.classes} classes, width {done.width}")
    print(f"wrote {out}, for BGR images of 0..255 minus {', '.join(f'{v:g}' for v in mean)}")
    if arguments.net:
        print(f"wrote {arguments.net}")
