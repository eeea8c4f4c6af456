"""What the output blobs of a net mean, and label maps, scores and probabilities from their values.

The meanings are those of `solvers.run_record.MEANINGS`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from fcn_common import voc
from net_gen.geometry import SIDES, Geometry
from solvers.label_map import highest
from solvers.run_record import Output
from solvers.shift_stitch import Line, Lines, Map, interpolate

#: The most classes that a label map of 16 bits holds.
MOST_CLASSES = 2**16
#: Layer types whose tops have the meaning of their bottoms.
KEEPING = frozenset({"Crop", "Dropout", "Split"})
#: The meanings of blobs with one channel, from which two classes come.
TWO_CLASSES = frozenset({"sigmoid", "logit"})


class Head(NamedTuple):
    """An output blob of a net that gives a map.

    output: its blob, meaning, classes and colours. places: where its positions lie in the image,
    along height and width; None if the net's layers do not say so.
    """

    output: Output
    places: Optional[Lines]

    @property
    def name(self) -> str:
        """The name of the head in file names and tables: `sem` for the blob score_sem."""
        return head_name(self.output.blob)


def head_name(blob: str) -> str:
    """Return the name of a head in file names and tables: `sem` for the blob score_sem."""
    prefix = "score_"
    return blob[len(prefix) :] if blob.startswith(prefix) and blob != prefix else blob


def map_blobs(net: Any) -> List[str]:
    """Return the blobs of a pycaffe net that can be maps: its outputs with four axes.

    If there are none, the blob `score` is used, which exists in a net whose scores lead to a loss.
    Raises ValueError if the net has no map at all.
    """
    ends = set(net.outputs)
    blobs = [name for name in net.blobs if name in ends and len(net.blobs[name].shape) == 4]
    if len(blobs) > 1:  # A classifier's output beside the maps has one position.
        wide = [name for name in blobs if max(tuple(net.blobs[name].shape)[2:]) > 1]
        blobs = wide or blobs
    if not blobs and "score" in net.blobs and len(net.blobs["score"].shape) == 4:
        blobs = ["score"]
    if not blobs:
        shapes = [f"{name} {tuple(net.blobs[name].shape)}" for name in net.outputs]
        raise ValueError(
            f"the net's outputs are {', '.join(shapes) or 'none'}: needed a map, "
            "1 x classes x height x width"
        )
    return blobs


def meaning_of(message: Any, blob: str, channels: int) -> Tuple[str, Optional[int]]:
    """Return the meaning of a blob of a NetParameter, and its class count; None if unknown.

    channels: of the blob. Raises ValueError for an ArgMax layer that gives no map of indices.
    """
    layer = _last_layer(message, blob)
    kind = layer.type if layer is not None else ""
    if kind == "ArgMax":
        if layer.argmax_param.out_max_val or not layer.argmax_param.HasField("axis"):
            raise ValueError(
                f"layer {layer.name} (ArgMax): gives no map of class indices, needs axis: 1 and "
                "no out_max_val"
            )
        return "labels", None
    if kind == "Sigmoid" and channels == 1:
        return "sigmoid", 2
    if kind in ("Softmax", "Sigmoid"):
        return "probabilities", channels
    return ("logit", 2) if channels == 1 else ("scores", channels)


def class_count(net: Any, message: Any, blob: str) -> int:
    """Return the number of classes that a blob of a pycaffe net gives."""
    channels = int(tuple(net.blobs[blob].shape)[1])
    count = meaning_of(message, blob, channels)[1]
    if count is None:  # The indices of ArgMax are the channels of its bottom.
        bottom = _last_layer(message, blob).bottom[0]
        count = int(tuple(net.blobs[bottom].shape)[1])
    return count


def _last_layer(message: Any, blob: str) -> Any:
    """Return the layer that decides what a blob means; None for a blob that no layer makes."""
    for layer in reversed(list(message.layer)):
        if blob not in layer.top:
            continue
        if layer.type not in KEEPING or not layer.bottom:
            return layer
        blob = layer.bottom[0]
    return None


def palette_of(count: int) -> Tuple[Tuple[int, int, int], ...]:
    """Return VOC's colours, continued to `count` classes."""
    return tuple((int(r), int(g), int(b)) for r, g, b in voc.palette(count))


