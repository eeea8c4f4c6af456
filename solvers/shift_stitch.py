"""From coarse scores to a score for every pixel, without learning anything.

Shift-and-stitch (Sermanet et al., OverFeat, arXiv 1312.6229; Long et al., arXiv 1411.4038, section
3.2): a net of stride f sees the image f x f times, each time moved by another offset below f, and
the coarse maps, interlaced, are one map with a position for every pixel. `dense_net` is the single
net that gives the same map; `interpolate` only draws lines between coarse positions.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

from solvers.log import progress


class Line(NamedTuple):
    """The positions of a map along one side: the first lies at pixel `origin`, which need not be
    whole, the others `stride` pixels apart."""

    stride: Fraction
    origin: Fraction


Lines = Tuple[Line, Line]  # along height and width


class Map(NamedTuple):
    """Scores (K x H x W) at the positions `rows` x `columns` of an image."""

    scores: np.ndarray
    rows: Line
    columns: Line


def places(net: Any, blob: str) -> Lines:
    """Where in the image the positions of a blob lie, along height and width.

    net: a NetParameter with the image in `data`. Composes the maps of `caffe.coord_map`; raises
    ValueError for a net that keeps no positions.
    """
    from net_gen.padding import Geometry

    lines = []
    for side in ("height", "width"):
        _, scale, shift = Geometry(net, side=side).maps[blob]
        lines.append(Line(1 / scale, -shift / scale))
    return lines[0], lines[1]


def one_pass(net: Any, lines: Lines, image: np.ndarray, blob: str) -> Map:
    """The scores of one forward pass; lines: the `places` of `blob` in the pycaffe net `net`.

    A rarefied net's first position is at the place of the first one of the net it was made of.
    """
    return Map(forward(net, image, blob).copy(), *lines)


def shift_and_stitch(
    net: Any,
    lines: Lines,
    image: np.ndarray,
    blob: str,
    stride: int = 1,
    title: Optional[str] = None,
) -> Map:
    """The map of `blob` with `stride` pixels between its positions, out of shifted passes.

    net: a pycaffe net; lines: the `places` of `blob` in it; image: C x H x W as its input takes
    it. The image is moved right and down by every multiple of `stride` below the net's stride f, by
    zeros before it, one pass after another: (f / stride)^2 passes, the memory of one. Position j
    of the pass moved by s is position j * f - s of the dense map, counted in pixels.

    title: of the progress bar; None shows none. Raises ValueError for a stride that does not
    divide the net's.
    """
    for line in lines:
        if stride < 1 or line.stride % stride:
            raise ValueError(f"stride {stride}: a divisor of the net's, {line.stride}, is needed")
    factors = [int(line.stride) for line in lines]
    shifts = [(y, x) for y in range(0, factors[0], stride) for x in range(0, factors[1], stride)]
    bar = shifts if title is None else progress(shifts, len(shifts), title)
    made: Optional[np.ndarray] = None
    ends: List[List[int]] = [[], []]
    steps = [f // stride for f in factors]
    for shift in bar:
        moved = np.pad(image, ((0, 0), (shift[0], 0), (shift[1], 0)), mode="constant")
        scores = forward(net, moved, blob)
        # The largest shift's first position comes first in the dense map.
        starts = [(f - stride - s) // stride for f, s in zip(factors, shift)]
        for side in (0, 1):
            ends[side].append(starts[side] + steps[side] * scores.shape[1 + side])
        if made is None:  # No pass gives more than two positions more than the first.
            size = [n * (count + 2) for n, count in zip(steps, scores.shape[1:])]
            made = np.zeros((scores.shape[0], *size), np.float32)
        made[:, starts[0] :: steps[0], starts[1] :: steps[1]][
            :, : scores.shape[1], : scores.shape[2]
        ] = scores
    assert made is not None
    return Map(
        made[:, : min(ends[0]), : min(ends[1])],
        *(Line(Fraction(stride), line.origin - line.stride + stride) for line in lines),
    )


def to_pixels(dense: Map, height: int, width: int) -> np.ndarray:
    """The scores (K x height x width) of the nearest position of a dense map to each pixel.

    A net whose poolings have even kernels sees its pixels from half-way between two positions; it
    is the later one that is taken. Raises ValueError for a map that is not dense or does not
    reach over the image.
    """
    parts = []
    for line, found, needed in zip((dense.rows, dense.columns), dense.scores.shape[1:],
                                   (height, width)):  # fmt: skip
        start = offset(line)
        if start < 0 or start + needed > found:
            raise ValueError(
                f"a map of {found} positions from pixel {float(line.origin):g} on does not reach "
                f"over the pixels 0 to {needed - 1}; more padding is needed"
            )
        parts.append(slice(start, start + needed))
    return dense.scores[:, parts[0], parts[1]]


def offset(line: Line) -> int:
    """The position of a dense map that is pixel 0's. Raises ValueError for a map that is not."""
    if line.stride != 1:
        raise ValueError(f"a map of stride {line.stride}: a dense one, of stride 1, is needed")
    return math.floor(Fraction(1, 2) - line.origin)


def interpolate(scores: Map, height: int, width: int) -> np.ndarray:
    """The scores (K x height x width) on straight lines between the positions of a map.

    Before the first position and after the last one the values stay as they are there.
    """
    rows = _weights(scores.rows, scores.scores.shape[1], height)
    columns = _weights(scores.columns, scores.scores.shape[2], width)
    return np.matmul(np.matmul(rows, scores.scores), columns.T)


def _weights(line: Line, positions: int, pixels: int) -> np.ndarray:
    """pixels x positions: what each position counts for at each pixel."""
    at = (np.arange(pixels) - float(line.origin)) / float(line.stride)
    at = np.clip(at, 0, positions - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(positions))).astype(np.float32)


def reaching(net: Any, blob: str, gather: bool = True) -> Any:
    """The NetParameter with as much padding as its dense map needs to reach the first pixel.

    gather: whether all padding is first moved to the first layer. Then what shifts an image shifts
    its maps, and `shift_and_stitch` and `dense_net` give the same of what is returned; with layers
    that pad on their own they differ where these see their padding.
    """
    import surgery

    extra = max(0, *(math.ceil(line.origin) for line in places(net, blob)))
    return surgery.gather_padding(net, blob, extra) if gather else surgery.add_padding(net, extra)


def dense_net(net: Any, blob: str) -> Any:
    """A NetParameter that gives `blob` for every pixel of `data`, as the blob `score`.

    net: a NetParameter, such as `reaching` gives. `blob` is made dense by `surgery.rarefy` and cut
    to the image. Raises ValueError for a net whose positions begin behind the first pixel.
    """
    import surgery

    starts = [offset(Line(Fraction(1), line.origin)) for line in places(net, blob)]
    if min(starts) < 0:
        raise ValueError(
            f"blob {blob}: its first position is {-min(starts)} pixels inside the image; pad the "
            "first layer by as much more"
        )
    made = surgery.rarefy(net, blob)
    layer = made.layer.add(name="score", type="Crop", bottom=[blob, "data"], top=["score"])
    layer.crop_param.axis = 2
    layer.crop_param.offset.extend(starts)
    return made


def forward(net: Any, image: np.ndarray, blob: str) -> np.ndarray:
    """The blob's values, K x H x W, for an image C x H x W."""
    data = net.blobs[net.inputs[0]]
    if tuple(data.data.shape) != (1, *image.shape):
        data.reshape(1, *image.shape)
        net.reshape()
    data.data[...] = image
    net.forward()
    return net.blobs[blob].data[0]
