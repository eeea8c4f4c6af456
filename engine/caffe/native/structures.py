"""The structures of the jobs that the C library computes on large maps."""

from __future__ import annotations

import numpy as np


def _fields(names: str) -> list[tuple[str, str]]:
    return [(name, "i8") for name in names.split()]


#: A job has begun; addresses of memory.
_PLACES = [("taken", "i8")] + [(name, "u8") for name in ("x", "w", "b", "other", "y")]
_MAPS = _fields("height width channels outputs y_height y_width x_step")
#: What a job computes: tiles or positions, and outputs.
_PART = _fields("first_row end_row first_output end_output")
#: The structure `convolution` of winograd.c.
CONVOLUTION = np.dtype(
    _PLACES
    + _MAPS
    + _fields("kernel top left")
    + _PART
    + _fields("block group exact")
    + [("slope", "f4"), ("finite", "i4"), ("low_maps", "i4"), ("low_weights", "i4")]
)
#: The structure `pointwise` of pointwise.c.
POINTWISE = np.dtype(
    _PLACES
    + _MAPS
    + _fields("down across")
    + _PART
    + _fields("block")
    + [("slope", "f4"), ("strided", "i4")]
)
#: The structure `windows` of windows.h.
WINDOWS = np.dtype(
    _PLACES
    + _MAPS
    + _fields("kernel down across top left")
    + _PART
    + [("slope", "f4"), ("unused", "i4")]
)
#: The structures `stage` and `band` of bands.c.
STAGE = np.dtype(
    [
        *(("run", "u8"), ("job", "u8")),
        *_fields("words first scale down kernel top height x_row y_row buffer"),
    ]
)
BAND = np.dtype(
    [("taken", "i8")]
    + [(name, "u8") for name in ("x", "other", "y", "stages")]
    + _fields("count strip first_row end_row")
)
#: The structure `stem` of stem.c.
STEM = np.dtype(_PLACES + _MAPS + _fields("top left") + _PART + [("slope", "f4"), ("finite", "i4")])
#: The structure `call` of vectors.h.
CALL = np.dtype([("run", "u8"), ("jobs", "u8"), ("count", "i8")])
#: Tiles, and vectors of outputs, whose products are in memory at a time.
PART, WIDE = 36, 4
#: The structure `pooling` of pooling.c.
POOLING = np.dtype(
    _PLACES[:2]
    + _PLACES[5:6]
    + _fields("height width channels y_height y_width high wide down across top left")
    + _fields("first_row end_row low means")
)
#: The structure `inner` of inner.c.
INNER = np.dtype(_PLACES + _fields("inputs first_row end_row together"))
#: The structure `lrn` of lrn.c.
LRN = np.dtype(
    _PLACES[:2]
    + _PLACES[5:6]
    + _fields("channels first_row end_row reach")
    + [("a", "f4"), ("k", "f4")]
)
#: The structure `spread` of spread.c.
SPREAD = np.dtype(
    _PLACES[:3]
    + _PLACES[5:6]
    + _fields("channels inputs outputs width kernel stride pad first_row end_row")
)
#: The structure `gradient` of gradient.c.
GRADIENT = np.dtype(
    _PLACES[:3]
    + _PLACES[5:6]
    + _fields("images height width channels x_step y_height y_width y_step kernel top left")
    + _fields("first_channel end_channel first_output end_output block group")
    + [("low", "i4"), ("finite", "i4")]
)
#: The structure `bottom_gradient` of bottom_gradient.c, and its structure `tile`.
BOTTOM_GRADIENT = np.dtype(
    _PLACES[:3]
    + _PLACES[5:6]
    + [("tiles", "u8")]
    + _fields("count height width channels x_step outputs y_height y_width y_step")
    + _fields("kernel top left first_channel end_channel block")
    + [("low_maps", "i4"), ("low_weights", "i4"), ("finite", "i4"), ("", "i4")]
)
TILE = np.dtype(_fields("image row column outputs"))