def places_of(message: Any, blob: str) -> Optional[Lines]:
    """Return where the positions of a blob lie in the image; None if the layers do not say so."""
    lines: List[Line] = []
    for side in SIDES:
        try:
            maps = Geometry(message, side=side).maps
        except ValueError:
            return None
        if blob not in maps:
            return None
        _, scale, shift = maps[blob]
        lines.append(Line(1 / scale, -shift / scale))
    return lines[0], lines[1]


def planes(head: Head, values: np.ndarray, height: int, width: int) -> Iterator[np.ndarray]:
    """Yield the channels of a blob, K x h x w, at the size of the image, height x width.

    A smaller or larger map is interpolated bilinearly, or, if it has class indices, takes the
    nearest value.
    """
    if values.shape[1:] == (height, width):
        yield from values
        return
    rows, columns = head.places or _stretched(values.shape[1:], height, width)
    if head.output.meaning == "labels":
        for plane in values:
            yield plane[_nearest(rows, plane.shape[0], height)][
                :, _nearest(columns, plane.shape[1], width)
            ]
        return
    for plane in values:
        yield interpolate(Map(plane[None], rows, columns), height, width)[0]


def _stretched(shape: Sequence[int], height: int, width: int) -> Lines:
    """Return the places of a map that is stretched over the image, cell over cell."""
    lines = []
    for positions, pixels in zip(shape, (height, width)):
        stride = Fraction(pixels, positions)
        lines.append(Line(stride, (stride - 1) / 2))
    return lines[0], lines[1]


def _nearest(line: Line, positions: int, pixels: int) -> np.ndarray:
    at = (np.arange(pixels) - float(line.origin)) / float(line.stride)
    return np.clip(np.rint(at), 0, positions - 1).astype(int)


def label_map(output: Output, channels: Iterator[np.ndarray]) -> Tuple[np.ndarray, int]:
    """Return the label map of an output, and the number of its pixels that are not finite.

    channels: the planes of the blob, each height x width. The type of the labels is uint8, or
    uint16 for more than 256 classes.
    """
    wide = np.uint8 if len(output.classes) <= 2**8 else np.uint16
    if output.meaning == "labels":
        plane = np.asarray(next(iter(channels)))
        faulty = ~np.isfinite(plane)
        labels = np.where(faulty, 0, np.rint(plane))
        if labels.size and not 0 <= labels.min() <= labels.max() < len(output.classes):
            raise ValueError(
                f"blob {output.blob}: has the index {labels.max():g}, needs "
                f"0..{len(output.classes) - 1}"
            )
        return labels.astype(wide), int(faulty.sum())
    if output.meaning in TWO_CLASSES:
        plane = np.asarray(next(iter(channels)))
        threshold = 0.5 if output.meaning == "sigmoid" else 0
        return (plane > threshold).astype(wide), int((~np.isfinite(plane)).sum())
    index, best = highest(channels)
    return index.astype(wide, copy=False), int(np.isnan(best).sum())


def check_probabilities(output: Output) -> None:
    """Raise ValueError for an output that has class indices, not values of each class."""
    if output.meaning == "labels":
        raise ValueError(f"blob {output.blob}: has class indices, which have no probabilities")


def probabilities(output: Output, values: np.ndarray) -> np.ndarray:
    """Return the probability of each class from the values of a blob, K x h x w, float32.

    A blob with one channel gives two classes. Raises ValueError for class indices.
    """
    check_probabilities(output)
    values = np.asarray(values, np.float32)
    if output.meaning == "scores":
        exponentials = np.exp(values - values.max(0))
        return exponentials / exponentials.sum(0)
    if output.meaning == "logit":
        values = 1 / (1 + np.exp(-values))
    if output.meaning in TWO_CLASSES:
        return np.concatenate([1 - values, values])
    return values
