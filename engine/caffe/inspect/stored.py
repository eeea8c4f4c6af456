"""A weights file beside a net: which layers get which blobs, and what values the blobs hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..records import StoredBlob
from ..weights import read_net
from .report import Report

#: Values that are read at a time: 16 MB.
PIECE = 1 << 22
#: Bars of a histogram.
BARS = 40


@dataclass(frozen=True)
class Statistics:
    """The values of a stored blob.

    minimum .. deviation: of the finite values; None without any. zeros: the share of values that
    are 0. nan, infinite: counts. bars: a histogram from minimum to maximum.
    """

    count: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    deviation: float | None
    zeros: float
    nan: int
    infinite: int
    bars: tuple[int, ...] = field(repr=False, default=())


@dataclass(frozen=True)
class BlobRow:
    """A parameter of a layer, in the net and in the file.

    state: "loaded", "stays at filler" (not in the file), "other shape", "other count" (the layer
    has more or fewer blobs in the file), "not in the net" or "shape unknown".
    """

    layer: str
    index: int
    net_shape: tuple[int, ...] | None
    file_shape: tuple[int, ...] | None
    state: str
    filler: str
    statistics: Statistics | None


def blob_rows(report: Report, path: str | os.PathLike) -> list[BlobRow]:
    """Return a row for each blob of the net and of the file, the net's first.

    Copying weights refuses a file in which a layer of the net has other shapes or another number
    of blobs. Raises FileError for a file that is no .caffemodel or .h5 file.
    """
    stored = dict(read_net(os.fspath(path)))
    rows: list[BlobRow] = []
    for row in report.rows:
        blobs = stored.pop(row.name, {})
        if row.note:
            rows += [_unmatched(row.name, i, b, "shape unknown") for i, b in blobs.items()]
            continue
        infos = row.parameters
        for i, info in enumerate(infos):
            blob = blobs.pop(i, None)
            state = "stays at filler"
            if blob is not None:
                state = "loaded" if blob.fits(info.shape) else "other shape"
            elif info.owner != row.name:
                state = f"shared with {info.owner}"
            rows.append(
                BlobRow(
                    row.name,
                    i,
                    info.shape,
                    None if blob is None else blob.shape,
                    state,
                    info.filler,
                    None if blob is None else statistics(blob.data),
                )
            )
        rows += [_unmatched(row.name, i, blob, "other count") for i, blob in blobs.items()]
    for name, blobs in stored.items():
        rows += [_unmatched(name, i, blob, "not in the net") for i, blob in blobs.items()]
    return rows


def _unmatched(layer: str, index: int, blob: StoredBlob, state: str) -> BlobRow:
    return BlobRow(layer, index, None, blob.shape, state, "", statistics(blob.data))


def statistics(values: np.ndarray) -> Statistics:
    """Return the statistics of values, which are read in pieces."""
    count = values.size
    zeros = nan = infinite = finite = 0
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    for part in _pieces(values):
        zeros += part.size - int(np.count_nonzero(part))
        nan += int(np.isnan(part).sum())
        good = part[np.isfinite(part)]
        infinite += part.size - good.size
        finite += good.size
        if good.size:
            low, high = min(low, float(good.min())), max(high, float(good.max()))
            total += float(good.sum(dtype=np.float64))
            squares += float(np.square(good, dtype=np.float64).sum())
    infinite -= nan
    share = zeros / count if count else 0.0
    if not finite:
        return Statistics(count, None, None, None, None, share, nan, infinite)
    mean = total / finite
    deviation = max(0.0, squares / finite - mean * mean) ** 0.5
    bars = _histogram(values, low, high)
    return Statistics(count, low, high, mean, deviation, share, nan, infinite, bars)


def _pieces(values: np.ndarray) -> Iterator[np.ndarray]:
    flat = values.reshape(-1)
    for start in range(0, flat.size, PIECE):
        yield flat[start : start + PIECE]


def _histogram(values: np.ndarray, low: float, high: float) -> tuple[int, ...]:
    total = np.zeros(BARS, np.int64)
    edges = (low, high) if high > low else (low - 0.5, low + 0.5)
    for part in _pieces(values):
        total += np.histogram(part[np.isfinite(part)], BARS, edges)[0]
    return tuple(int(n) for n in total)
