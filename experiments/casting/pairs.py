"""A classifier beside the fully convolutional net that was cast from it, with the same weights."""

from __future__ import annotations

import os
from typing import Any, Iterator, NamedTuple, Optional

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from PIL import Image

import net_gen
import surgery
from fcn_common.places import temporary_folder
from fcn_common.voc import MEAN
from fcn_data.demo import draw_scene
from fcn_data.published import PUBLISHED
from net_gen.padding import Geometry
from solvers.folders import ROOT
from surgery.convolutional import convolutional, without_padding

SEED = 1
#: Key of `net_gen.CLASSIFIERS` -> the name in text.
NAMES = {"alexnet": "AlexNet", "caffenet": "CaffeNet", "vgg16": "VGG16", "googlenet": "GoogLeNet"}


class View(NamedTuple):
    """The pixels that the scores depend on, along each side.

    Position i is centred on pixel stride * i + centre. field: the number of pixels around the
    centre, padding included, that the scores depend on.
    """

    stride: int
    centre: float
    field: int

    @classmethod
    def of(cls, net: Any, blob: str) -> View:
        """Return the view of a blob of a fully convolutional NetParameter."""
        geometry = Geometry(net)
        _, scale, shift = geometry.maps[blob]
        return cls(int(1 / scale), float(-shift / scale), geometry.fields[blob])


class Pair(NamedTuple):
    """A classifier and the net that was cast from it, with the same weights.

    name: of the net, in text. classifier, cast: the NetParameters. net, cast_net: the nets.
    scores: the blob of the class scores, N x K in the classifier and N x K x h x w in the cast net.
    size: of the classifier's input, in pixels. view: that of the cast net's scores. weights: the
    kind of the weights, such as "random".
    """

    name: str
    classifier: Any
    cast: Any
    net: Any
    cast_net: Any
    scores: str
    size: int
    view: View
    weights: str


def cast_pair(
    name: str,
    classifier: Any,
    weights: Optional[str] = None,
    kind: str = "random",
    seed: int = SEED,
) -> Pair:
    """Cast a classifier, a deploy NetParameter that ends in a Softmax.

    weights: a .caffemodel of this kind; None draws random weights. Raises what
    `surgery.check_weights` raises.
    """
    if weights is None:
        caffe.set_random_seed(seed)
        net = build(with_random_fillers(classifier))
    else:
        net = build(classifier)
        surgery.check_weights(net, weights, need=list(net.params))
        net.copy_from(weights)
    cast = convolutional(classifier, net)
    cast_net = build(cast)
    surgery.transplant(cast_net, net)
    scores = classifier.layer[-1].bottom[0]
    size = net.blobs[net.inputs[0]].data.shape[2]
    return Pair(name, classifier, cast, net, cast_net, scores, size, View.of(cast, scores), kind)


def published_weights(name: str) -> Optional[str]:
    """Return the path of a published classifier's weights, or None if the file does not exist."""
    path = os.path.join(ROOT, PUBLISHED[name].target)
    return path if os.path.isfile(path) else None


def published_pair(name: str, width: float = 1.0, **arguments: Any) -> Pair:
    """Cast one of `net_gen.CLASSIFIERS`, with published weights if they exist, else random ones.

    arguments: more arguments of the classifier. A `width` other than 1 has random weights.
    """
    weights = published_weights(name) if width == 1 else None
    kind = "published" if weights else "random"
    classifier = net_gen.CLASSIFIERS[name]("deploy", width=width, **arguments)
    return cast_pair(NAMES[name], classifier, weights, kind)


def unpadded(pair: Pair) -> Pair:
    """Return the pair with every pad at 0; the classifier's input is its receptive field."""
    size = pair.view.field
    classifier, cast = (
        without_padding(with_input_size(message, size)) for message in (pair.classifier, pair.cast)
    )
    net, cast_net = build(classifier), build(cast)
    net.share_with(pair.net)
    cast_net.share_with(pair.cast_net)
    return pair._replace(
        classifier=classifier,
        cast=cast,
        net=net,
        cast_net=cast_net,
        size=size,
        view=View.of(cast, pair.scores),
    )


