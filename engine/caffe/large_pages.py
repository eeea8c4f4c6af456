"""Memory in pages of 2 MB, for values that every pass reads: the weights of small layers.

A processor remembers where some thousand pages lie, and looks the others up in tables, which takes
long on a virtual machine. The weights of a small net fill more pages of 4 KB than that. With pages
of 2 MB, a pass of MobileNet v2 takes 4 % less time.

Tensors lie one behind the other in blocks of two pages. The system gets a block back when none of
its tensors is left. Where the system has no large pages, the memory has small ones.

Tensors of more than `LIMIT` bytes have pages of the usual size: some virtual machines take 1.5 ms
to provide each large page for the first time, which delays the first pass of a large net.
"""

from __future__ import annotations

import mmap
import threading

import numpy as np
import torch

from . import pages

#: The bytes of a page, and of a block that several tensors share.
PAGE, BLOCK = 1 << 21, 1 << 22
#: The bytes of the largest tensor that lies in large pages.
LIMIT = 3 * PAGE
#: Bytes to whose multiples tensors are aligned, as PyTorch aligns them.
ALIGNMENT = 64


class _Block:
    """Memory that begins with a page, of which the first bytes are used.

    The array is a view of the memory, which the system gets back with the last of its views.
    """

    def __init__(self, size: int) -> None:
        size = -(-size // PAGE) * PAGE
        # The memory itself may begin anywhere.
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        memory = np.frombuffer(mmap.mmap(-1, size + PAGE, flags=private), np.uint8)
        start = -memory.ctypes.data % PAGE
        self._memory, self._used = memory[start : start + size], 0
        pages.advise(self._memory.ctypes.data, size, pages.HUGE_PAGE)

    @property
    def rest(self) -> int:
        """The bytes that are not used yet."""
        return len(self._memory) - self._used

    def take(self, size: int) -> np.ndarray:
        """Return the next bytes."""
        start = self._used
        self._used = min(len(self._memory), start + -(-size // ALIGNMENT) * ALIGNMENT)
        return self._memory[start : start + size]


class _Blocks:
    """The block in which the next tensors are allocated, for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._present: _Block | None = None

    def take(self, size: int) -> np.ndarray:
        """Return memory of `size` bytes."""
        with self._lock:
            block = self._present
            if block is None or block.rest < size:
                block = _Block(max(size, BLOCK))
            result = block.take(size)
            if self._present is None or block.rest > self._present.rest:
                self._present = block
            return result


_blocks = _Blocks()


def empty(count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return a tensor of `count` values. Raises MemoryError."""
    size = count * dtype.itemsize
    try:
        if not 0 < size <= LIMIT or not hasattr(mmap, "MAP_ANONYMOUS"):
            return torch.empty(count, dtype=dtype)
        return torch.from_numpy(_blocks.take(size)).view(dtype)
    except (OSError, RuntimeError) as error:  # PyTorch's exception without memory is the latter.
        raise MemoryError from error


def copy(values: torch.Tensor) -> torch.Tensor:
    """Return a contiguous copy of a tensor. Raises MemoryError."""
    return empty(values.numel(), values.dtype).view(values.shape).copy_(values)
