"""Checks of the arguments of the generators. A bad value is a ValueError of one line."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, Iterable


def check_integer(name: str, value: Any, least: int = 1) -> int:
    """Return `value` as an int.

    Raises ValueError if `value` is not an integer or is less than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{name} is {value!r}, needs an integer of at least {least}")
    return int(value)


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise ValueError if `value` is not one of `choices`."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, needs one of {', '.join(map(str, choices))}")


def check_ratio(name: str, value: Any) -> float:
    """Return `value` as a float.

    Raises ValueError if `value` is not a number in [0, 1).
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise ValueError(f"{name} is {value!r}, needs a number of at least 0 and below 1")
    return float(value)


def scale_channels(channels: int, width: Any, groups: int = 1) -> int:
    """Return `channels` times `width`, rounded to an integer.

    Raises ValueError if `width` is not a positive finite number, if the result is 0, or if
    `groups` does not divide the result.
    """
    if isinstance(width, bool) or not isinstance(width, Real) or not 0 < float(width) < math.inf:
        raise ValueError(f"width is {width!r}, needs a positive number such as 1 or 1/8")
    count = round(channels * float(width))
    if count < 1:
        raise ValueError(f"width is {width}: {channels} channels become {count}, needs at least 1")
    if count % groups:
        raise ValueError(
            f"width is {width}: {channels} channels become {count}, needs a multiple of {groups}"
        )
    return count
