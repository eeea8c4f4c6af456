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
        return self._room(name, count)[:count].view(shape)

    def address(self, name: str, count: int) -> int:
        """Return the address of the memory that a call returns for `count` values."""
        return self._room(name, count).data_ptr()

    def _room(self, name: str, count: int) -> torch.Tensor:
        """Return a tensor of at least `count` values."""
        room = self._rooms.get(name)
        if room is None or room.numel() < count:
            room = None  # frees the memory before the name gets more
            self._rooms.pop(name, None)
            room = self._rooms[name] = torch.empty(count)
        return room
