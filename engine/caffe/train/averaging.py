"""Means of tensors over the workers, as collectives of torch.distributed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist

from ..blob import Blob

#: Values that travel in one collective: 16 MB. Smaller tensors travel together, larger ones alone.
BUCKET = 1 << 22


def average(tensors: Sequence[torch.Tensor], count: int, wait: Callable[[Any], None]) -> None:
    """Replace each tensor by its mean over the `count` workers.

    The tensors have no gaps in memory, and the same sizes and order on every worker. All
    collectives start before `wait(work)` is called for the first.
    """
    pending = []
    for bucket in buckets(tensors):
        rows = [as_row(tensor) for tensor in bucket]
        joined = rows[0] if len(rows) == 1 else torch.cat(rows)
        pending.append((rows, joined, dist.all_reduce(joined, async_op=True)))
    for rows, joined, work in pending:
        wait(work)
        joined /= count
        if len(rows) > 1:
            torch._foreach_copy_(rows, joined.split([row.numel() for row in rows]))


def buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Yield the tensors in their order, in lists of at most BUCKET values or of one tensor."""
    bucket: list[torch.Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and size + tensor.numel() > BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket


def gradient(blob: Blob, on: torch.device) -> torch.Tensor:
    """Return a parameter's gradient, to be written, laid out in memory as the parameter's values.

    The layout of the values is the same on every worker.
    """
    return blob.gradient.mutable_like(blob.values.tensor(on))


def as_row(tensor: torch.Tensor) -> torch.Tensor:
    """Return all values of a tensor without gaps as one row, in memory order and in place."""
    return tensor.detach().as_strided((tensor.numel(),), (1,))
