"""Sizes and places of the blobs of a NetParameter, in exact numbers.

Sizes are those that Caffe's layers make. Places are the maps of `caffe.coord_map`, in fractions.
"""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from fractions import Fraction
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from caffe.coord_map import compose, inverse

from .arguments import check_choice, check_integer
from .fcn import fcn
from .pointwise import JOINING, POINTWISE
from .receptive_fields import Fields
from .windows import WINDOWED, Slide, layer_error, read_window

SIDES = ("height", "width")

#: (axis, scale, shift): what lies at x in the image lies at scale * x + shift in the blob. axis is
#: 1 as in `caffe.coord_map`, or None if no layer before the blob moves a place.
CoordMap = Tuple[Optional[int], Fraction, Fraction]
IDENTITY: CoordMap = (None, Fraction(1), Fraction(0))


class EmptyBlobError(ValueError):
    """Raised if an input is so small that a blob has no values."""


class Limits(NamedTuple):
    """What one padding allows along one side of the image.

    pad: around the image, in pixels, in the first convolution.
    offsets: Crop layer -> the offset that its coordinate maps need. A Crop with an offset that is
        negative or not an integer cannot be built.
    smallest: smallest input in pixels with which no blob is empty. No larger input has an empty
        blob either.
    period: in pixels. From `smallest` on, an input that is larger by `period` makes every blob
        larger by `period` times its scale. So what holds for `period` sizes in a row holds for all.
    fault: why not every size from `smallest` on is aligned, in one line; "" if all are.
    """

    pad: int
    offsets: Dict[str, Fraction]
    smallest: int
    period: int
    fault: str


class _Node(NamedTuple):
    """A layer whose tops have places, read once: fields of protobuf messages are slow.

    type: "" for a layer without bottoms. slide, dilation, ceil, clip: of a layer with a window.
    """

    layer: Any
    type: str
    bottoms: List[str]
    tops: List[str]
    slide: Optional[Slide] = None
    dilation: int = 1
    ceil: bool = False
    clip: bool = False


def as_message(net: Any) -> Any:
    """Return a NetParameter as it is, or the deploy net of the name of a variant or a `Variant`."""
    return net if hasattr(net, "layer") else fcn(net, "deploy")


def first_convolutions(net: Any) -> List[Any]:
    """Return the layers that pad the image: the convolutions that read it.

    The image is a blob of a layer without bottoms, or what pointwise layers make of such blobs.

    Raises ValueError if there are none.
    """
    images, layers = set(net.input), []
    for layer in net.layer:
        if not layer.bottom or (layer.type in POINTWISE and images.intersection(layer.bottom)):
            images.update(layer.top)
        elif layer.type == "Convolution" and images.intersection(layer.bottom):
            layers.append(layer)
    if not layers:
        raise ValueError(
            f"net {net.name!r}: no convolution reads the image, needs one that pads it"
        )
    return layers


def first_convolution(net: Any) -> Any:
    """Return the layer that pads the image, of a net that has one such layer.

    Raises ValueError if there are none or several.
    """
    layers = first_convolutions(net)
    if len(layers) > 1:
        names = ", ".join(layer.name for layer in layers)
        raise ValueError(f"net {net.name!r}: {names} read the image, needs one convolution")
    return layers[0]


