"""Texts of all workers, brought together at each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist


def gather(text: str, count: int, on: torch.device, wait: Callable[[Any], None]) -> list[str]:
    """Return the texts of the `count` workers, in the order of their ranks.

    Every worker calls this function at the same point. on: the device over which the texts travel.
    wait: waits for a collective, as long as all workers live.
    """
    content = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).to(on)
    sizes = [torch.zeros(1, dtype=torch.int64, device=on) for _ in range(count)]
    wait(dist.all_gather(sizes, torch.tensor([len(content)], device=on), async_op=True))
    lengths = [int(size) for size in sizes]
    row = torch.zeros(max(lengths), dtype=torch.uint8, device=on)
    row[: len(content)] = content
    rows = [torch.empty_like(row) for _ in range(count)]
    wait(dist.all_gather(rows, row, async_op=True))
    return [
        row[:length].cpu().numpy().tobytes().decode()
        for row, length in zip(rows, lengths, strict=True)
    ]
