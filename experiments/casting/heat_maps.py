"""Heat maps of a cast classifier, and how well they locate the classes of a scene."""

from __future__ import annotations

from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy as np

from experiments.casting import settings
from experiments.casting.pairs import Pair, as_input, forward, resize
from fcn_common.progress import track
from fcn_common.voc import CLASSES

#: An RGB image, and its label map.
Scene = Tuple[np.ndarray, np.ndarray]


class HeatMap(NamedTuple):
    """The class scores of a cast net on an image, and where they lie.

    scores: K x h x w. centres: of the outputs along each side, in pixels of the image before it was
    resized. half: half the distance between two centres.
    """

    scores: np.ndarray
    centres: Tuple[np.ndarray, np.ndarray]
    half: float

    def extent(self) -> Tuple[float, float, float, float]:
        """Return left, right, bottom and top, as Matplotlib's imshow expects them."""
        y, x = self.centres
        return x[0] - self.half, x[-1] + self.half, y[-1] + self.half, y[0] - self.half

    def truth(self, label: np.ndarray) -> np.ndarray:
        """Return the label (H x W) at the outputs' centres, h x w; 255 outside the image."""
        rows, columns = (np.rint(c).astype(int) for c in self.centres)
        padded = np.full((rows.max() + 1, columns.max() + 1), 255, label.dtype)
        height, width = (min(a, b) for a, b in zip(padded.shape, label.shape))
        padded[:height, :width] = label[:height, :width]
        return padded[np.ix_(rows, columns)]


def heat_map(pair: Pair, image: np.ndarray, factor: float) -> HeatMap:
    """Run the cast net on an RGB image H x W x 3, resized by `factor`."""
    scores = forward(pair.cast_net, as_input(resize(image, factor)), pair.scores)[0]
    pixels = (pair.view.stride * np.arange(n) + pair.view.centre for n in scores.shape[1:])
    y, x = ((pixel + 0.5) / factor - 0.5 for pixel in pixels)
    return HeatMap(scores, (y, x), pair.view.stride / factor / 2)


class Accuracy(NamedTuple):
    """How well heat maps locate classes, at one input size.

    outputs: the mean number of a scene's outputs. hit: the share of (scene, class in it) whose
    largest score is centred on the class. chance: the mean share of outputs that are centred on the
    class. above: the probability that an output on the class has a larger score of the class than
    an output beside it. right: the share of outputs that score the class at their centre highest.
    """

    factor: float
    outputs: float
    hit: float
    chance: float
    above: float
    right: float


def measure_accuracy(pair: Pair, scenes: Sequence[Scene]) -> List[Accuracy]:
    """Locate the classes of scenes at every one of SIZES."""
    results = []
    for factor in settings.SIZES:
        outputs, hits, chances, aboves, right = [], [], [], [], []
        for image, label in track(scenes, len(scenes), f"heat maps, input x {factor:g}"):
            heat = heat_map(pair, image, factor)
            truth = heat.truth(label)
            outputs.append(truth.size)
            right.extend((heat.scores.argmax(0) == truth)[truth != 255])
            for k in np.setdiff1d(truth, (0, 255)):
                on = truth == k
                hits.append(on[np.unravel_index(heat.scores[k].argmax(), on.shape)])
                chances.append(on.mean())
                aboves.append(share_above(heat.scores[k][on], heat.scores[k][~on]))
        values = (outputs, hits, chances, aboves, right)
        results.append(Accuracy(factor, *(float(np.nanmean(v)) for v in values)))
    return results


def share_above(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of pairs whose value of `first` is larger; NaN without a pair."""
    if not first.size or not second.size:
        return float("nan")
    return float((first[:, None] > second[None, :]).mean())


class Row(NamedTuple):
    """A row of the figure of heat maps: an image, and the scores of one class, 1 x h x w each.

    mask: H x W, where the class is, or None if this is unknown.
    """

    name: str
    image: np.ndarray
    maps: List[HeatMap]
    mask: Any = None


def class_row(pair: Pair, image: np.ndarray, k: int, name: str, mask: Any = None) -> Row:
    """Return the row of an RGB image for class `k`, at every one of SIZES."""
    maps = [heat_map(pair, image, factor) for factor in settings.SIZES]
    maps = [heat._replace(scores=heat.scores[k : k + 1]) for heat in maps]
    return Row(f"{name}, {pair.name}", image, maps, mask)


def scene_row(pair: Pair, image: np.ndarray, label: np.ndarray) -> Row:
    """Return the row of a demo scene, for the class that covers most of the scene."""
    k = int(np.bincount(label.ravel(), minlength=256)[1:255].argmax()) + 1
    return class_row(pair, image, k, CLASSES[k], label == k)


def photo_row(pair: Pair, image: np.ndarray) -> Row:
    """Return the row of a photograph, for the class with the highest score in the middle."""
    scores = heat_map(pair, image, 1.0).scores
    rows, columns = scores.shape[1:]
    k = int(scores[:, rows // 2, columns // 2].argmax())
    return class_row(pair, image, k, f"class {k}")