class Geometry:
    """Sizes and coordinate maps of a net's blobs along one side of the image.

    net: the name of a variant, a `Variant` or a NetParameter.
    pad: around the image, with crop offsets to match; None leaves both as they are in the net.
    side: "height" or "width".

    maps: blob -> CoordMap from the image. Blobs without places, such as losses, are left out.
    offsets: Crop layer -> the offset that brings its bottoms to one place.
    period: see `Limits`.

    Raises ValueError, with the layer's name, for a layer that takes inputs of one size only, for
    blobs at different places that are added or joined, and, with pad None, for an offset in the net
    that differs from the one that the maps need.
    """

    def __init__(self, net: Any, pad: Optional[int] = None, side: str = "height") -> None:
        check_choice("side", side, SIDES)
        self.net, self.side, self.along = as_message(net), side, SIDES.index(side)
        first = first_convolutions(self.net)
        self._first = {layer.name for layer in first}
        self._keeps_offsets = pad is None
        self.pad = (
            read_window(first[0]).pad[self.along]
            if pad is None
            else check_integer("pad", pad, least=0)
        )
        self.maps: Dict[str, CoordMap] = OrderedDict()
        self.offsets: Dict[str, Fraction] = OrderedDict()
        self._nodes: List[_Node] = []
        self._add_images(None, list(self.net.input))
        for layer in self.net.layer:
            self._add(layer)
        self.period = math.lcm(*(scale.denominator for _, scale, _ in self.maps.values()))

    def window(self, layer: Any) -> Slide:
        """Return the window of a Convolution, Deconvolution or Pooling layer along this side."""
        slide = read_window(layer).along(self.along)
        if layer.name in self._first and not self._keeps_offsets:
            return slide._replace(pad=self.pad)
        return slide

    def _add_images(self, layer: Any, tops: List[str]) -> None:
        """Record blobs that no layer of the net computes from others."""
        for top in tops:
            self.maps[top] = IDENTITY
        self._nodes.append(_Node(layer, "", [], tops))

    def _add(self, layer: Any) -> None:
        """Record the maps of a layer's tops."""
        if not layer.bottom:
            self._add_images(layer, list(layer.top))
            return
        if layer.type == "InnerProduct" or (
            layer.type == "Pooling" and layer.pooling_param.global_pooling
        ):
            raise layer_error(
                layer,
                "takes inputs of one size or keeps no places, needs a fully convolutional net",
            )
        if any(bottom not in self.maps for bottom in layer.bottom):
            return
        if layer.type not in WINDOWED and layer.type not in POINTWISE and layer.type != "Crop":
            return
        node = self._node(layer)
        step = IDENTITY
        if node.slide:
            step = _window_map(node)
        elif layer.type == "Crop":
            step = 1, Fraction(1), -self._offset(layer)
        elif layer.type in JOINING:
            self._check_places(layer)
        for top in layer.top:
            self.maps[top] = compose(step, self.maps[layer.bottom[0]])
        self._nodes.append(node)

    def _node(self, layer: Any) -> _Node:
        node = _Node(layer, layer.type, list(layer.bottom), list(layer.top))
        if layer.type not in WINDOWED:
            return node
        window = read_window(layer)
        node = node._replace(slide=self.window(layer), dilation=window.dilation[self.along])
        if layer.type != "Pooling":
            return node
        # A schema without round_mode belongs to a Caffe that always rounds up. Padding along
        # either side makes Caffe clip the windows along both.
        ceil = getattr(layer.pooling_param, "round_mode", 0) == 0
        return node._replace(ceil=ceil, clip=any(window.pad))

    @property
    def fields(self) -> Dict[str, int]:
        """Blob -> the largest number of pixels along the side that influence one of its values."""
        return {blob: fields.largest for blob, fields in self.receptive_fields.items()}

    def context(self, blob: str) -> Tuple[int, int]:
        """Return the pixels before and behind a part of the image that the part's values depend on.

        The part starts and ends at multiples of `period`. Its values are those of `blob` at each of
        its pixels, interpolated from the next positions of a blob that does not lie on the image.
        """
        _, scale, shift = self.maps[blob]
        if (scale, shift) == (1, 0):
            return self.receptive_fields[blob].around(self.period)
        margin = math.ceil(self.farthest(blob) + 1 / scale)
        return margin, margin

    def farthest(self, blob: str) -> Fraction:
        """Return the largest distance in pixels from the place of a value to a pixel it sees."""
        _, scale, shift = self.maps[blob]
        return self.receptive_fields[blob].farthest(-shift / scale)

    @functools.cached_property
    def receptive_fields(self) -> Dict[str, Fields]:
        """Blob -> its receptive fields along the side."""
        every: Dict[str, Fields] = OrderedDict()
        for node in self._nodes:
            fields = Fields()
            if node.bottoms:
                fields = self._top_fields(node, [every[bottom] for bottom in node.bottoms])
            every.update((top, fields) for top in node.tops)
        return every

    def _top_fields(self, node: _Node, bottoms: List[Fields]) -> Fields:
        """Return the fields of a layer's tops, from those of its bottoms."""
        if node.slide and node.type == "Deconvolution":
            return bottoms[0].deconvolved(node.slide, node.dilation)
        if node.slide:
            return bottoms[0].convolved(node.slide, node.dilation)
        if node.type == "Crop":
            # A Crop whose offset is not an integer cannot be built.
            return bottoms[0].cropped(math.floor(self.offsets.get(node.layer.name, 0)))
        if node.type in JOINING:
            return functools.reduce(Fields.joined, bottoms)
        return bottoms[0]

    def _check_places(self, layer: Any) -> None:
        places = [self.maps[bottom][1:] for bottom in layer.bottom]
        for bottom, place in zip(layer.bottom, places):
            if place != places[0]:
                raise layer_error(
                    layer,
                    f"{layer.bottom[0]} lies at {place_text(*places[0])}, {bottom} at "
                    f"{place_text(*place)}, needs bottoms at one place",
                )

    def _offset(self, layer: Any) -> Fraction:
        """Return the offset that the maps need of a Crop along this side, and record it."""
        axis = layer.crop_param.axis
        if axis > 2 + self.along:
            return Fraction(0)
        from_map, to_map = (self.maps[bottom] for bottom in layer.bottom)
        _, scale, shift = compose(to_map, inverse(from_map))
        if scale != 1:
            raise layer_error(
                layer,
                f"{layer.bottom[0]} has {1 / scale} times the values of {layer.bottom[1]} along "
                f"the {self.side}, needs bottoms of one scale",
            )
        if self._keeps_offsets:
            offsets = list(layer.crop_param.offset) or [0]
            offset = offsets[2 + self.along - axis if len(offsets) > 1 else 0]
            if offset != -shift:
                raise layer_error(
                    layer,
                    f"offset is {offset} along the {self.side}, the coordinate maps need {-shift}",
                )
        self.offsets[layer.name] = -shift
        return -shift

    def sizes(self, size: int, checked: bool = True) -> Dict[str, int]:
        """Return blob -> its size along this side with an input of `size` pixels.

        checked: False skips the checks that crops fit and that joined blobs have one size.

        Raises EmptyBlobError for a blob without values, and ValueError for a crop that does not fit
        and for joined blobs of different sizes; each names the layer.
        """
        sizes: Dict[str, int] = OrderedDict()
        for node in self._nodes:
            extent = size
            if node.bottoms:
                bottoms = [sizes[bottom] for bottom in node.bottoms]
                extent = self._top_size(node, bottoms, checked)
                if extent < 1:
                    raise EmptyBlobError(
                        f"layer {node.layer.name} ({node.type}): {node.bottoms[0]} has size "
                        f"{bottoms[0]} with an input of {size}, needs more for one window"
                    )
            for top in node.tops:
                sizes[top] = extent
        return sizes

    def _top_size(self, node: _Node, sizes: List[int], checked: bool) -> int:
        """Return the size of a layer's tops, from the sizes of its bottoms."""
        layer = node.layer
        if node.slide and node.type == "Deconvolution":
            return node.slide.stride * (sizes[0] - 1) + node.slide.reach - 2 * node.slide.pad
        if node.slide:
            return node.slide.count(sizes[0], node.ceil, node.clip)
        if node.type == "Crop" and layer.name in self.offsets:
            offset = self.offsets[layer.name]
            if checked and not offset + sizes[1] <= sizes[0]:
                raise layer_error(
                    layer,
                    f"offset {offset} and {sizes[1]} of {node.bottoms[1]} do not fit into "
                    f"{sizes[0]} of {node.bottoms[0]}",
                )
            return sizes[1]
        if checked and node.type in JOINING and len(set(sizes)) > 1:
            raise layer_error(layer, f"bottoms have sizes {sizes}, needs one size")
        return sizes[0]

    def limits(self) -> Limits:
        """Return what this padding allows.

        Sizes never fall as the input grows, so bisection finds the smallest input. From there on, n
        + `period` pixels make each blob period * scale larger: every step on the way is a division
        without remainder, and whether the last window of a Pooling is clipped depends on n modulo
        its stride. So the remainder of a crop has this period too, and one period proves all sizes.
        """
        low, high = 0, 1
        while not self._fills_blobs(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._fills_blobs(middle) else (middle, high)
        return Limits(self.pad, dict(self.offsets), high, self.period, self.fault_from(high))

    def _fills_blobs(self, size: int) -> bool:
        try:
            self.sizes(size, checked=False)
        except EmptyBlobError:
            return False
        return True

    def fault_from(self, smallest: int) -> str:
        """Return why not every size from `smallest` on is aligned, in one line; "" if all are."""
        for name, offset in self.offsets.items():
            if not is_crop_offset(offset):
                return f"layer {name} (Crop): offset is {offset}, needs an integer of at least 0"
        for size in range(smallest, smallest + self.period):
            try:
                self.sizes(size)
            except EmptyBlobError as error:
                return str(error)
            except ValueError as error:
                return f"{error}, with an input of {size} and every {self.period} more"
        _, scale, shift = self.maps.get("score", IDENTITY)
        if (scale, shift) == (1, 0):
            return ""
        return f"blob score lies at {place_text(scale, shift)}, needs the place of the image, x"


def _window_map(node: _Node) -> CoordMap:
    """Return the map from a layer's bottom to its tops."""
    assert node.slide
    reach, stride, pad = node.slide
    half = Fraction(reach - 1, 2)
    if node.type == "Deconvolution":
        return (1, Fraction(stride), half - pad)
    return (1, Fraction(1, stride), (pad - half) / stride)


def is_crop_offset(offset: Fraction) -> bool:
    """Return whether a Crop layer can have this offset: an integer from 0 on."""
    return offset >= 0 and offset.denominator == 1


def place_text(scale: Fraction, shift: Fraction) -> str:
    """Return a map as text: `x / 32 + 19/32`."""
    x = "x" if scale == 1 else f"x / {1 / scale}" if scale < 1 else f"{scale} x"
    return x if not shift else f"{x} {'-' if shift < 0 else '+'} {abs(shift)}"
