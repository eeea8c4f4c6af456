"""Checks of what callers give: one line with the value found and what is needed."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, Iterable


def whole(name: str, value: Any, least: int = 1) -> int:
    """`value` as an int. Raises ValueError if it is no whole number or less than `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{name} {value!r}: a whole number from {least} on is needed")
    return int(value)


def one_of(name: str, value: Any, known: Iterable[Any]) -> None:
    """Raises ValueError if `value` is not among `known`."""
    known = list(known)
    if value not in known:
        raise ValueError(f"{name} {value!r}: one of {', '.join(map(str, known))} is needed")


def share(name: str, value: Any) -> float:
    """`value` as a float. Raises ValueError if it is not in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise ValueError(f"{name} {value!r}: a number from 0 up to, but not, 1 is needed")
    return float(value)


def scaled(channels: int, width: Any, groups: int = 1) -> int:
    """`channels` times `width`, rounded.

    Raises ValueError if `width` is no positive number, leaves no channel or a number of them that
    does not divide into `groups`.
    """
    if isinstance(width, bool) or not isinstance(width, Real) or not 0 < float(width) < math.inf:
        raise ValueError(f"width {width!r}: a number over 0 is needed, such as 1 or 1/8")
    count = round(channels * float(width))
    if count < 1:
        raise ValueError(f"width {width}: makes {channels} channels {count}, 1 or more is needed")
    if count % groups:
        raise ValueError(
            f"width {width}: makes {channels} channels {count}, which {groups} groups do not divide"
        )
    return count
