"""The arrays over the memories of a net's blobs that a list of calls is bound to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ..blob import Blob, memories_of_gradients, memories_of_values
from ..lease import Lease
from ..memory import Memory, MemoryView, add_all, all_in, before_changes

CPU = torch.device("cpu")
#: Passes without an attempt to lease, after leases that ended before the next pass.
LONGEST_PAUSE = 64
AnyMemory = Memory | MemoryView


class UnboundError(Exception):
    """Layers cannot be computed by bound calls."""


class Kind(NamedTuple):
    """Values or gradients: how a blob's memory is found, and quickly those of many blobs."""

    memory: Callable[[Blob], AnyMemory]
    memories: Callable[[Sequence[Blob]], list[AnyMemory]]


VALUES = Kind(lambda blob: blob.values, memories_of_values)
GRADIENTS = Kind(lambda blob: blob.gradient, memories_of_gradients)


class Places:
    """Tensors for the values, or for the gradients, of blobs."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._blobs: list[Blob] = []
        self._tensors: list[torch.Tensor] = []
        self._memories: list[Any] = []
        self._has_views = False

    def __len__(self) -> int:
        return len(self._blobs)

    def add(self, blob: Blob, tensor: torch.Tensor) -> None:
        """Add the tensor of a blob."""
        self._blobs.append(blob)
        self._tensors.append(tensor)
        self._memories.append(self._kind.memory(blob))
        self._has_views |= not isinstance(self._memories[-1], Memory)

    def are_in_place(self) -> bool:
        """Return whether each blob still has the same memory, with its values in the tensor.

        Always false if a memory is a view of another one.
        """
        if self._kind.memories(self._blobs) != self._memories or self._has_views:
            return False
        return all_in(self._memories, self._tensors)

    def is_leasable(self) -> bool:
        """Return whether all memories are in place and none has an observer."""
        return self.are_in_place() and not any(m.observer_count() for m in self._memories)

    def memories(self) -> list[AnyMemory]:
        """Return the memories that the tensors were those of."""
        return self._memories

    def tensors(self) -> list[torch.Tensor]:
        """Return the tensors."""
        return self._tensors

    def moved(self) -> list[AnyMemory]:
        """Return the memories that have their values elsewhere."""
        memories = [self._kind.memory(blob) for blob in self._blobs]
        return [m for m, tensor in zip(memories, self._tensors) if not m.is_in(tensor)]

    def fetch(self) -> bool:
        """Copy values that are elsewhere to the tensors; return whether all are float32."""
        for blob, tensor in zip(self._blobs, self._tensors):
            source = self._kind.memory(blob)
            if not source.is_in(tensor):
                values = source.tensor(CPU)
                if values.dtype != torch.float32:
                    return False
                tensor.copy_(values)
        return True

    def before_write(self) -> Callable[[], None]:
        """Prepare for writing to the tensors; return a function to call when they are written."""
        if self.are_in_place():
            self.before_change()
            return _do_nothing
        return self._set

    def before_change(self) -> None:
        """Tell the memories that the tensors, which hold their values, are about to change."""
        before_changes(self._memories)

    def _set(self) -> None:
        for blob, tensor in zip(self._blobs, self._tensors):
            self._kind.memory(blob).set(tensor)

    def add_up(self, kept: Mapping[int, torch.Tensor]) -> None:
        """Add the tensors, which are written anew in each pass, to the memories.

        kept: the copies that `release` has returned.
        """
        memories, tensors = self._kind.memories(self._blobs), self._tensors
        if memories != self._memories:  # mostly they are the same; then they have their shapes
            memories = [self._kind.memory(blob) for blob in self._blobs]
        if kept:
            for i, values in kept.items():
                tensors[i].add_(values)
            others = [i for i in range(len(tensors)) if i not in kept]
            memories, tensors = [memories[i] for i in others], [tensors[i] for i in others]
        homeless = [
            isinstance(m, Memory) and not m.is_zero() and not m.held() and m.shape == t.shape
            for m, t in zip(memories, tensors)
        ]
        for memory, tensor, moves in zip(memories, tensors, homeless):
            if moves:  # into the tensor, where the next pass expects the values
                memory.set(tensor.add_(memory.tensor(CPU)))
        if any(homeless):
            stays = [i for i, moves in enumerate(homeless) if not moves]
            memories, tensors = [memories[i] for i in stays], [tensors[i] for i in stays]
        add_all(memories, tensors)

    def lend(self) -> None:
        """Let the memories use the tensors for values that are computed again and again."""
        for blob, tensor in zip(self._blobs, self._tensors):
            memory = self._kind.memory(blob)
            if isinstance(memory, Memory):
                memory.lend_home(tensor)

    def gather(self) -> None:
        """Put the values into the tensors, also those that are elsewhere."""
        self._memories = [self._kind.memory(blob) for blob in self._blobs]
        self._has_views = not all(isinstance(memory, Memory) for memory in self._memories)
        for memory, tensor in zip(self._memories, self._tensors):
            if not memory.is_in(tensor):
                tensor.copy_(memory.tensor(CPU))
                memory.set(tensor)

    def release(self) -> dict[int, torch.Tensor]:
        """Detach the tensors from the memories that have their values in them.

        Values over which somebody holds an array stay; return copies of these, by number.
        """
        kept: dict[int, torch.Tensor] = {}
        for i, (blob, tensor) in enumerate(zip(self._blobs, self._tensors)):
            memory = self._kind.memory(blob)
            if memory.is_in(tensor):
                copy = tensor.clone()
                memory.set(copy)
                if memory.is_in(tensor):
                    kept[i] = copy
        return kept


def _do_nothing() -> None:
    pass


class Terms:
    """The lease of the memories of places, which somebody may end again and again.

    A lease takes as long as looking at the memories in several passes. After leases that ended
    before the next pass, longer and longer pauses follow.
    """

    def __init__(self) -> None:
        self._lease: Lease | None = None
        self._is_used = True
        #: Most shapes that come once never come again, so the first pass takes no lease.
        self._pause, self._waits = 0, 1

    def are_met(self) -> bool:
        """Return whether the memories are leased."""
        return self._lease is not None and self._lease.intact

    def count_pass(self) -> None:
        """Count a pass over leased memories, which is about to change them."""
        assert self._lease is not None
        self._is_used, self._pause = True, 0
        self._lease.count_pass()

    def lease(self, changing: Sequence[Places], reading: Sequence[Places]) -> None:
        """Lease the memories of places, unless leases do not last or somebody observes one."""
        if self.are_met():
            return
        if not self._is_used:
            self._pause = min(LONGEST_PAUSE, 2 * self._pause + 1)
            self._is_used, self._waits = True, self._pause
        if self._waits:
            self._waits -= 1
        elif all(places.is_leasable() for places in (*changing, *reading)):
            self._lease = Lease(_memories(changing), _memories(reading))
            self._is_used = False


def _memories(groups: Sequence[Places]) -> list[Memory]:
    memories = (memory for places in groups for memory in places.memories())
    return [memory for memory in memories if isinstance(memory, Memory)]


class Arrays:
    """The arrays that calls read and write: one for each memory.

    read: tensors of memories whose values come from elsewhere. copied: tensors into which such
    values are to be fetched before each pass. written: tensors that calls write to.
    """

    def __init__(self, kind: Kind) -> None:
        self.read, self.copied, self.written = Places(kind), Places(kind), Places(kind)
        self._kind = kind
        self._arrays: dict[AnyMemory, tuple[torch.Tensor, np.ndarray]] = {}
        self._is_written: set[AnyMemory] = set()

    def reading(self, blob: Blob, copies: bool) -> np.ndarray:
        """Return the array that a call reads, of values that no call has written before.

        copies: whether the array has a memory of its own. Raises UnboundError.
        """
        memory = self._kind.memory(blob)
        if memory not in self._arrays:
            tensor = memory.tensor(CPU)
            if tensor.dtype != torch.float32:
                raise UnboundError
            if copies or not isinstance(memory, Memory) or not tensor.is_contiguous():
                tensor = torch.zeros(tensor.shape)
                self.copied.add(blob, tensor)
            else:
                self.read.add(blob, tensor)
            self._arrays[memory] = tensor, tensor.numpy()
        return self._arrays[memory][1]

    def writing(self, blob: Blob) -> np.ndarray:
        """Return the array that a call writes, which may be read before. Raises UnboundError."""
        memory = self._kind.memory(blob)
        if not isinstance(memory, Memory):
            raise UnboundError
        if memory not in self._arrays:
            tensor = memory.tensor(CPU) if memory.held() else torch.zeros(memory.shape)
            self._arrays[memory] = tensor, tensor.numpy()
        tensor, array = self._arrays[memory]
        if memory not in self._is_written:
            self._is_written.add(memory)
            self.written.add(blob, tensor)
        return array
