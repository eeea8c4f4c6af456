"""The crops that training on video draws (Wang et al. 2016, "Temporal Segment Networks", 3.2).

The source of the roundings is data_transformer.cpp of yjxiong/caffe.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

#: The sides of crops as fractions of the image's shorter side, if scale_ratios is not set.
RATIOS = (1.0, 0.875, 0.75, 0.66)
#: A side whose difference from crop_size is below this number of pixels becomes crop_size.
NEAR = 3
#: Places of a crop in quarters of the spare rows and columns: the corners and the centre.
CORNERS = ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))
#: With more_fix_crop also the middles of the sides and the centres of the quadrants.
MORE = ((0, 2), (4, 2), (2, 0), (2, 4), (1, 1), (1, 3), (3, 1), (3, 3))


def sizes(
    shape: Sequence[int], crop: Sequence[int], ratios: Sequence[float], distortion: int
) -> list[tuple[int, int]]:
    """Return the heights and widths of which multi_scale draws one.

    shape: the image's height and width. crop: the size to which the crop is resized.
    ratios: scale_ratios. distortion: max_distort, how many ratios height and width are apart.
    """
    sides = [int(min(shape) * ratio) for ratio in ratios or RATIOS]
    heights, widths = (
        [size if abs(side - size) < NEAR else side for side in sides] for size in crop
    )
    pairs = product(enumerate(heights), enumerate(widths))
    return [(h, w) for (i, h), (j, w) in pairs if abs(i - j) <= distortion]


def places(top: int, left: int, more: bool) -> list[tuple[int, int]]:
    """Return the rows and columns of which fix_crop draws one. top, left: the largest of them."""
    fixed = CORNERS + MORE if more else CORNERS
    return [(top // 4 * down, left // 4 * right) for down, right in fixed]
