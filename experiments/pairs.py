"""A classifier beside the fully convolutional net that it was cast into, and how far they agree."""

from __future__ import annotations

import math
import os
import tempfile
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

import net_gen
import surgery
from net_gen.padding import Geometry
from solvers import available
from surgery.convolutional import convolutional, without_padding

SEED = 1
#: of `net_gen.CLASSIFIERS`
NAMES = {"alexnet": "AlexNet", "caffenet": "CaffeNet", "vgg16": "VGG16", "googlenet": "GoogLeNet"}


class View(NamedTuple):
    """What the scores look at: position i is centred on pixel stride * i + centre, along each side.

    field: how many pixels around the centre it depends on, with those that padding stands for.
    """

    stride: int
    centre: float
    field: int

    @classmethod
    def of(cls, net: Any, blob: str) -> View:
        """From the coordinate map of a blob of a fully convolutional NetParameter."""
        found = Geometry(net)
        _, scale, shift = found.maps[blob]
        return cls(int(1 / scale), float(-shift / scale), found.fields[blob])


class Pair(NamedTuple):
    """A classifier and the net that it was cast into, with the same weights.

    name: of the net, in words. classifier, cast: the NetParameters. net, cast_net: the nets.
    scores: the blob of the class scores, N x K in one and N x K x h x w in the other.
    size: of the classifier's input, in pixels. view: what positions of the cast scores look at.
    weights: what they are, in words.
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


def pair(
    name: str,
    classifier: Any,
    weights: Optional[str] = None,
    what: str = "random",
    seed: int = SEED,
) -> Pair:
    """Cast a classifier, a deploy NetParameter that ends in a Softmax.

    weights: its .caffemodel, in words `what`; None is random ones. Raises what
    `surgery.check_weights` raises.
    """
    import caffe

    if weights is None:
        caffe.set_random_seed(seed)
        net = build(_with_fillers(classifier))
    else:
        net = build(classifier)
        surgery.check_weights(net, weights, need=list(net.params))
        net.copy_from(weights)
    cast = convolutional(classifier, net)
    cast_net = build(cast)
    surgery.transplant(cast_net, net)
    scores = classifier.layer[-1].bottom[0]
    size = net.blobs[net.inputs[0]].data.shape[2]
    return Pair(name, classifier, cast, net, cast_net, scores, size, View.of(cast, scores), what)


def published(name: str) -> Optional[str]:
    """The path of a published classifier's weights, if they were fetched."""
    from fcn_data.published import PUBLISHED

    path = os.path.join(available.ROOT, PUBLISHED[name].target)
    return path if os.path.isfile(path) else None


def published_pair(name: str, width: float = 1.0, **others: Any) -> Pair:
    """One of `net_gen.CLASSIFIERS`: the published weights if they are here, else random ones.

    others: further arguments of the classifier. Random too where `width` is not 1.
    """
    weights = published(name) if width == 1 else None
    what = "published" if weights else "random"
    classifier = net_gen.CLASSIFIERS[name]("deploy", width=width, **others)
    return pair(NAMES[name], classifier, weights, what)


def unpadded(whole: Pair) -> Pair:
    """The same weights with every pad at 0; the classifier then takes its receptive field whole."""
    size = whole.view.field
    classifier, cast = (without_padding(_sized(m, size)) for m in (whole.classifier, whole.cast))
    net, cast_net = build(classifier), build(cast)
    net.share_with(whole.net)
    cast_net.share_with(whole.cast_net)
    return whole._replace(
        classifier=classifier,
        cast=cast,
        net=net,
        cast_net=cast_net,
        size=size,
        view=View.of(cast, whole.scores),
    )


def _sized(net: Any, size: int) -> Any:
    """The NetParameter for an input of size x size pixels."""
    sized = type(net)()
    sized.CopyFrom(net)
    for layer in sized.layer:
        if layer.type == "Input":
            layer.input_param.shape[0].dim[2:] = [size, size]
    return sized


def read(prototxt: str) -> Any:
    """The NetParameter in a file."""
    from caffe.proto import caffe_pb2
    from google.protobuf import text_format

    message = caffe_pb2.NetParameter()
    with open(prototxt) as file:
        text_format.Merge(file.read(), message)
    return message


