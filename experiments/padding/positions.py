"""Where the values of blobs lie over an image, and which inputs a padding allows."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from experiments.padding import settings
from net_gen import STAGES, VARIANTS, fcn, padding
from net_gen.trunks import PAD


class BlobRow(NamedTuple):
    """A blob along one side of an image.

    Its `size` values lie at first, first + pitch, ... last, in pixels of the image.
    """

    blob: str
    first: float
    last: float
    pitch: float
    size: int


def blob_rows(
    net: str, pad: int, size: int, blobs: Sequence[str]
) -> Tuple[List[BlobRow], Dict[str, int]]:
    """Return the rows of blobs over an image of `size` pixels, and Crop layer -> offset."""
    geometry = padding.Geometry(net, pad)
    sizes = geometry.sizes(size, checked=False)
    rows = []
    for blob in blobs:
        _, scale, shift = geometry.maps[blob]
        first, last = -shift / scale, (sizes[blob] - 1 - shift) / scale
        rows.append(BlobRow(blob, float(first), float(last), float(1 / scale), sizes[blob]))
    return rows, {name: int(offset) for name, offset in geometry.offsets.items()}


def limit_lines(nets: Sequence[str]) -> Dict[str, List[List[Any]]]:
    """Return net -> [pad, smallest input, whether every larger input is aligned] by padding."""
    lines = {}
    for net in nets:
        message = fcn(net, "deploy")
        pads = range(settings.LARGEST_PAD + 1)
        limits = [padding.Geometry(message, pad).limits() for pad in pads]
        lines[net] = [[side.pad, side.smallest, not side.fault] for side in limits]
    return lines


def paddings(net: str, smallest: int) -> List[int]:
    """Return the published padding, the least for every size, and the least from `smallest` on."""
    return [PAD, padding.least_padding(net), padding.least_padding(net, smallest)]


def drawn_paddings() -> List[int]:
    """Return the paddings of the first drawing: the classifier's, the least, the published."""
    published, _, least = paddings(settings.DRAWN_NET, settings.DRAWN_SIZE)
    return [1, least, published]


def limit_nets() -> List[str]:
    """Return the nets in the drawing of the smallest inputs."""
    coarse = [name for name, v in VARIANTS.items() if (v.stride, v.data_set) == (32, "voc")]
    others = [name for name in coarse if name not in STAGES]
    return [*STAGES, *others]
