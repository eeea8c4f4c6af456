"""Garbage collection off, while modules are loaded that create many lasting objects."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_off() -> Iterator[None]:
    """Turn garbage collection off inside the context, and seldom examine the new objects later.

    Do nothing if collection is off already, or if the program has frozen objects.
    """
    if not gc.isenabled() or gc.get_freeze_count():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        # Together these calls move all objects to the oldest generation, which is seldom examined.
        gc.freeze()
        gc.unfreeze()
        gc.enable()
