"""Successive convolutions on bands of rows, so that the maps between them stay in the cache."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np

from ..native import library
from ..native.structures import BAND, STAGE
from . import depthwise, image, jobs, pointwise

#: What a band can compute.
Stage = Union[image.Convolution, pointwise.Convolution, depthwise.Convolution]
#: The most convolutions of a band (bands.c), and the least rows of its result for each thread: at
#: the border between two threads, both compute some rows of the maps in between.
STAGES, LEAST_ROWS = 8, 12
#: The words of a job that are addresses of maps, and the most words, as in bands.c.
MAPS, WORDS = (1, 4, 5), 40
#: The least rows of a strip: each strip computes or moves some rows for the next.
LEAST_STRIP = 2
#: Values of all rows that exist at a time, which stay in a core's own cache, and values of the
#: largest map from which on the map does not.
VALUES, LARGE = 1 << 17, 1 << 17


def stage(call: jobs.Operation, is_first: bool) -> Stage | None:
    """Return the call as part of a band, of which it may be the first; None if it cannot be one."""
    if isinstance(call, image.Convolution):
        fits = is_first
    elif isinstance(call, pointwise.Convolution):
        fits = not call.is_strided
    elif isinstance(call, depthwise.Convolution):
        fits = True
    else:
        return None
    return call if fits and call.shape[0] == 1 else None


def pays(calls: Sequence[Stage]) -> bool:
    """Return whether successive calls are computed faster as a band."""
    largest = max((math.prod(call.y_shape) for call in calls[:-1]), default=0)
    return largest >= LARGE and calls[-1].y_shape[2] >= LEAST_ROWS * 2


def is_long(calls: Sequence[Stage]) -> bool:
    """Return whether successive calls need so many values that they are no band."""
    return len(calls) > STAGES or sum(strip_values(calls, LEAST_STRIP)) > VALUES


def strip_values(calls: Sequence[Stage], rows: int) -> list[int]:
    """Return the values of each result but the last that are needed for some rows of the last."""
    values: list[int] = []
    for call, before in zip(reversed(calls), reversed(calls[:-1])):
        down, kernel, _ = call.vertical()
        rows = min((rows - 1) * down + kernel, call.shape[2])
        values.insert(0, rows * before.y_shape[1] * before.y_shape[3])
    return values


class Band(jobs.Operation):
    """Successive convolutions of one image, of which each reads the result of the one before.

    calls: the convolutions, as `stage` returns them. The last may add another map.
    """

    adds = True

    def __init__(self, calls: Sequence[Stage]) -> None:
        self._calls, self.layout = calls, calls[0].layout
        self._tables = [call.undivided() for call in calls]
        self._stages = np.zeros(len(calls), STAGE)
        strip = self._fill_stages()
        fields = {"stages": self._stages.ctypes.data, "count": len(calls), "strip": strip}
        super().__init__(library.required().bands, BAND, calls[-1].y_shape, fields)

    def _fill_stages(self) -> int:
        """Describe the convolutions; return the number of rows of a strip."""
        strip = 1
        while (
            strip < self._calls[-1].y_shape[2]
            and sum(strip_values(self._calls, strip + 1)) <= VALUES
        ):
            strip += 1
        place = max(call.scratch_values for call in self._calls)
        places = [place]
        for values in strip_values(self._calls, strip):
            place += math.ceil(values / jobs.PANEL) * jobs.PANEL
            places.append(place)
        self.scratch_values = place
        for stage, call, table, buffer in zip(self._stages, self._calls, self._tables, places):
            for name, value in self._fields_of(call, table).items():
                stage[name] = value
            stage["buffer"] = buffer
        return strip

    def _fields_of(self, call: Stage, table: np.ndarray) -> Mapping[str, Any]:
        offsets = {name: field[1] // 8 for name, field in (table.dtype.fields or {}).items()}
        assert (offsets["x"], offsets["other"], offsets["y"]) == MAPS
        assert table.dtype.itemsize <= 8 * WORDS
        down, kernel, top = call.vertical()
        return {
            "run": call.function,
            "job": table.ctypes.data,
            "words": table.dtype.itemsize // 8,
            "first": offsets["first_row"],
            "scale": call.y_shape[3] if isinstance(call, pointwise.Convolution) else 1,
            **{"down": down, "kernel": kernel, "top": top, "height": call.shape[2]},
            "x_row": call.shape[1] * call.shape[3],
            "y_row": call.y_shape[1] * call.y_shape[3],
        }

    def rows(self) -> int:
        return self.y_shape[2]
