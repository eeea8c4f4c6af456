"""How far a cast net agrees with its classifier on every crop, and what padding changes.

Errors are relative: the largest difference over the classes, as a share of the largest score.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from experiments.casting import settings
from experiments.casting.pairs import (
    Pair,
    View,
    crop_at,
    crops,
    draw_input,
    forward,
    grid_extent,
    set_input,
    unpadded,
)
from net_gen.padding import Geometry


class Proof(NamedTuple):
    """Relative errors of a cast net; each is the largest one over all classes and positions.

    own_size: on an image of the classifier's input size. bare: without padding, on every crop.
    inside: at positions that padding does not reach, against the classifier without padding.
    borders: with the zeros at the border of a crop restored. padded: GRID x GRID, with padding,
    against the classifier on the crop. same: the share of these positions with the same class.
    differences: what `border_differences` returns.
    """

    pair: Pair
    bare_view: View
    own_size: float
    bare: float
    inside: float
    borders: float
    padded: np.ndarray
    same: float
    differences: List[Tuple[str, np.ndarray]]


def prove(pair: Pair) -> Proof:
    """Compare a cast net with its classifier, crop by crop, on drawn scenes."""
    bare, grid = unpadded(pair), settings.GRID
    extent = grid_extent(pair, grid)
    image = draw_input(extent, extent)
    cast, classifier = scores_on_crops(pair, image, grid)
    restored = np.stack([with_borders(pair, image, i, i) for i in range(grid)], 1)
    diagonal = np.stack([classifier[:, i, i] for i in range(grid)], 1)
    bare_error, inside_error = bare_errors(pair, bare, settings.BARE_GRID)
    return Proof(
        pair,
        bare.view,
        own_size=own_size_error(pair),
        bare=bare_error,
        inside=inside_error,
        borders=float(error(restored, diagonal).max()),
        padded=error(cast, classifier),
        same=float((cast.argmax(0) == classifier.argmax(0)).mean()),
        differences=border_differences(pair, image, grid // 2, grid // 2),
    )


def error(cast: np.ndarray, classifier: np.ndarray) -> np.ndarray:
    """Return the largest difference over axis 0, the classes, as a share of the largest score."""
    return np.abs(cast - classifier).max(0) / np.abs(classifier).max(0)


def own_size_error(pair: Pair) -> float:
    """Return the cast net's error on an image of the classifier's input size."""
    image = draw_input(pair.size, pair.size)
    classifier = forward(pair.net, image, pair.scores)[0]
    cast = forward(pair.cast_net, image, pair.scores)[0]
    return float(error(cast, classifier[:, None, None]).max())


def scores_on_crops(pair: Pair, image: np.ndarray, grid: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return the scores of the cast net and of the classifier on every crop: K x grid x grid."""
    cast = forward(pair.cast_net, image, pair.scores)[0, :, :grid, :grid]
    classifier = [forward(pair.net, crop, pair.scores)[0] for crop in crops(pair, image, grid)]
    return cast, np.stack(classifier, 1).reshape(-1, grid, grid)


def unreached_positions(padded: Pair, bare: Pair) -> Tuple[int, int]:
    """Return (first, offset) of the positions of the padded net that padding does not reach.

    Position first + i of the padded net depends on the same pixels as position i of the unpadded
    net on the image without its first `offset` rows and columns.
    """
    stride, ahead = padded.view.stride, bare.view.centre - padded.view.centre
    first = math.ceil(ahead / stride)
    return first, round(stride * first - ahead)


def bare_errors(padded: Pair, bare: Pair, grid: int) -> Tuple[float, float]:
    """Return the errors of the unpadded cast net, and of the padded one at unreached positions.

    Both are compared with the unpadded classifier on grid x grid crops of one receptive field.
    """
    first, offset = unreached_positions(padded, bare)
    extent = offset + grid_extent(bare, grid)
    image = draw_input(extent, extent)
    cast, classifier = scores_on_crops(bare, image[:, :, offset:, offset:], grid)
    padded_cast = forward(padded.cast_net, image, padded.scores)[0]
    padded_cast = padded_cast[:, first : first + grid, first : first + grid]
    return float(error(cast, classifier).max()), float(error(padded_cast, classifier).max())


def with_borders(pair: Pair, image: np.ndarray, row: int, column: int) -> np.ndarray:
    """Return the cast net's scores at a position, K, with the border of the crop restored.

    Before each layer that pads, or whose last window reaches over the edge, the values of its
    bottom outside the classifier's own map are set to zero.
    """
    net, geometry = pair.cast_net, Geometry(pair.cast)
    set_input(net, image)
    layers = {layer.name: layer for layer in pair.cast.layer}
    names, begin = list(net.layer_dict), 0
    for i, name in enumerate(names):
        if name not in layers or layers[name].type not in ("Convolution", "Pooling"):
            continue
        bottom = layers[name].bottom[0]
        shape = pair.net.blobs[bottom].data.shape
        if len(shape) != 4 or not _reaches_over(geometry, layers[name], shape[2]):
            continue
        if i > begin:
            net.forward(start=names[begin], end=names[i - 1])
        begin = i
        step = int(pair.view.stride * geometry.maps[bottom][1])
        data = net.blobs[net.bottom_names[name][0]].data
        outside = np.ones(data.shape[2:], bool)
        rows, columns = (slice(n * step, n * step + shape[2]) for n in (row, column))
        outside[rows, columns] = False
        data[:, :, outside] = 0
    net.forward(start=names[begin], end=names[-1])
    return np.array(net.blobs[pair.scores].data[0, :, row, column])


def _reaches_over(geometry: Geometry, layer: Any, extent: int) -> bool:
    """Return whether a window reaches beyond a bottom of `extent` rows.

    Caffe rounds the number of a Pooling's windows up, so the last window may reach over the edge.
    """
    reach, stride, pad = geometry.window(layer)
    over = (extent + 2 * pad - reach) % stride if layer.type == "Pooling" else 0
    return bool(pad or over)


def border_differences(
    pair: Pair, image: np.ndarray, row: int, column: int
) -> List[Tuple[str, np.ndarray]]:
    """Return how the cast net's maps differ from the classifier's on the crop at a position.

    For the last blob of each stride: the blob's name, and the H x W mean of the absolute
    differences over the channels, as a share of the mean absolute value in the classifier's map.
    """
    maps = Geometry(pair.cast).maps
    forward(pair.net, crop_at(pair, image, row, column), pair.scores)
    forward(pair.cast_net, image, pair.scores)
    last: Dict[int, Tuple[str, np.ndarray]] = {}
    for layer in pair.classifier.layer:
        name = layer.top[0]
        classifier = np.array(pair.net.blobs[name].data)
        if layer.type == "Input" or classifier.ndim != 4 or classifier.shape[2] == 1:
            continue
        stride = int(1 / maps[name][1])
        step, extent = pair.view.stride // stride, classifier.shape[2]
        cast = np.array(pair.cast_net.blobs[name].data)
        cast = cast[:, :, row * step :, column * step :][:, :, :extent, :extent]
        plane = np.abs(cast - classifier).mean((0, 1)) / np.abs(classifier).mean()
        last[stride] = name, plane
    return list(last.values())
