"""The progress of all workers, which travels with the gradients of each iteration.

A worker that dies takes its random numbers and the positions of its data layers with it. So each
worker tells the others in every iteration what it needs to go on after that iteration. The workers
that are left can then write a snapshot from which all go on bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

#: Bytes by which a worker's text may grow after the first iteration, beside doubling: the state of
#: a generator of random numbers that was not drawn from before.
GROWTH = 16_384
#: Values before a text: its length in two parts of 16 bits.
_HEAD = 2


class Travelling:
    """Texts of `count` workers in one row of float32, two bytes a value.

    The mean of the workers' rows holds all texts, because each worker leaves the parts of the
    others zero. room: the longest text in bytes.
    """

    def __init__(self, rank: int, count: int, room: int) -> None:
        self._rank, self._count, self._room = rank, count, room + room % 2

    @classmethod
    def agree(
        cls, rank: int, count: int, text: str, on: torch.device, wait: Callable[[Any], None]
    ) -> Travelling:
        """Return the same layout on each worker. text: of this worker, at the start."""
        longest = torch.tensor([len(text.encode())], dtype=torch.int64, device=on)
        wait(dist.all_reduce(longest, dist.ReduceOp.MAX, async_op=True))
        return cls(rank, count, 2 * int(longest[0]) + GROWTH)

    def row(self, text: str, on: torch.device) -> torch.Tensor:
        """Return this worker's row; without the text, if that has outgrown its room."""
        content = text.encode()
        rows = np.zeros((self._count, _HEAD + self._room // 2), np.float32)
        if len(content) <= self._room:
            words = np.frombuffer(content + b" " * (len(content) % 2), "<u2")
            rows[self._rank, :_HEAD] = divmod(len(content), 1 << 16)
            rows[self._rank, _HEAD : _HEAD + len(words)] = words
        return torch.from_numpy(rows.reshape(-1)).to(on)

    def texts(self, mean: torch.Tensor) -> list[str]:
        """Return the texts by rank, from the mean of the rows; "" for one without room."""
        # Of 16 bits, dividing by the number of workers and multiplying again loses nothing.
        rows = np.rint(mean.cpu().numpy().reshape(self._count, -1) * self._count)
        texts = []
        for high, low, *words in rows.astype("<u2"):
            size = (int(high) << 16) + int(low)
            texts.append(np.array(words, "<u2").tobytes()[:size].decode())
        return texts
