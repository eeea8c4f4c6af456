"""Which positions of a map the image reaches, an axis at a time. Integers only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Axis(NamedTuple):
    """One spatial axis of a blob.

    n: its size. lo, hi: the positions that the image reaches. left, right: how many positions at
    either end feel the edge of the map. step: input positions from one position to the next.
    """

    n: int
    lo: int
    hi: int
    left: int = 0
    right: int = 0
    step: int = 1

    def through(self, kernel: int, stride: int, pad: int, dilation: int, n: int) -> Axis:
        """Return the axis, of size n, of the top of a layer with this window over the blob."""
        reach = dilation * (kernel - 1)
        lo = max(0, -((reach - self.lo - pad) // stride))
        hi = min(n, (self.hi - 1 + pad) // stride + 1)
        left = -(-(self.left + pad) // stride)
        right = n - ((self.n - self.right - 1 - reach + pad) // stride + 1)
        return Axis(n, lo, hi, min(left, n), min(max(right, 0), n), self.step * stride)

    def hull(self, other: Axis) -> Axis:
        """Return the axis of a blob whose positions are computed from two axes of the same size."""
        return self._replace(
            lo=min(self.lo, other.lo),
            hi=max(self.hi, other.hi),
            left=max(self.left, other.left),
            right=max(self.right, other.right),
        )

    @property
    def reached(self) -> int:
        """The number of positions that the image reaches."""
        return self.hi - self.lo


class Extent(NamedTuple):
    """The rows and the columns of a blob of a region."""

    rows: Axis
    columns: Axis

    @property
    def reached(self) -> int:
        """The number of positions that the image reaches."""
        return self.rows.reached * self.columns.reached


class Span(NamedTuple):
    """The parts of a window on one axis: fill, border and patch.

    size: the window's. inside: the part of the window within the map. patch: the part within the
    positions that the image reaches, and `source` where that part lies in the patch. before, after:
    the border on either side of the patch.
    """

    size: int
    inside: slice
    patch: slice
    source: slice
    before: slice
    after: slice

    @property
    def all_patch(self) -> bool:
        """Whether the whole window lies in the patch."""
        return self.patch == slice(0, self.size)

    def outside(self) -> Iterator[slice]:
        """The parts of the window beyond the map's edges."""
        for part in (slice(0, self.inside.start), slice(self.inside.stop, self.size)):
            if part.start < part.stop:
                yield part


def span(axis: Axis, first: int, last: int) -> Span:
    """Return the parts of the window from `first` to `last`, which may lie beyond the edges."""

    def part(low: int, high: int) -> slice:
        low, high = max(first, low), min(last, high)
        return slice(low - first, max(low, high) - first)

    lo, hi = min(max(axis.lo, first), last), max(min(axis.hi, last), first)
    return Span(
        last - first,
        part(0, axis.n),
        slice(lo - first, hi - first),
        slice(lo - axis.lo, hi - axis.lo),
        part(0, min(axis.lo, axis.n)),
        part(max(axis.hi, 0), axis.n),
    )


def window_start_stop(
    axis: Axis, kernel: int, stride: int, pad: int, dilation: int
) -> tuple[int, int]:
    """Return the first and the end of the bottom's positions that a top's patch depends on."""
    start = axis.lo * stride - pad
    return start, (axis.hi - 1) * stride - pad + dilation * (kernel - 1) + 1


def places_in_small(axis: Axis, shift: int, positions: range) -> list[int]:
    """Return the places of a map's positions in the small map, shorter by `shift` in the middle."""
    return [
        i if i <= axis.left else max(axis.left, i - shift if i >= axis.n - axis.right else 0)
        for i in positions
    ]


def places_in_patch(patch: range, first: int, last: int) -> list[int]:
    """Return where positions first .. last - 1 lie in a patch, -1 where they do not."""
    return [i - patch.start if i in patch else -1 for i in range(first, last)]


def runs(index: Sequence[int], n: int) -> list[int]:
    """For each number below n, the first place in `index` where it stands and one past the last.

    Both are 0 where the number does not occur.
    """
    first, last = [0] * n, [0] * n
    for place, i in enumerate(index):
        if i >= 0:
            first[i] = first[i] if last[i] else place
            last[i] = place + 1
    return [edge for pair in zip(first, last) for edge in pair]
