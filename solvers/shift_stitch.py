"""Scores for every pixel from coarse scores, without learning.

Shift-and-stitch (Sermanet et al., OverFeat, arXiv 1312.6229; Long et al., arXiv 1411.4038, section
3.2): a net of stride f is run on f x f copies of the image, each moved by another offset below f.
The coarse maps, interlaced, are one map with a position for every pixel. `dense_net` is the single
net that gives the same map; `interpolate` interpolates linearly between the coarse positions.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

import surgery
from fcn_common.progress import track
from net_gen.padding import Geometry


class Line(NamedTuple):
    """The positions of a map along one side.

    stride: pixels between two positions. origin: the pixel of the first position, which may be a
    fraction.
    """

    stride: Fraction
    origin: Fraction


Lines = Tuple[Line, Line]  # along height and width


class Map(NamedTuple):
    """Scores (K x H x W) at the positions `rows` x `columns` of an image."""

    scores: np.ndarray
    rows: Line
    columns: Line


def places(net: Any, blob: str) -> Lines:
    """Return where in the image the positions of a blob lie, along height and width.

    net: a NetParameter with the image in `data`. Composes the maps of `caffe.coord_map`; raises
    ValueError for a net that keeps no positions.
    """
    lines = []
    for side in ("height", "width"):
        _, scale, shift = Geometry(net, side=side).maps[blob]
        lines.append(Line(1 / scale, -shift / scale))
    return lines[0], lines[1]


def one_pass(net: Any, lines: Lines, image: np.ndarray, blob: str) -> Map:
    """Return the scores of one forward pass on an image, C x H x W.

    lines: the `places` of `blob` in the pycaffe net `net`. The first position of a rarefied net is
    that of the net from which it was made.
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
    """Return the map of `blob` with `stride` pixels between its positions, from shifted passes.

    net: a pycaffe net. lines: the `places` of `blob` in the net. image: C x H x W, as the net's
    input takes images. title: of the progress bar; None shows no bar.

    The image is moved right and down, with zeros before it, by every multiple of `stride` below
    the net's stride f: (f / stride)^2 passes, in the memory of one pass. Position j of the pass
    moved by s is position j * f - s of the dense map, counted in pixels.

    Raises ValueError for a stride that does not divide the net's.
    """
    for line in lines:
        if stride < 1 or line.stride % stride:
            raise ValueError(f"stride {stride}: a divisor of the net's, {line.stride}, is needed")
    factors = [int(line.stride) for line in lines]
    shifts = [(y, x) for y in range(0, factors[0], stride) for x in range(0, factors[1], stride)]
    dense: Optional[np.ndarray] = None
    ends: List[List[int]] = [[], []]
    steps = [f // stride for f in factors]
    for shift in shifts if title is None else track(shifts, len(shifts), title):
        moved = np.pad(image, ((0, 0), (shift[0], 0), (shift[1], 0)), mode="constant")
        scores = forward(net, moved, blob)
        # The first position of the largest shift is the first one of the dense map.
        starts = [(f - stride - s) // stride for f, s in zip(factors, shift)]
        for side in (0, 1):
            ends[side].append(starts[side] + steps[side] * scores.shape[1 + side])
        if dense is None:  # No pass has more than two positions more than the first pass.
            size = [n * (count + 2) for n, count in zip(steps, scores.shape[1:])]
            dense = np.zeros((scores.shape[0], *size), np.float32)
        dense[:, starts[0] :: steps[0], starts[1] :: steps[1]][
            :, : scores.shape[1], : scores.shape[2]
        ] = scores
    assert dense is not None
    return Map(
        dense[:, : min(ends[0]), : min(ends[1])],
        *(Line(Fraction(stride), line.origin - line.stride + stride) for line in lines),
    )


def to_pixels(dense: Map, height: int, width: int) -> np.ndarray:
    """Return the scores, K x height x width, at the position of a dense map nearest to each pixel.

    In a net whose poolings have even kernels, pixels lie half-way between two positions; then the
    later position counts. Raises ValueError for a map that is not dense or does not cover the
    image.
    """
    parts = []
    sides = zip((dense.rows, dense.columns), dense.scores.shape[1:], (height, width))
    for line, positions, pixels in sides:
        start = offset(line)
        if start < 0 or start + pixels > positions:
            raise ValueError(
                f"a map of {positions} positions from pixel {float(line.origin):g} on does not "
                f"reach over the pixels 0 to {pixels - 1}; more padding is needed"
            )
        parts.append(slice(start, start + pixels))
    return dense.scores[:, parts[0], parts[1]]


def offset(line: Line) -> int:
    """Return the position of a dense map that belongs to pixel 0.

    Raises ValueError for a map that is not dense.
    """
    if line.stride != 1:
        raise ValueError(f"a map of stride {line.stride}: a dense one, of stride 1, is needed")
    return math.floor(Fraction(1, 2) - line.origin)


def interpolate(scores: Map, height: int, width: int) -> np.ndarray:
    """Return the scores, K x height x width, interpolated linearly between positions.

    Pixels before the first position and after the last one have the values of that position.
    """
    rows = _weights(scores.rows, scores.scores.shape[1], height)
    columns = _weights(scores.columns, scores.scores.shape[2], width)
    return np.matmul(np.matmul(rows, scores.scores), columns.T)


def _weights(line: Line, positions: int, pixels: int) -> np.ndarray:
    """Return the weight of each position at each pixel, pixels x positions."""
    at = (np.arange(pixels) - float(line.origin)) / float(line.stride)
    at = np.clip(at, 0, positions - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(positions))).astype(np.float32)


def reaching(net: Any, blob: str, gather: bool = True) -> Any:
    """Return the NetParameter with the padding that its dense map needs to reach the first pixel.

    gather: whether all padding is first moved to the first layer. Then a shift of the image shifts
        its maps, and `shift_and_stitch` and `dense_net` give the same map of the returned net. If
        other layers pad, the two maps differ where these layers see their padding.
    """
    extra = max(0, *(math.ceil(line.origin) for line in places(net, blob)))
    return surgery.gather_padding(net, blob, extra) if gather else surgery.add_padding(net, extra)


def dense_net(net: Any, blob: str) -> Any:
    """Return a NetParameter whose blob `score` has `blob` for every pixel of `data`.

    net: a NetParameter, such as `reaching` returns. `blob` is made dense by `surgery.rarefy` and
    cropped to the image. Raises ValueError for a net whose first position lies behind the first
    pixel.
    """
    starts = [offset(Line(Fraction(1), line.origin)) for line in places(net, blob)]
    if min(starts) < 0:
        raise ValueError(
            f"blob {blob}: its first position is {-min(starts)} pixels inside the image; pad the "
            "first layer by that number of pixels more"
        )
    dense = surgery.rarefy(net, blob)
    layer = dense.layer.add(name="score", type="Crop", bottom=[blob, "data"], top=["score"])
    layer.crop_param.axis = 2
    layer.crop_param.offset.extend(starts)
    return dense


def forward(net: Any, image: np.ndarray, blob: str) -> np.ndarray:
    """Return the values of a blob, K x H x W, for an image, C x H x W."""
    data = net.blobs[net.inputs[0]]
    if tuple(data.data.shape) != (1, *image.shape):
        data.reshape(1, *image.shape)
        net.reshape()
    data.data[...] = image
    net.forward()
    return net.blobs[blob].data[0]
