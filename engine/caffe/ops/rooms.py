"""Memory for intermediate values of an operation."""

from __future__ import annotations

import math
import threading

import torch


class Rooms(threading.local):
    """Memory by name, kept between calls: memory new to a process costs more than filling it."""

    def __init__(self) -> None:
        self._rooms: dict[str, torch.Tensor] = {}

    def __call__(self, name: str, *shape: int) -> torch.Tensor:
        """Return a float32 tensor of this shape, in the memory that the name had before."""
        count = math.prod(shape)
        if name not in self._rooms or self._rooms[name].numel() < count:
            self._rooms.pop(name, None)
            self._rooms[name] = torch.empty(count)
        return self._rooms[name][:count].view(shape)