def build(message: Any) -> Any:
    """The net of a NetParameter, in the TEST phase."""
    import caffe

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.prototxt")
        net_gen.write(message, path)
        return caffe.Net(path, caffe.TEST)


def _with_fillers(classifier: Any) -> Any:
    """The NetParameter with random weights and, so that a lost one shows, random biases."""
    filled = type(classifier)()
    filled.CopyFrom(classifier)
    for layer in filled.layer:
        for kind, param in (
            ("Convolution", layer.convolution_param),
            ("InnerProduct", layer.inner_product_param),
        ):
            if layer.type == kind:
                param.weight_filler.type, param.bias_filler.type = "msra", "gaussian"
                param.bias_filler.std = 1.0
    return filled


def forward(net: Any, images: np.ndarray, blob: str) -> np.ndarray:
    """A blob of a net, copied, for images N x C x H x W of any size that the net takes."""
    _fill(net, images)
    net.forward()
    return np.array(net.blobs[blob].data)


def _fill(net: Any, images: np.ndarray) -> None:
    data = net.inputs[0]
    net.blobs[data].reshape(*images.shape)
    net.reshape()
    net.blobs[data].data[...] = images


def scene(height: int, width: int, seed: int = SEED) -> np.ndarray:
    """A drawn scene as a net reads it: 1 x 3 x H x W."""
    from fcn_data import demo

    count = max(2, height * width // 20000)
    rng = np.random.RandomState(seed)
    return as_blob(demo.draw_scene(rng, ((height, width),), objects=(count, count))[0])


def as_blob(image: np.ndarray) -> np.ndarray:
    """An RGB image H x W x 3 as 1 x 3 x H x W, float32: BGR, the mean subtracted."""
    pixels = image[:, :, ::-1].astype(np.float32) - np.array(net_gen.MEAN, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    from PIL import Image

    height, width = (round(side * factor) for side in image.shape[:2])
    resampling = getattr(Image, "Resampling", Image)
    return np.asarray(Image.fromarray(image).resize((width, height), resampling.BICUBIC))


def error(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The largest difference over axis 0, the classes, as a share of the largest in `wanted`."""
    return np.abs(found - wanted).max(0) / np.abs(wanted).max(0)


def own_size_error(whole: Pair) -> float:
    """How the cast net differs from the classifier on one image of the classifier's own size."""
    image = scene(whole.size, whole.size)
    wanted = forward(whole.net, image, whole.scores)[0]
    found = forward(whole.cast_net, image, whole.scores)[0]
    return float(error(found, wanted[:, None, None]).max())


def larger(whole: Pair, grid: int) -> int:
    """The extent of the image on which the cast net gives grid x grid outputs, none cut off."""
    return whole.size + whole.view.stride * (grid - 1)


def crops(whole: Pair, image: np.ndarray, grid: int) -> Iterator[np.ndarray]:
    """The classifier's input at each of grid x grid positions of the cast net, row by row."""
    for row, column in np.ndindex(grid, grid):
        top, left = row * whole.view.stride, column * whole.view.stride
        yield image[:, :, top : top + whole.size, left : left + whole.size]


def on_crops(whole: Pair, image: np.ndarray, grid: int) -> Tuple[np.ndarray, np.ndarray]:
    """The scores of the cast net and of the classifier on every crop, each K x grid x grid."""
    found = forward(whole.cast_net, image, whole.scores)[0, :, :grid, :grid]
    wanted = [forward(whole.net, crop, whole.scores)[0] for crop in crops(whole, image, grid)]
    return found, np.stack(wanted, 1).reshape(-1, grid, grid)


def inside(padded: Pair, bare: Pair) -> Tuple[int, int]:
    """(first, offset) of the positions of the padded net that no padding reaches.

    Position first + i of the padded net looks at the pixels that position i of the unpadded one
    looks at on the image without its first `offset` rows and columns.
    """
    stride, ahead = padded.view.stride, bare.view.centre - padded.view.centre
    first = math.ceil(ahead / stride)
    return first, round(stride * first - ahead)


def bare_errors(padded: Pair, bare: Pair, grid: int) -> Tuple[float, float]:
    """How the unpadded cast net, and the padded one inside, differ from the unpadded classifier.

    On grid x grid crops, each of one receptive field; `inside` says which outputs of the padded
    net look at them.
    """
    first, offset = inside(padded, bare)
    image = scene(*[offset + larger(bare, grid)] * 2)
    found, wanted = on_crops(bare, image[:, :, offset:, offset:], grid)
    through = forward(padded.cast_net, image, padded.scores)[0]
    through = through[:, first : first + grid, first : first + grid]
    return float(error(found, wanted).max()), float(error(through, wanted).max())


def with_borders(whole: Pair, image: np.ndarray, row: int, column: int) -> np.ndarray:
    """The cast net's scores at one position, K, with the border of the crop there put back.

    Before each layer that pads, or whose last window reaches over the edge, what its bottom has
    outside the classifier's own map is set to zero.
    """
    net, found = whole.cast_net, Geometry(whole.cast)
    _fill(net, image)
    layers = {layer.name: layer for layer in whole.cast.layer}
    names, begin = list(net._layer_names), 0
    for i, name in enumerate(names):
        if name not in layers or layers[name].type not in ("Convolution", "Pooling"):
            continue
        bottom = layers[name].bottom[0]
        shape = whole.net.blobs[bottom].data.shape
        if len(shape) != 4 or not _reaches_out(found, layers[name], shape[2]):
            continue
        if i > begin:
            net.forward(start=names[begin], end=names[i - 1])
        begin = i
        step = int(whole.view.stride * found.maps[bottom][1])
        data = net.blobs[net.bottom_names[name][0]].data
        outside = np.ones(data.shape[2:], bool)
        rows, columns = (slice(n * step, n * step + shape[2]) for n in (row, column))
        outside[rows, columns] = False
        data[:, :, outside] = 0
    net.forward(start=names[begin], end=names[-1])
    return np.array(net.blobs[whole.scores].data[0, :, row, column])


def _reaches_out(geometry: Geometry, layer: Any, extent: int) -> bool:
    """Whether a kernel leaves a bottom of `extent` rows: into padding, or at the end.

    Caffe rounds the number of a Pooling's windows up, so that the last may reach over the edge.
    """
    reach, stride, pad = geometry.window(layer)
    over = (extent + 2 * pad - reach) % stride if layer.type == "Pooling" else 0
    return bool(pad or over)


def border_differences(
    whole: Pair, image: np.ndarray, row: int, column: int
) -> List[Tuple[str, np.ndarray]]:
    """How the cast net's maps differ from the classifier's on the crop at one position.

    For the last blob of each stride, its name and the H x W mean of the absolute differences over
    the channels, as a share of the mean absolute value in the classifier's map.
    """
    maps = Geometry(whole.cast).maps
    top, left = row * whole.view.stride, column * whole.view.stride
    crop = image[:, :, top : top + whole.size, left : left + whole.size]
    forward(whole.net, crop, whole.scores)
    forward(whole.cast_net, image, whole.scores)
    last: Dict[int, Tuple[str, np.ndarray]] = {}
    for layer in whole.classifier.layer:
        name = layer.top[0]
        wanted = np.array(whole.net.blobs[name].data)
        if layer.type == "Input" or wanted.ndim != 4 or wanted.shape[2] == 1:
            continue
        stride = int(1 / maps[name][1])
        step, extent = whole.view.stride // stride, wanted.shape[2]
        found = np.array(whole.cast_net.blobs[name].data)
        found = found[:, :, row * step :, column * step :][:, :, :extent, :extent]
        difference = np.abs(found - wanted).mean((0, 1)) / np.abs(wanted).mean()
        last[stride] = name, difference
    return list(last.values())


def multiply_adds(net: Any) -> int:
    """How many multiplications with weights a forward pass takes, at the input's present size."""
    total = 0
    for name, blobs in net.params.items():
        shape = net.blobs[net.top_names[name][0]].data.shape
        total += blobs[0].data.size * shape[0] * int(np.prod(shape[2:]))
    return total
