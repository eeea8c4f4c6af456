"""This process's place among the solvers that train together.

A launcher such as torchrun puts the place into the environment; a script may set another one for
its thread.
"""

from __future__ import annotations

import os
import threading
from typing import NamedTuple

from .errors import DeviceError


class Place(NamedTuple):
    """This process among those that train together: its number, theirs, its number on this host."""

    rank: int
    size: int
    local: int


def place() -> Place:
    """From RANK, WORLD_SIZE and LOCAL_RANK; (0, 1, 0) where none is set.

    Raises DeviceError for values that do not go together.
    """
    given = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
    if not any(given.values()):
        return Place(0, 1, 0)
    given["LOCAL_RANK"] = os.environ.get("LOCAL_RANK") or given["RANK"]
    numbers = []
    for name, value in given.items():
        if value is None or not value.isdigit():
            raise DeviceError(
                f"{name} is {value!r} in the environment; it needs to be a number, with RANK and "
                "WORLD_SIZE both set, as torchrun sets them, or neither"
            )
        numbers.append(int(value))
    rank, count, local = numbers
    if rank >= count:
        raise DeviceError(f"RANK is {rank} of WORLD_SIZE {count}; it needs to be below that")
    return Place(rank, count, local if count > 1 else 0)


class _Override(threading.local):
    """What a script said of its thread's place; None leaves it to the launcher."""

    count: int | None = None
    rank: int | None = None
    multiprocess = False


_override = _Override()


def solver_count() -> int:
    """The number of solvers that train together: the script's, else the launcher's, else 1."""
    return place().size if _override.count is None else _override.count


def set_solver_count(count: int) -> None:
    """Set how many solvers train together; TRAIN data layers share out their records."""
    _override.count = count


def solver_rank() -> int:
    """The number of this thread's solver among those that train together, from 0."""
    return place().rank if _override.rank is None else _override.rank


def set_solver_rank(rank: int) -> None:
    """Set the number of this thread's solver among those that train together."""
    _override.rank = rank


def set_multiprocess(multiprocess: bool) -> None:
    """Set whether the solvers that train together run in processes of their own."""
    _override.multiprocess = multiprocess


def reset_place() -> None:
    """Leave this thread's place to the launcher again."""
    _override.count = _override.rank = None
