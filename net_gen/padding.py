"""What the padding around the first convolution decides: sizes, crop offsets, places of pixels.

    padding.smallest_input("voc-fcn32s", 100)    # (1, 1): every size has its scores
    padding.least_padding("voc-fcn32s")          # 97
    padding.coordinate_maps("voc-fcn32s")        # blob -> where the image's pixels lie in it

Every number is worked out exactly from the layers of the net itself: sizes as Caffe's layers make
them, places by the maps of `caffe.coord_map`, in fractions. A net is given as the name of a
variant, a `Variant` or a NetParameter.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from fractions import Fraction
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

from caffe.coord_map import PASS_THROUGH_LAYERS, compose, inverse
from caffe.proto import caffe_pb2

from .arguments import whole
from .fcn import fcn

SIDES = ("height", "width")
# Types that keep every position; in two of them the bottoms lie one behind the other.
POINTWISE = {*PASS_THROUGH_LAYERS, "Concat", "Slice", "Softmax"}
MERGING = {"Concat", "Eltwise"}

CoordMap = Tuple[Optional[int], Fraction, Fraction]
IDENTITY: CoordMap = (None, Fraction(1), Fraction(0))


class Limits(NamedTuple):
    """What one padding allows along one side of the image.

    pad: around the first convolution, in pixels.
    offsets: of every Crop layer, as the coordinate maps ask for; below 0 or no whole number, the
        layer cannot be.
    smallest: the smallest input, in pixels, with which no blob is empty; so is every larger one.
    period: in pixels. With `smallest` or more, an input larger by `period` makes every blob larger
        by `period` times its scale, so that what holds for `period` sizes in a row holds for all.
    fault: why not every size from `smallest` on is aligned, in one line; "" if every one is.
    """

    pad: int
    offsets: Dict[str, Fraction]
    smallest: int
    period: int
    fault: str


class EmptyBlobError(ValueError):
    """Raised where an input is so small that a blob has no positions."""


def _extent(p: Any, name: str, stem: str, along: int, default: Optional[int]) -> Optional[int]:
    """Setting `name` of a layer along a side, which `<stem>_h` and `<stem>_w` may give instead."""
    side = f"{stem}_{'hw'[along]}"
    if p.HasField(side):
        return int(getattr(p, side))
    if name not in p.DESCRIPTOR.fields_by_name:
        return default
    value = getattr(p, name)
    if hasattr(value, "extend"):
        return int(value[along if len(value) > 1 else 0]) if len(value) else default
    return int(value) if p.HasField(name) else default


class _Window(NamedTuple):
    """A sliding kernel along one side: its reach in positions of the bottom, its stride and pad."""

    reach: int
    stride: int
    pad: int

    @classmethod
    def of(cls, layer: Any, along: int) -> _Window:
        p = layer.pooling_param if layer.type == "Pooling" else layer.convolution_param
        kernel = _extent(p, "kernel_size", "kernel", along, None)
        if kernel is None or (layer.type != "Pooling" and p.axis != 1):
            raise ValueError(
                f"layer {layer.name} ({layer.type}): a kernel_size over height and width is needed"
            )
        dilation = list(getattr(p, "dilation", []))
        spread = dilation[along if len(dilation) > 1 else 0] if dilation else 1
        stride = _extent(p, "stride", "stride", along, 1)
        pad = _extent(p, "pad", "pad", along, 0)
        return cls((kernel - 1) * spread + 1, stride or 1, pad or 0)

    def slide(self, size: int, ceil: bool = False, clip: bool = False) -> int:
        """How many places the kernel takes. `ceil`: the last may hang over, as Pooling's does.

        `clip`: but has to begin inside the bottom or the padding before it.
        """
        room = size + 2 * self.pad - self.reach
        places = (-(-room // self.stride) if ceil else room // self.stride) + 1
        return places - (clip and (places - 1) * self.stride >= size + self.pad)


def _message(net: Any) -> Any:
    """The NetParameter that `net` stands for."""
    if hasattr(net, "layer"):
        return net
    return fcn(net, "deploy")


class Geometry:
    """Sizes and coordinate maps of a net's blobs along one side of the image.

    net: the name of a variant, a Variant, or a NetParameter whose image is the blob `data`.
    pad: that of the first convolution, with crop offsets to suit; None takes both as they stand.
    side: "height" or "width".

    maps: blob -> (axis, scale, shift), from the coordinates of `data` to the blob's, as
        `caffe.coord_map` writes maps; what is left out has no positions (losses).
    fields: blob -> width in pixels of what one of its values sees (an upper bound after a
        Deconvolution whose kernel is no multiple of its stride).
    offsets: Crop layer -> the offset that brings its bottoms to the same place.

    Raises ValueError for a layer that takes one input size only, for blobs at different places that
    are added, and for an offset in a net taken as it stands that is not the maps'.
    """

    def __init__(self, net: Any, pad: Optional[int] = None, side: str = "height") -> None:
        if side not in SIDES:
            raise ValueError(f"side {side!r}: one of {', '.join(SIDES)} is needed")
        self.net, self.side, self.along = _message(net), side, SIDES.index(side)
        self.first = first_convolution(self.net)
        self.pad = (
            _Window.of(self.first, self.along).pad if pad is None else whole("pad", pad, least=0)
        )
        self._as_it_stands = pad is None
        self.maps: Dict[str, CoordMap] = OrderedDict()
        self.offsets: Dict[str, Fraction] = OrderedDict()
        self._half: Dict[str, Fraction] = {}
        self._windows: Dict[str, _Window] = {}
        # (layer, type, bottoms, tops) of what has positions: messages are slow to read.
        self._layers: List[Tuple[Any, str, List[str], List[str]]] = []
        for layer in self.net.layer:
            self._add(layer)
        self.fields = OrderedDict((name, int(2 * half + 1)) for name, half in self._half.items())
        self.period = math.lcm(*(scale.denominator for _, scale, _ in self.maps.values()))

    def window(self, layer: Any) -> _Window:
        """The kernel of a Convolution, Pooling or Deconvolution layer."""
        if layer.name not in self._windows:
            found = _Window.of(layer, self.along)
            first = layer.name == self.first.name
            self._windows[layer.name] = found._replace(pad=self.pad) if first else found
        return self._windows[layer.name]

    def _add(self, layer: Any) -> None:
        """Records what a layer's tops are."""
        if not layer.bottom:
            for top in layer.top:
                self.maps[top], self._half[top] = IDENTITY, Fraction(0)
            self._layers.append((layer, "", [], list(layer.top)))
            return
        if layer.type == "InnerProduct" or (
            layer.type == "Pooling" and layer.pooling_param.global_pooling
        ):
            raise ValueError(
                f"layer {layer.name} ({layer.type}): takes one input size only or keeps no "
                "positions; a fully convolutional net is needed"
            )
        if any(bottom not in self.maps for bottom in layer.bottom):
            return
        before, half = self.maps[layer.bottom[0]], self._half[layer.bottom[0]]
        step: CoordMap
        if layer.type in ("Convolution", "Pooling", "Deconvolution"):
            reach, stride, pad = self.window(layer)
            half += (
                Fraction(reach - 1, 2)
                / before[1]
                / (stride if layer.type == "Deconvolution" else 1)
            )
            if layer.type == "Deconvolution":
                step = 1, Fraction(stride), Fraction(reach - 1, 2) - pad
            else:
                step = 1, Fraction(1, stride), (pad - Fraction(reach - 1, 2)) / stride
        elif layer.type == "Crop":
            step = 1, Fraction(1), -self._offset(layer)
        elif layer.type in POINTWISE:
            step = IDENTITY
            if layer.type in MERGING:
                self._same_places(layer)
                half = max(self._half[bottom] for bottom in layer.bottom)
        else:
            return
        for top in layer.top:
            self.maps[top], self._half[top] = compose(step, before), half
        self._layers.append((layer, layer.type, list(layer.bottom), list(layer.top)))

    def _same_places(self, layer: Any) -> None:
        places = [self.maps[bottom][1:] for bottom in layer.bottom]
        for bottom, place in zip(layer.bottom, places):
            if place != places[0]:
                raise ValueError(
                    f"layer {layer.name} ({layer.type}): {layer.bottom[0]} lies at "
                    f"{_place(*places[0])}, {bottom} at {_place(*place)}; one place is needed"
                )

    def _offset(self, layer: Any) -> Fraction:
        """The offset of a Crop layer; recorded where it is the maps'."""
        p = layer.crop_param
        if p.axis > 2 + self.along:
            return Fraction(0)
        from_map, to_map = (self.maps[bottom] for bottom in layer.bottom)
        _, scale, shift = compose(to_map, inverse(from_map))
        if scale != 1:
            raise ValueError(
                f"layer {layer.name} (Crop): {layer.bottom[0]} has {1 / scale} times the pixels of "
                f"{layer.bottom[1]} a side; one scale is needed"
            )
        if self._as_it_stands:
            given = list(p.offset) or [0]
            found = given[2 + self.along - p.axis if len(given) > 1 else 0]
            if found != -shift:
                raise ValueError(
                    f"layer {layer.name} (Crop): offset {found} along the {self.side}, the "
                    f"coordinate maps need {-shift}"
                )
        self.offsets[layer.name] = -shift
        return -shift

    def sizes(self, size: int, checked: bool = True) -> Dict[str, int]:
        """Blob -> its size with an input of `size` pixels along this side.

        checked: False takes it that crops fit and that blobs to be added have one size.

        Raises EmptyBlobError for a blob without positions, ValueError for a crop that does not fit
        or for sizes to be added that differ; either names the layer.
        """
        found: Dict[str, int] = OrderedDict()
        for layer, kind, bottoms, tops in self._layers:
            n = size
            if bottoms:
                n = self._size(layer, kind, [found[bottom] for bottom in bottoms], checked)
                if n < 1:
                    raise EmptyBlobError(
                        f"layer {layer.name} ({kind}): {bottoms[0]} of {found[bottoms[0]]} is too "
                        f"small, with an input of {size}"
                    )
            for top in tops:
                found[top] = n
        return found

    def _size(self, layer: Any, kind: str, sizes: List[int], checked: bool) -> int:
        if kind == "Convolution":
            return self.window(layer).slide(sizes[0])
        if kind == "Pooling":
            p = layer.pooling_param
            # Schemas without round_mode are of a Caffe that always rounds up.
            ceil = getattr(p, "round_mode", 0) == 0
            padded = any(_extent(p, "pad", "pad", along, 0) for along in range(len(SIDES)))
            return self.window(layer).slide(sizes[0], ceil=ceil, clip=padded)
        if kind == "Deconvolution":
            reach, stride, pad = self.window(layer)
            return stride * (sizes[0] - 1) + reach - 2 * pad
        if kind == "Crop" and layer.name in self.offsets:
            offset = self.offsets[layer.name]
            if checked and not offset + sizes[1] <= sizes[0]:
                raise ValueError(
                    f"layer {layer.name} (Crop): offset {offset} and {sizes[1]} of "
                    f"{layer.bottom[1]} do not fit into {sizes[0]} of {layer.bottom[0]}"
                )
            return sizes[1]
        if checked and kind in MERGING and len(set(sizes)) > 1:
            raise ValueError(f"layer {layer.name} ({kind}): bottoms of {sizes}, one is needed")
        return sizes[0]

    def limits(self) -> Limits:
        """What this padding allows.

        Sizes never fall as the input grows, so the smallest input is found by bisection. From there
        on, n + `period` pixels make each blob period * scale larger: every step on the way is
        a division without rest, and Pooling's last window is clipped by n modulo its stride. So
        what a crop leaves over has this period too, and one period proves all sizes.
        """
        low, high = 0, 1
        while not self._fits(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._fits(middle) else (middle, high)
        return Limits(self.pad, dict(self.offsets), high, self.period, self.fault_from(high))

    def _fits(self, size: int) -> bool:
        try:
            self.sizes(size, checked=False)
        except EmptyBlobError:
            return False
        return True

    def fault_from(self, smallest: int) -> str:
        """Why not every size from `smallest` on is aligned, in one line; "" if every one is."""
        for name, offset in self.offsets.items():
            if offset < 0 or offset.denominator > 1:
                return f"layer {name} (Crop): offset {offset}, a whole number from 0 on is needed"
        for size in range(smallest, smallest + self.period):
            try:
                self.sizes(size)
            except EmptyBlobError as error:
                return str(error)
            except ValueError as error:
                return f"{error}, with an input of {size} and every {self.period} more"
        _, scale, shift = self.maps.get("score", IDENTITY)
        return (
            "" if (scale, shift) == (1, 0) else f"score lies at {_place(scale, shift)}, x is needed"
        )


def first_convolution(net: Any) -> Any:
    """The layer of a NetParameter that the padding belongs to: the convolution that reads `data`.

    Raises ValueError unless there is one.
    """
    found = [layer for layer in net.layer if layer.type == "Convolution" and "data" in layer.bottom]
    if len(found) != 1:
        names = ", ".join(layer.name for layer in found) or "none"
        raise ValueError(f"net {net.name or 'without a name'}: the convolutions that read the blob "
                         f"data are {names}; one is needed")  # fmt: skip
    return found[0]


def limits(net: Any, pad: Optional[int] = None) -> Tuple[Limits, Limits]:
    """What a padding allows along the height and along the width; None is the net's own.

    Raises what `Geometry` raises.
    """
    height, width = (Geometry(net, pad, side).limits() for side in SIDES)
    return height, width


def smallest_input(net: Any, pad: Optional[int] = None) -> Tuple[int, int]:
    """The height and width in pixels from which on every image has a score for every pixel.

    `score` then has the size of `data`, and pixel (y, x) of one is pixel (y, x) of the other. The
    smallest square image has the larger of the two as its side.

    Raises ValueError, with the layer, where the padding aligns not all sizes, however large.
    """
    found = limits(net, pad)
    for side in found:
        if side.fault:
            raise ValueError(f"pad {side.pad}: {side.fault}")
    return found[0].smallest, found[1].smallest


def least_padding(net: Any, smallest: Union[int, Tuple[int, int]] = 1) -> int:
    """The least padding with which every image from `smallest` on is aligned.

    That is: each crop offset is a whole number from 0 on, no blob is empty, no crop reaches past
    its bottom, and so `score` has the size of `data` and lies pixel on pixel with it.

    smallest: height and width in pixels of the smallest image, or one number for both.

    Raises ValueError where no padding does.
    """
    sides = smallest if isinstance(smallest, tuple) else (smallest, smallest)
    wanted = [whole("smallest", n) for n in sides]
    message = _message(net)
    own = [Geometry(message, 0, side) for side in SIDES]
    # From the width of what a value sees on, more padding changes nothing but the offsets.
    most = max(max(side.fields.values()) + side.period for side in own)
    fault = ""
    # Offsets are linear in the padding: below `start` one is negative.
    one = [Geometry(message, 1, side) for side in SIDES]
    start = 0
    for none, some in zip(own, one):
        for name, offset in none.offsets.items():
            grows = some.offsets[name] - offset
            if offset < 0 < grows:
                start = max(start, math.ceil(-offset / grows))
    for pad in range(start, most + 1):
        found = [Geometry(message, pad, side) for side in SIDES]
        faults = (side.fault_from(n) for side, n in zip(found, wanted))
        fault = next(filter(None, faults), "")
        if not fault:
            return pad
    raise ValueError(f"no padding up to {most} aligns every size; with the last, {fault}")


def with_padding(net: Any, pad: int) -> Any:
    """A copy of a net with `pad` around its first convolution and crop offsets to suit.

    Raises ValueError for an offset that is negative or no whole number.
    """
    message = caffe_pb2.NetParameter()
    message.CopyFrom(_message(net))
    found = [Geometry(message, pad, side) for side in SIDES]
    for side in found:
        for name, offset in side.offsets.items():
            if offset < 0 or offset.denominator > 1:
                raise ValueError(
                    f"pad {pad}: layer {name} (Crop) would need offset {offset}; a whole number "
                    "from 0 on is needed, so another padding"
                )
    p = first_convolution(message).convolution_param
    for field in ("pad", "pad_h", "pad_w"):
        p.ClearField(field)
    p.pad.append(pad)
    for layer in message.layer:
        if layer.type == "Crop":
            both = [side.offsets[layer.name] for side in found if layer.name in side.offsets]
            spare = list(layer.crop_param.offset)[: max(0, 2 - layer.crop_param.axis)]
            del layer.crop_param.offset[:]
            alike = not spare and len(set(both)) == 1
            layer.crop_param.offset.extend(int(n) for n in (both[:1] if alike else spare + both))
    return message


def coordinate_maps(
    net: Any, pad: Optional[int] = None, side: str = "height"
) -> Dict[str, CoordMap]:
    """Blob -> (axis, scale, shift): what lies at x in `data` lies at scale * x + shift in it.

    The numbers are fractions. axis is 1 as `caffe.coord_map` counts, None where no layer on the way
    moves a position. Raises what `Geometry` raises.
    """
    return Geometry(net, pad, side).maps


def _place(scale: Fraction, shift: Fraction) -> str:
    """A map as text: `x / 32 + 19/32`."""
    x = "x" if scale == 1 else f"x / {1 / scale}" if scale < 1 else f"{scale} x"
    return x if not shift else f"{x} {'-' if shift < 0 else '+'} {abs(shift)}"


def rows(net: Any, pad: Optional[int] = None, side: str = "height") -> List[Tuple[str, ...]]:
    """(blob, axis, scale, shift, what a value sees in pixels) of every blob, as text."""
    found = Geometry(net, pad, side)
    return [
        (name, "-" if axis is None else str(axis), str(scale), str(shift), str(found.fields[name]))
        for name, (axis, scale, shift) in found.maps.items()
    ]
