"""The tables of jobs of 3 x 3 and 1 x 1 convolutions that the C library computes."""

from __future__ import annotations

import numpy as np

_PLACES = [(name, "u8") for name in ("x", "w", "b", "other", "y", "scratch")]
_MAPS = [(name, "i8") for name in ("height", "width", "channels", "outputs", "y_height", "y_width")]
#: The structure `convolution` of winograd.c. Places are addresses.
CONVOLUTION = np.dtype(
    [
        *_PLACES,
        *_MAPS,
        *((name, "i8") for name in ("top", "left")),
        *((name, "i8") for name in ("first_tile", "end_tile", "first_output", "end_output")),
        *((name, "i8") for name in ("block", "group")),
        ("slope", "f4"),
        ("finite", "i4"),
    ]
)
#: The structure `pointwise` of pointwise.c.
POINTWISE = np.dtype(
    [
        *_PLACES,
        *_MAPS,
        *((name, "i8") for name in ("down", "across")),
        *((n, "i8") for n in ("first_position", "end_position", "first_output", "end_output")),
        ("block", "i8"),
        ("slope", "f4"),
        ("strided", "i4"),
    ]
)
#: Values of a vector, of which the outputs, and a 3 x 3 convolution's channels, are multiples.
PANEL = 16
#: Tiles, and vectors of outputs, whose products are in memory at a time.
PART, WIDE = 36, 4
