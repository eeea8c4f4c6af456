"""What a launcher such as torchrun says of this process, in the environment."""

from __future__ import annotations

import os
from typing import NamedTuple

from .errors import CaffeError


class Place(NamedTuple):
    """This process among those that train together: its number, theirs, its number on this host."""

    rank: int
    size: int
    local: int


def place() -> Place:
    """From RANK, WORLD_SIZE and LOCAL_RANK; (0, 1, 0) where none is set.

    Raises CaffeError for values that do not go together.
    """
    given = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
    if not any(given.values()):
        return Place(0, 1, 0)
    given["LOCAL_RANK"] = os.environ.get("LOCAL_RANK") or given["RANK"]
    numbers = []
    for name, value in given.items():
        if value is None or not value.isdigit():
            raise CaffeError(
                f"{name} is {value!r} in the environment; it needs to be a number, with RANK and "
                "WORLD_SIZE both set, as torchrun sets them, or neither"
            )
        numbers.append(int(value))
    rank, count, local = numbers
    if rank >= count:
        raise CaffeError(f"RANK is {rank} of WORLD_SIZE {count}; it needs to be below that")
    return Place(rank, count, local if count > 1 else 0)
