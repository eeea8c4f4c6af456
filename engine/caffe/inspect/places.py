"""Where the values of a blob lie in the image: coordinate maps and receptive fields, exactly.

The maps are those of `caffe.coord_map`, an axis at a time and in fractions. The fields follow from
the same windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import gcd, lcm
from typing import Any, NamedTuple

from ..coord_map import CoordMap, compose, inverse
from ..errors import LayerError
from ..layers.registry import layer_class
from ..layers.windows import Window, read_window
from .build import BuiltNet, NetBlob, Part

#: Positions that the windows of one layer read at most, so that a damaged net ends in seconds.
MOST_READS = 1 << 15
#: Types that join or cut blobs along `axis`, with the field that holds the axis.
CHANNEL_AXES = {
    "Concat": "concat_param",
    "Slice": "slice_param",
    "Softmax": "softmax_param",
    "Tile": "tile_param",
}
#: Types whose bottoms need to lie at the same place.
MERGING = ("Concat", "Eltwise")


class Field(NamedTuple):
    """The pixels that a position sees, from `low` to `high`, relative to the pixel it lies at."""

    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)


class AxisPlace(NamedTuple):
    """Where a blob's positions lie along one axis of the image, in pixels.

    scale, shift: pixel x of the image lies at scale * x + shift in the blob.
    fields: position o sees the pixels from o / scale + low to o / scale + high of field
        o % len(fields), or none where that is None. The positions differ only after a
        Deconvolution; their fields repeat after its stride.
    """

    scale: Fraction = Fraction(1)
    shift: Fraction = Fraction(0)
    fields: tuple[Field | None, ...] = (Field(),)

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
        """The largest number of pixels from the first to the last that one position sees."""
        return max((int(field.high - field.low + 1) for field in self.fields if field), default=0)

    @property
    def coord_map(self) -> CoordMap:
        """The map as `caffe.coord_map` writes maps."""
        return 1, self.scale, self.shift

    def through(self, kernel_reach: int, stride: int, pad: int, dilation: int = 1) -> AxisPlace:
        """Return the place of the top of a window that slides over the blob."""
        step = 1, Fraction(1, stride), (pad - Fraction(kernel_reach - 1, 2)) / stride
        _, scale, shift = compose(step, self.coord_map)
        period = len(self.fields) // gcd(len(self.fields), stride)
        taps = range(0, kernel_reach, dilation) if len(self.fields) > 1 else (0, kernel_reach - 1)
        fields = [
            self._union(1 / scale * o, [o * stride - pad + tap for tap in taps])
            for o in range(period)
        ]
        return AxisPlace(scale, shift, _shortest(fields))

    def through_transposed(
        self, kernel_reach: int, stride: int, pad: int, dilation: int = 1
    ) -> AxisPlace:
        """Return the place of the top of a Deconvolution of the blob."""
        step = 1, Fraction(stride), Fraction(kernel_reach - 1, 2) - pad
        _, scale, shift = compose(step, self.coord_map)
        fields = []
        for o in range(len(self.fields) * stride):
            reads = [o + pad - tap for tap in range(0, kernel_reach, dilation)]
            positions = [at // stride for at in reads if at % stride == 0]
            fields.append(self._union(1 / scale * o, positions))
        return AxisPlace(scale, shift, _shortest(fields))

    def _union(self, pixel: Fraction, positions: Sequence[int]) -> Field | None:
        """Return the field, relative to a pixel, of a value that reads these positions."""
        read = [(at * self.stride - pixel, self.fields[at % len(self.fields)]) for at in positions]
        lows = [at + field.low for at, field in read if field]
        highs = [at + field.high for at, field in read if field]
        return Field(min(lows), max(highs)) if lows else None

    def cropped(self, offset: int) -> AxisPlace:
        """Return the place of the blob without its first `offset` positions."""
        fields = [self._union(o * self.stride, [o + offset]) for o in range(len(self.fields))]
        return AxisPlace(self.scale, self.shift - offset, tuple(fields))

    def joined(self, other: AxisPlace) -> AxisPlace:
        """This place with the pixels that either of two blobs sees."""
        fields = []
        for o in range(lcm(len(self.fields), len(other.fields))):
            pair = self.fields[o % len(self.fields)], other.fields[o % len(other.fields)]
            read = [field for field in pair if field]
            lows, highs = [field.low for field in read], [field.high for field in read]
            fields.append(Field(min(lows), max(highs)) if read else None)
        return self._replace(fields=_shortest(fields))


def _shortest(fields: Sequence[Field | None]) -> tuple[Field | None, ...]:
    """One period of the fields: a single one where all positions see alike."""
    return tuple(fields[:1]) if all(field == fields[0] for field in fields) else tuple(fields)


class Place(NamedTuple):
    """Where a blob lies: `frame` is the source blob whose pixels count, `axes` its spatial axes."""

    frame: str
    axes: tuple[AxisPlace, ...]


Places = dict[NetBlob, Place]


def places(net: BuiltNet, aligned: bool = False) -> Places:
    """Return the place of every blob that has positions.

    aligned: assume that the top of each Crop lies where its second bottom does.
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
        return None if window is None else _slid(base, window, part)
    if part.type == "Crop":
        offsets = crop_offsets(part.param.crop_param, len(base.axes))
        return Place(base.frame, tuple(a.cropped(o) for a, o in zip(base.axes, offsets)))
    if part.type == "LRN" and part.param.lrn_param.norm_region == 1:
        n = min(part.param.lrn_param.local_size, MOST_READS)
        return Place(base.frame, tuple(a.through(n, 1, n // 2) for a in base.axes))
    if not keeps_positions(part):
        return None
    axes = base.axes
    for bottom in part.bottoms[1:] if part.type in MERGING else ():
        other = located.get(bottom)
        if other is not None and len(other.axes) == len(axes):
            for a, b in zip(axes, other.axes):
                _check_reads(part, lcm(len(a.fields), len(b.fields)), "a sum of these bottoms")
            axes = tuple(a.joined(b) for a, b in zip(axes, other.axes))
    return Place(base.frame, axes)


def _check_reads(part: Part, reads: int, reader: str) -> None:
    if reads > MOST_READS:
        reason = f"{reader} reads {reads} positions; the inspector follows at most {MOST_READS}"
        raise LayerError(part.name, part.type, f"{reason}; set smaller kernels and strides")


def _slid(base: Place, window: Window, part: Part) -> Place:
    axes, transposed = [], part.type == "Deconvolution"
    sides = zip(base.axes, window.reach, window.stride, window.pad, window.dilation)
    for axis, reach, stride, pad, dilation in sides:
        reader = f"a window of reach {reach} and stride {stride}"
        _check_reads(part, len(axis.fields) * stride * reach, reader)
        slide = axis.through_transposed if transposed else axis.through
        axes.append(slide(reach, stride, pad, dilation))
    return Place(base.frame, tuple(axes))


def keeps_positions(part: Part) -> bool:
    """Return whether every position of the tops belongs to the same position of the bottoms."""
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
        return [offsets[0] if axis >= first else 0 for axis in range(axes)]
    return [
        offsets[axis - first] if 0 <= axis - first < len(offsets) else 0 for axis in range(axes)
    ]


def needed_offset(from_axis: AxisPlace, to_axis: AxisPlace) -> Fraction | None:
    """Return the offset that brings the first blob's positions to those of the second.

    None where the scales differ, so that no offset does.
    """
    _, scale, shift = compose(to_axis.coord_map, inverse(from_axis.coord_map))
    return -shift if scale == 1 else None
