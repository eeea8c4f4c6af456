"""The values of a pass that the next pass may replace where they are."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch

from ..blob import Blob
from ..memory import Memory, before_changes
from .flow import AnyMemory


class InPlace:
    """The sources and results of a pass, in the tensors that their blobs' memories have.

    The memories alone keep the tensors: when the values of a memory move, its tensor is freed.

    sources: blobs with the numbers of their values. results: likewise, memories. values: those of
    the pass.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Blob, int]],
        results: Sequence[tuple[AnyMemory, int]],
        values: Sequence[torch.Tensor],
    ) -> None:
        self._count = len(values)
        self._blobs = [(blob, blob.values) for blob, _ in sources]
        self._results = [memory for memory, _ in results if isinstance(memory, Memory)]
        places = [*((blob.values, value) for blob, value in sources), *results]
        self._places = [(memory, value, weakref.ref(values[value])) for memory, value in places]

    def values(self) -> list[Any] | None:
        """Return the values by number, None for those of no blob; or None if one has moved."""
        if any([blob.values is not memory for blob, memory in self._blobs]):
            return None
        values: list[Any] = [None] * self._count
        for memory, value, reference in self._places:
            values[value] = tensor = reference()
            if tensor is None or not memory.is_in(tensor):
                return None
        return values

    def before_change(self) -> None:
        """Notify the memories of the results, which are about to change in their place."""
        before_changes(self._results)
