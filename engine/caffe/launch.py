"""The place of this process among the solvers that train together.

A launcher such as torchrun sets the place in the environment. A script may set another place for
its thread.
"""

from __future__ import annotations

import operator
import os
import threading
from typing import NamedTuple

from .errors import DeviceError


class Place(NamedTuple):
    """A process among the processes that train together.

    rank: its number, from 0. size: how many processes there are. local: its number among the
    processes on its host.
    """

    rank: int
    size: int
    local: int


def place() -> Place:
    """Return the place that RANK, WORLD_SIZE and LOCAL_RANK give; (0, 1, 0) if none is set.

    Raises DeviceError for values that are not numbers or contradict each other.
    """
    variables = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
    if not any(variables.values()):
        return Place(0, 1, 0)
    variables["LOCAL_RANK"] = os.environ.get("LOCAL_RANK") or variables["RANK"]
    numbers = []
    for name, value in variables.items():
        if value is None or not value.isdigit():
            raise DeviceError(
                f"{name} is {value!r} in the environment; it needs to be a number, with RANK and "
                "WORLD_SIZE both set, as torchrun sets them, or neither"
            )
        numbers.append(int(value))
    rank, count, local = numbers
    if rank >= count:
        raise DeviceError(
            f"RANK is {rank} and WORLD_SIZE is {count}; RANK needs to be below WORLD_SIZE"
        )
    return Place(rank, count, local if count > 1 else 0)


class _Override(threading.local):
    """The place that a script has set for its thread; None leaves it to the launcher."""

    count: int | None = None
    rank: int | None = None
    multiprocess = False


_override = _Override()


def solver_count() -> int:
    """Return the number of solvers that train together, from the script or the launcher."""
    return place().size if _override.count is None else _override.count


def set_solver_count(count: int) -> None:
    """Set how many solvers train together; their data layers in the TRAIN phase share records."""
    _override.count = operator.index(count)


def solver_rank() -> int:
    """Return the number of this thread's solver among those that train together, from 0."""
    return place().rank if _override.rank is None else _override.rank


def set_solver_rank(rank: int) -> None:
    """Set the number of this thread's solver among those that train together."""
    _override.rank = operator.index(rank)


def set_multiprocess(multiprocess: bool) -> None:
    """Set whether solvers that train together run in separate processes; here they do."""
    _override.multiprocess = multiprocess


def reset_place() -> None:
    """Forget the place that a script has set for this thread."""
    _override.count = _override.rank = None
