"""Lists of image files with labels, as ImageData and convert_imageset read them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from .. import glog

_LAST_WORD = re.compile(r"(.*\S)\s+(\S+)")
_NUMBER = re.compile(r"[+-]?\d+")


def parse(lines: Iterable[str], place: str) -> list[tuple[str, int]]:
    """Return the path and the label in each line that is not blank.

    The label is the last word, read as C's `atoi` reads it: 2.0 is 2, and a word that begins with
    no digit is 0. A line of a path alone has label 0. A warning counts the labels that are no
    numbers. place: the file and line that BVLC Caffe's line of the log would name.
    """
    pairs, words = [], 0
    for line in filter(str.strip, lines):
        match = _LAST_WORD.fullmatch(line.rstrip())
        path, label = match.groups() if match else (line.rstrip(), "0")
        words += not _NUMBER.match(label)
        pairs.append((path, to_integer(label)))
    if words:
        message = f"{words} of {len(pairs)} labels are not numbers; they count as 0"
        glog.write(place, message, level=1)
    return pairs


def parse_rows(lines: Iterable[str], count: int) -> list[tuple[str, np.ndarray]]:
    """Return the path and the labels, float32, in each line that is not blank.

    count: the number of labels, the last words of a line. Raises ValueError for a line with
    fewer numbers.
    """
    rows = []
    for line in filter(str.strip, lines):
        path, *words = line.strip().rsplit(maxsplit=count)
        try:
            labels = np.array([float(word) for word in words], np.float32)
        except ValueError:
            labels = np.empty(0, np.float32)
        if len(labels) != count:
            raise ValueError(f"{line.strip()!r} needs a path and {count} numbers")
        rows.append((path, labels))
    return rows


def to_integer(text: str) -> int:
    """Return what C's `atoi` makes of a text: the number that it begins with, in 32 bits."""
    match = _NUMBER.match(text)
    number = min(max(int(match[0]), -(2**63)), 2**63 - 1) if match else 0
    return (number + 2**31) % 2**32 - 2**31