def with_input_size(net: Any, size: int) -> Any:
    """Return the NetParameter for an input of size x size pixels."""
    result = type(net)()
    result.CopyFrom(net)
    for layer in result.layer:
        if layer.type == "Input":
            layer.input_param.shape[0].dim[2:] = [size, size]
    return result


def with_random_fillers(classifier: Any) -> Any:
    """Return the NetParameter with random weights, and random biases, which show a lost bias."""
    result = type(classifier)()
    result.CopyFrom(classifier)
    for layer in result.layer:
        for kind, param in (
            ("Convolution", layer.convolution_param),
            ("InnerProduct", layer.inner_product_param),
        ):
            if layer.type == kind:
                param.weight_filler.type, param.bias_filler.type = "msra", "gaussian"
                param.bias_filler.std = 1.0
    return result


def read_net(prototxt: str) -> Any:
    """Return the NetParameter in a file."""
    message = caffe_pb2.NetParameter()
    with open(prototxt) as file:
        text_format.Merge(file.read(), message)
    return message


def build(message: Any) -> Any:
    """Return the net of a NetParameter, in the TEST phase."""
    with temporary_folder() as folder:
        path = os.path.join(folder, "net.prototxt")
        net_gen.write(message, path)
        return caffe.Net(path, caffe.TEST)


def set_input(net: Any, images: np.ndarray) -> None:
    """Reshape the net to images N x C x H x W, and copy the images into the input."""
    data = net.inputs[0]
    net.blobs[data].reshape(*images.shape)
    net.reshape()
    net.blobs[data].data[...] = images


def forward(net: Any, images: np.ndarray, blob: str) -> np.ndarray:
    """Return a copy of a blob, for images N x C x H x W of any size that the net accepts."""
    set_input(net, images)
    net.forward()
    return np.array(net.blobs[blob].data)


def draw_input(height: int, width: int, seed: int = SEED) -> np.ndarray:
    """Return a drawn scene as a net's input: 1 x 3 x H x W."""
    count = max(2, height * width // 20000)
    rng = np.random.RandomState(seed)
    return as_input(draw_scene(rng, ((height, width),), objects=(count, count))[0])


def as_input(image: np.ndarray) -> np.ndarray:
    """Return an RGB image H x W x 3 as 1 x 3 x H x W, float32: BGR, less the mean."""
    pixels = image[:, :, ::-1].astype(np.float32) - np.array(MEAN, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def resize(image: np.ndarray, factor: float) -> np.ndarray:
    """Return an RGB image of another size, by bicubic interpolation."""
    height, width = (round(side * factor) for side in image.shape[:2])
    resampling = getattr(Image, "Resampling", Image)
    return np.asarray(Image.fromarray(image).resize((width, height), resampling.BICUBIC))


def grid_extent(pair: Pair, grid: int) -> int:
    """Return the size of the image whose cast scores have exactly grid x grid positions."""
    return pair.size + pair.view.stride * (grid - 1)


def crops(pair: Pair, image: np.ndarray, grid: int) -> Iterator[np.ndarray]:
    """Yield the classifier's input at each of grid x grid positions, row by row."""
    for row, column in np.ndindex(grid, grid):
        yield crop_at(pair, image, row, column)


def crop_at(pair: Pair, image: np.ndarray, row: int, column: int) -> np.ndarray:
    """Return the classifier's input at a position of the cast net."""
    top, left = row * pair.view.stride, column * pair.view.stride
    return image[:, :, top : top + pair.size, left : left + pair.size]


def multiply_adds(net: Any) -> int:
    """Return the number of multiplications by weights in a forward pass, at the present size."""
    total = 0
    for name, blobs in net.params.items():
        shape = net.blobs[net.top_names[name][0]].data.shape
        total += blobs[0].data.size * shape[0] * int(np.prod(shape[2:]))
    return total
