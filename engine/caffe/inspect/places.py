"""Where the values of a blob lie in the image: coordinate maps and receptive fields, exactly.

The maps are those of `caffe.coord_map`, an axis at a time and in fractions. The fields follow from
the same windows.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

from ..coord_map import CoordMap, compose, inverse
from ..layers.registry import layer_class
from ..layers.windows import Window, read_window
from .build import BuiltNet, NetBlob, Part

#: Types that join or cut blobs along `axis`, with the field that holds the axis.
CHANNEL_AXES = {
    "Concat": "concat_param",
    "Slice": "slice_param",
    "Softmax": "softmax_param",
    "Tile": "tile_param",
}
#: Types whose bottoms need to lie at the same place.
MERGING = ("Concat", "Eltwise")


class AxisPlace(NamedTuple):
    """Where a blob's positions lie along one axis of the image, in pixels.

    scale, shift: pixel x of the image lies at scale * x + shift in the blob.
    low, high: position o sees the pixels from o / scale + low to o / scale + high. Behind a
        Deconvolution these are bounds over all positions.
    """

    scale: Fraction = Fraction(1)
    shift: Fraction = Fraction(0)
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)

    @property
    def stride(self) -> Fraction:
        """The pixels from one position to the next."""
        return 1 / self.scale

    @property
    def first(self) -> Fraction:
        """The pixel at which position 0 lies."""
        return -self.shift / self.scale

    @property
    def field(self) -> int:
        """The pixels that one position sees."""
        return int(self.high - self.low + 1)

    @property
    def coord_map(self) -> CoordMap:
        """The map as `caffe.coord_map` writes maps."""
        return 1, self.scale, self.shift

    def through(self, kernel_reach: int, stride: int, pad: int) -> AxisPlace:
        """The place of the top of a window that slides over the blob."""
        step = 1, Fraction(1, stride), (pad - Fraction(kernel_reach - 1, 2)) / stride
        _, scale, shift = compose(step, self.coord_map)
        low = self.low - self.stride * pad
        high = self.high + self.stride * (kernel_reach - 1 - pad)
        return AxisPlace(scale, shift, low, high)

    def through_transposed(self, kernel_reach: int, stride: int, pad: int) -> AxisPlace:
        """The place of the top of a Deconvolution of the blob."""
        step = 1, Fraction(stride), Fraction(kernel_reach - 1, 2) - pad
        _, scale, shift = compose(step, self.coord_map)
        low = self.low + self.stride * Fraction(pad - kernel_reach + 1, stride)
        high = self.high + self.stride * Fraction(pad, stride)
        return AxisPlace(scale, shift, low, high)

    def cropped(self, offset: int) -> AxisPlace:
        """The place of the blob without its first `offset` positions."""
        move = self.stride * offset
        return AxisPlace(self.scale, self.shift - offset, self.low + move, self.high + move)

    def joined(self, other: AxisPlace) -> AxisPlace:
        """This place with the pixels that either of two blobs sees."""
        return self._replace(low=min(self.low, other.low), high=max(self.high, other.high))


class Place(NamedTuple):
    """Where a blob lies: `frame` is the source blob whose pixels count, `axes` its spatial axes."""

    frame: str
    axes: tuple[AxisPlace, ...]


Places = dict[NetBlob, Place]


def places(net: BuiltNet, aligned: bool = False) -> Places:
    """Return the place of every blob that has positions.

    aligned: take it that the top of each Crop lies where its second bottom does.
    """
    located: Places = {}
    frames: dict[tuple[int, ...], str] = {}
    for part in net.parts:
        if not part.param.bottom:
            for top in part.tops:
                if part.type != "Parameter" and (top.shape is None or len(top.shape) > 2):
                    axes = 2 if top.shape is None else len(top.shape) - 2
                    size = top.shape[2:] if top.shape else ()
                    frame = frames.setdefault(size, top.name)
                    located[top] = Place(frame, (AxisPlace(),) * axes)
            continue
        place = top_place(part, located)
        if aligned and place is not None and part.type == "Crop" and len(part.bottoms) > 1:
            place = located.get(part.bottoms[1], place)
        for top in part.tops if place is not None else ():
            assert place is not None
            located[top] = place
    return located


def layer_window(part: Part, axes: int) -> Window | None:
    """Return the window of a layer that slides one over `axes` axes, else None.

    A layer that Caffe refuses, and a Pooling over its whole bottom, have none.
    """
    try:
        window = read_window(part.type, part.param, axes)
    except (KeyError, ValueError):
        return None
    if part.type != "Pooling" and part.param.convolution_param.axis != 1:
        return None
    return window


def top_place(part: Part, located: Places) -> Place | None:
    """Return the place of a layer's tops, or None where the tops have no positions."""
    if not part.bottoms or part.bottoms[0] not in located:
        return None
    base = located[part.bottoms[0]]
    if part.type in ("Convolution", "Deconvolution", "Pooling", "Im2col"):
        window = layer_window(part, len(base.axes))
        return None if window is None else _slid(base, window, part.type == "Deconvolution")
    if part.type == "Crop":
        offsets = crop_offsets(part.param.crop_param, len(base.axes))
        return Place(base.frame, tuple(a.cropped(o) for a, o in zip(base.axes, offsets)))
    if part.type == "LRN" and part.param.lrn_param.norm_region == 1:
        n = part.param.lrn_param.local_size
        return Place(base.frame, tuple(a.through(n, 1, n // 2) for a in base.axes))
    if not keeps_positions(part):
        return None
    axes = base.axes
    for bottom in part.bottoms[1:] if part.type in MERGING else ():
        other = located.get(bottom)
        if other is not None and len(other.axes) == len(axes):
            axes = tuple(a.joined(b) for a, b in zip(axes, other.axes))
    return Place(base.frame, axes)


def _slid(base: Place, window: Window, transposed: bool) -> Place:
    axes = []
    for axis, reach, stride, pad in zip(base.axes, window.reach, window.stride, window.pad):
        slide = axis.through_transposed if transposed else axis.through
        axes.append(slide(reach, stride, pad))
    return Place(base.frame, tuple(axes))


def keeps_positions(part: Part) -> bool:
    """Whether every position of the tops belongs to the same position of the bottoms."""
    if part.type in CHANNEL_AXES:
        settings = getattr(part.param, CHANNEL_AXES[part.type])
        legacy = {"Concat": "concat_dim", "Slice": "slice_dim"}.get(part.type)
        return getattr(settings, legacy if legacy and settings.HasField(legacy) else "axis") == 1
    cls = layer_class(part.type)
    return cls is not None and cls.pointwise


def crop_offsets(settings: Any, axes: int) -> list[int]:
    """Return the offset of a Crop along each spatial axis; 0 where the axis is not cut."""
    offsets = list(settings.offset) or [0]
    first = settings.axis - 2 if settings.axis >= 0 else settings.axis + axes
    if len(offsets) == 1:
        offsets *= axes - first
    return [
        offsets[axis - first] if 0 <= axis - first < len(offsets) else 0 for axis in range(axes)
    ]


def needed_offset(from_axis: AxisPlace, to_axis: AxisPlace) -> Fraction | None:
    """Return the offset that brings the first blob's positions to those of the second.

    None where the scales differ, so that no offset does.
    """
    _, scale, shift = compose(to_axis.coord_map, inverse(from_axis.coord_map))
    return -shift if scale == 1 else None
