"""What weights files and solver states hold, whatever their format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .blob import Blob
from .lazy import FileValues
from .memory import Memory, MemoryView


@dataclass
class StoredBlob:
    """A blob in a file.

    path: the file.
    shape: the blob's shape.
    data: the values in memory order, float32 or float64.
    diff: the gradient, if the file has one.
    legacy: whether the file gives the shape as num, channels, height and width, or with C3D's
        length before the height.
    """

    path: str
    shape: tuple[int, ...]
    data: np.ndarray
    diff: np.ndarray | None = None
    legacy: bool = False

    def fits(self, shape: Sequence[int], loose_axes: bool = False) -> bool:
        """Return whether a blob of `shape` can take the values.

        loose_axes: axes of size 1 do not count.
        """
        if loose_axes:
            return [n for n in shape if n != 1] == [n for n in self.shape if n != 1]
        if self.legacy:
            missing = len(self.shape) - len(shape)
            return missing >= 0 and (1,) * missing + tuple(shape) == self.shape
        return tuple(shape) == self.shape

    def copy_to(self, blob: Blob) -> None:
        """Write the values, and the gradient if there is one, into `blob`.

        Large values are read from the file when `blob` is first used. Raises FileError if they
        cannot be read now.
        """
        for memory, stored in ((blob.values, self.data), (blob.gradient, self.diff)):
            if stored is None:
                continue
            values = FileValues(stored, blob.shape, self.path)
            if values.can_wait() and isinstance(memory, Memory) and not memory.held():
                memory.defer(values)
            else:
                memory.set(values())


@dataclass
class SolverState:
    """A solver's state in a file.

    iter: the iteration.
    learned_net: the file with the weights of that iteration, or "".
    current_step: how many steps of the learning rate are behind.
    history: the update rule's values, in the solver's order.
    """

    iter: int
    learned_net: str
    current_step: int
    history: list[StoredBlob]


class LayerWeights(NamedTuple):
    """A layer to be written.

    param: its LayerParameter.
    blobs: its parameters, those of a net or of a file.
    shared: the indices of the parameters that belong to an earlier layer.
    """

    param: Any
    blobs: Sequence[Blob | StoredBlob]
    shared: frozenset[int] = frozenset()


#: The layers of a weights file: a layer's name, and its blobs by index.
StoredLayers = list[tuple[str, dict[int, StoredBlob]]]


def contiguous_array(memory: Memory | MemoryView) -> np.ndarray:
    """Return the values in memory order, for writing."""
    return memory.tensor().contiguous().numpy()
