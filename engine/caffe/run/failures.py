"""Adds the name of the layer to the exceptions of layers.

An error of the engine's own layer becomes a LayerError, and a lack of memory a NoMemoryError. The
exception of a user's layer keeps its type, as in pycaffe, and gets a note that names the layer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import torch

from ..errors import CaffeError, FileError, LayerError, LayerFileError, NoMemoryError
from ..layers import EngineLayer, Layer

_AMOUNT = re.compile(
    r"(?:[Tt]ried to allocate|Unable to allocate) (?P<count>[\d.]+) ?(?P<unit>bytes|[KMGTPEZ]iB)"
)
_NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|bad_alloc|Unable to allocate|"
    r"could not create a memory object|Storage size calculation overflowed|larger than the maximum"
)


def raise_for(
    layer: Layer, param: Any, method: str, error: Exception, blobs: Sequence[Any] = ()
) -> NoReturn:
    """Raise an exception that names the layer, from inside an `except` block.

    param: the layer's LayerParameter. method: the method of the layer that raised the error. blobs:
    those that the method computes.
    """
    if isinstance(error, LayerError):
        raise
    if lacks_memory(error):
        raise NoMemoryError(param.name, param.type, _memory_reason(error, blobs)) from error
    if isinstance(error, FileError) and isinstance(layer, EngineLayer):
        raise LayerFileError(param.name, param.type, str(error)) from None
    if isinstance(error, CaffeError):
        if method != "setup":
            raise
        raise LayerError(param.name, param.type, str(error)) from None
    if isinstance(layer, EngineLayer):
        reason = f"{method} failed: {type(error).__name__}: {one_line(error)}"
        raise LayerError(param.name, param.type, reason) from error
    _add_note(error, f"layer {param.name!r} ({param.type}), {method}")
    raise


def lacks_memory(error: BaseException) -> bool:
    """Return whether an exception says that there is no memory."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def amount(error: BaseException) -> str:
    """Return how much memory was asked for, such as "64.0 GiB", or "" where it is not known."""
    match = _AMOUNT.search(str(error))
    if match is None:
        return ""
    if match["unit"] != "bytes":
        return f"{match['count'].rstrip('.')} {match['unit']}"
    size = float(match["count"])
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def one_line(error: BaseException) -> str:
    """Return the message of an exception in one line, or "no message"."""
    return " ".join(str(error).split())[:500] or "no message"


def _memory_reason(error: BaseException, blobs: Sequence[Any]) -> str:
    shapes = ", ".join(" x ".join(map(str, blob.shape)) or "1" for blob in blobs)
    of_blobs = f" for blobs of {shapes}" if shapes else ""
    return (
        f"no memory{of_blobs}: asked for {amount(error) or 'more than there is'}; use smaller "
        "images or batches, fewer outputs, or a machine or device with more memory"
    )


def _add_note(error: Exception, note: str) -> None:
    """Add a note to an exception, as `add_note` of Python 3.11 does."""
    notes = [*getattr(error, "__notes__", ()), note]
    with suppress(AttributeError):  # an exception with __slots__ of its own
        error.__notes__ = notes  # type: ignore[attr-defined]
