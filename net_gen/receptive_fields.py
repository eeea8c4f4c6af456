"""Which pixels of the image the values of a blob see along one side, in exact numbers.

After a Deconvolution, the positions of a blob see different numbers of pixels. The fields repeat
after the stride, so a blob has a short list of fields.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import List, NamedTuple, Optional, Sequence, Tuple

from .windows import Slide

#: Blobs with more different fields are given one field that covers all of them.
MOST_FIELDS = 1024


class Field(NamedTuple):
    """The pixels that a position sees: from `low` to `high`, relative to a pixel."""

    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)


class Fields(NamedTuple):
    """The fields of a blob's positions along one side.

    spacing: pixels of the image from one position to the next.
    pattern: position p sees the pixels of `pattern[p % len(pattern)]` relative to p * spacing, or
        no pixel where that is None.
    """

    spacing: Fraction = Fraction(1)
    pattern: Tuple[Optional[Field], ...] = (Field(),)

    @property
    def largest(self) -> int:
        """The largest number of pixels, from the first to the last, that a position sees."""
        return max((int(field.high - field.low + 1) for field in self.pattern if field), default=0)

    def field_of(self, position: int) -> Optional[Field]:
        """Return the first and the last pixel of the image that a position sees, None if none."""
        field = self.pattern[position % len(self.pattern)]
        place = position * self.spacing
        return field and Field(place + field.low, place + field.high)

    def farthest(self, first: Fraction) -> Fraction:
        """Return the largest distance in pixels from the place of a position to what it sees.

        first: the pixel at which position 0 lies.
        """
        distances = (max(first - f.low, f.high - first) for f in self.pattern if f)
        return max(distances, default=Fraction(0))

    def around(self, period: int) -> Tuple[int, int]:
        """Return how many pixels before and behind a run of positions the run sees at most.

        The blob lies on the image, and the run starts and ends at multiples of `period`.
        """
        before = after = Fraction(0)
        for position in range(math.lcm(len(self.pattern), period)):
            field = self.pattern[position % len(self.pattern)]
            inside = position % period
            if field:
                before = max(before, -field.low - inside)
                after = max(after, field.high - (period - 1 - inside))
        return math.ceil(before), math.ceil(after)

    def convolved(self, slide: Slide, dilation: int) -> Fields:
        """Return the fields of a window that slides over the blob: a Convolution or Pooling."""
        start, spacing = -slide.pad, self.spacing * slide.stride
        count = len(self.pattern) // math.gcd(len(self.pattern), slide.stride)
        pattern = []
        for position in range(count):
            first = start + position * slide.stride
            reads = range(first, first + slide.reach, dilation)
            pattern.append(self._union(position * spacing, reads))
        return Fields(spacing, _shortest(pattern))

    def deconvolved(self, slide: Slide, dilation: int) -> Fields:
        """Return the fields of a Deconvolution of the blob."""
        spacing = self.spacing / slide.stride
        count = len(self.pattern) * slide.stride
        if count > MOST_FIELDS:
            return Fields(spacing, self._cover(slide))
        # Taps that reach a position follow each other at this distance.
        step = slide.stride // math.gcd(slide.stride, dilation)
        taps = (slide.reach - 1) // dilation + 1
        pattern = []
        for position in range(count):
            place = position + slide.pad
            tap = next((t for t in range(step) if (place - t * dilation) % slide.stride == 0), taps)
            reads = [(place - t * dilation) // slide.stride for t in range(tap, taps, step)]
            pattern.append(self._union(position * spacing, reads[::-1]))
        return Fields(spacing, _shortest(pattern))

    def cropped(self, offset: int) -> Fields:
        """Return the fields of the blob without its first `offset` positions."""
        count = len(self.pattern)
        pattern = [self._union(p * self.spacing, [p + offset]) for p in range(count)]
        return Fields(self.spacing, tuple(pattern))

    def joined(self, other: Fields) -> Fields:
        """Return the fields of positions that see what those of two blobs see."""
        count = math.lcm(len(self.pattern), len(other.pattern))
        pairs = (
            (self.pattern[p % len(self.pattern)], other.pattern[p % len(other.pattern)])
            for p in range(count)
        )
        return Fields(self.spacing, _shortest([_covering(pair) for pair in pairs]))

    def _union(self, pixel: Fraction, reads: Sequence[int]) -> Optional[Field]:
        """Return the field, relative to `pixel`, of a value that reads positions of this blob.

        reads: ascending, at equal distances. Of positions with the same field, the first has the
        least pixel and the last has the largest one.
        """
        count = len(self.pattern)
        fields: List[Optional[Field]] = []
        for position in {*reads[:count], *reads[-count:]}:
            field = self.pattern[position % count]
            if field:
                place = position * self.spacing - pixel
                fields.append(Field(place + field.low, place + field.high))
        return _covering(fields)

    def _cover(self, slide: Slide) -> Tuple[Optional[Field], ...]:
        """Return one field that covers those of all positions of a Deconvolution."""
        field = _covering(self.pattern)
        spacing = self.spacing / slide.stride
        low, high = (slide.pad - slide.reach + 1) * spacing, slide.pad * spacing
        return (field and Field(field.low + low, field.high + high),)


def _covering(fields: Sequence[Optional[Field]]) -> Optional[Field]:
    """Return the least field that covers all of these, None if none sees a pixel."""
    lows = [field.low for field in fields if field]
    highs = [field.high for field in fields if field]
    return Field(min(lows), max(highs)) if lows else None


def _shortest(pattern: Sequence[Optional[Field]]) -> Tuple[Optional[Field], ...]:
    """Return one period of a pattern: a single field where all positions see alike."""
    return tuple(pattern[:1]) if all(field == pattern[0] for field in pattern) else tuple(pattern)
