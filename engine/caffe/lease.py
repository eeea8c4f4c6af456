"""Leases: memories whose values stay in one place while nobody moves them.

A list of calls that is bound to the places of many memories would have to look at each memory
before each pass. A lease tells with one attribute that all are where they were.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Protocol


class Leased(Protocol):
    """What a lease needs of a memory."""

    leases: tuple[Share, ...]

    def count_changes(self, count: int) -> None:
        """Add to the version."""


class Share:
    """The part of a lease that a memory refers to. passes: how often the memory has changed."""

    __slots__ = ("__weakref__", "lease", "passes")

    def __init__(self, lease: Lease) -> None:
        self.lease, self.passes = lease, 0


class Lease:
    """A lease of memories; a memory ends it before its values move, or when it gets an observer.

    changing: memories whose values a pass over the lease changes. reading: the others.
    intact: whether no memory has ended the lease.
    """

    __slots__ = ("_changed", "_memories", "_read", "intact")

    def __init__(self, changing: Sequence[Leased], reading: Sequence[Leased] = ()) -> None:
        self._changed, self._read = Share(self), Share(self)
        shared = {id(m): (m, self._read) for m in reading}
        shared.update((id(m), (m, self._changed)) for m in changing)
        self.intact = True
        #: Weak, so that a memory that nobody needs any more is freed at once.
        self._memories = [(weakref.ref(m), share) for m, share in shared.values()]
        for memory, share in shared.values():
            memory.leases = (*memory.leases, share)

    def count_pass(self) -> None:
        """Count a change of each memory in `changing`; called before the change."""
        self._changed.passes += 1

    def end(self) -> None:
        """End the lease."""
        self.intact = False
        memories, self._memories = self._memories, []
        for reference, share in memories:
            memory = reference()
            if memory is not None:
                memory.leases = tuple(other for other in memory.leases if other is not share)
                memory.count_changes(share.passes)
