"""The sizes of a net's blobs for any size of the image, and the sizes for which the net fails.

A period is the number of pixels after which every size repeats: an image larger by a period makes
each blob larger by period / stride. What holds for a period of sizes holds for all larger ones.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import CaffeError
from .build import LABELLED, BuiltNet, NetBlob, Part
from .places import MERGING, Places, crop_offsets, keeps_positions

#: The longest period that is searched; a net with a longer one has unusual strides.
LONGEST_PERIOD = 512
#: The largest image that is tried in pixels, when the smallest image is searched.
LARGEST = 4096

Sizes = tuple[int, ...]


class EmptyBlobError(Exception):
    """Raised for an image that is so small that a blob has no positions."""


class MisfitError(Exception):
    """Raised for an image with which blobs do not fit together; `part` is the layer."""

    def __init__(self, part: Part, reason: str) -> None:
        super().__init__(reason)
        self.part = part


@dataclass
class SizeRules:
    """The sizes of blobs as functions of the size of the image.

    pads, offsets: what replaces the padding of a convolution and the offset of a Crop.
    """

    net: BuiltNet
    located: Places
    pads: dict[Part, int] = field(default_factory=dict)
    offsets: dict[Part, Sequence[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._layers: dict[Part, Any] = {}
        for part in self.net.parts:
            layer: Any = part.layer
            if part in self.pads and layer is not None:
                layer = copy.copy(layer)
                layer.pad = (self.pads[part],) * len(layer.pad)
            self._layers[part] = layer

    @property
    def period(self) -> int:
        """The period in pixels."""
        scales = (axis.scale for place in self.located.values() for axis in place.axes)
        return math.lcm(*(scale.denominator for scale in scales))

    def sizes(self, size: int, checked: bool = True) -> dict[NetBlob, Sizes]:
        """Return the size of each blob that has positions, for an image of size x size pixels.

        checked: whether crops and sums need to fit. Raises EmptyBlobError and MisfitError.
        """
        sizes: dict[NetBlob, Sizes] = {}
        for part in self.net.parts:
            if not part.param.bottom:
                for top in part.tops:
                    if top in self.located:
                        sizes[top] = (size,) * len(self.located[top].axes)
                continue
            bottoms = [sizes[b] for b in part.bottoms if b in sizes]
            if len(bottoms) < len(part.bottoms) or not bottoms:
                continue
            if checked:
                _check_equal(part, bottoms)
            top_sizes = self._top(part, bottoms, checked)
            for top in part.tops if top_sizes else ():
                sizes[top] = top_sizes
        return sizes

    def _top(self, part: Part, bottoms: list[Sizes], checked: bool) -> Sizes:
        """Return the size of a layer's tops; () where the tops have no positions."""
        if part.type == "Crop":
            return self._cropped(part, bottoms, checked)
        if not any(top in self.located for top in part.tops):
            return ()
        output_size = getattr(self._layers[part], "output_size", None)
        if output_size is None:
            return bottoms[0] if keeps_positions(part) or part.type == "LRN" else ()
        try:
            sizes = tuple(output_size(bottoms[0]))
        except CaffeError as error:
            raise EmptyBlobError(str(error)) from None
        if min(sizes) < 1:
            raise EmptyBlobError(part.name)
        return sizes

    def _cropped(self, part: Part, bottoms: list[Sizes], checked: bool) -> Sizes:
        offsets = self.offsets.get(part)
        if offsets is None:
            offsets = crop_offsets(part.param.crop_param, len(bottoms[0]))
        for n, like, offset in zip(*bottoms[:2], offsets):
            if checked and (offset < 0 or offset + like > n):
                raise MisfitError(
                    part,
                    f"offset {offset} and {like} of {part.bottoms[1].name} do not fit into {n} of "
                    f"{part.bottoms[0].name}",
                )
        return bottoms[1]

    def smallest(self) -> int | None:
        """Return the smallest image, in pixels a side, with which no blob is empty, or None."""
        low, high = 0, 1
        while not self._is_filled(high):
            low, high = high, 2 * high
            if high > LARGEST:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._is_filled(middle) else (middle, high)
        return high

    def _is_filled(self, size: int) -> bool:
        try:
            self.sizes(size, checked=False)
        except EmptyBlobError:
            return False
        return True

    def fits_from(self, smallest: int) -> bool:
        """Return whether every image from `smallest` on has no empty blob and no misfit."""
        try:
            for size in range(smallest, smallest + self.period):
                self.sizes(size)
        except (EmptyBlobError, MisfitError):
            return False
        return True


def _check_equal(part: Part, bottoms: list[Sizes]) -> None:
    """Raise MisfitError where bottoms that need one size have several."""
    compared = bottoms if part.type in MERGING else bottoms[:2] if part.type in LABELLED else []
    if len(set(compared)) > 1:
        pairs = ", ".join(f"{blob.name} of {size[0]}" for blob, size in zip(part.bottoms, compared))
        raise MisfitError(part, f"{pairs}: one size is needed")


def with_pad(net: BuiltNet, convolution: Part, pad: int) -> BuiltNet:
    """Return the net with another padding of one convolution; blobs and layers stay."""
    param = type(convolution.param)()
    param.CopyFrom(convolution.param)
    settings = param.convolution_param
    for name in ("pad", "pad_h", "pad_w"):
        settings.ClearField(name)
    settings.pad.append(pad)
    parts = [replace(p, param=param) if p is convolution else p for p in net.parts]
    return replace(net, parts=parts)
