"""Checks of axes that many layers share."""

from __future__ import annotations

from collections.abc import Sequence

from .base import EngineLayer


def check_legacy_axes(layer: EngineLayer, shape: Sequence[int]) -> None:
    """Raise where a layer that knows only num, channels, height and width gets more axes."""
    if len(shape) > 4:
        raise layer.error(f"the bottom has shape {tuple(shape)}; it needs at most 4 axes")


def canonical_axis(layer: EngineLayer, axis: int, shape: Sequence[int]) -> int:
    """`axis` of a blob of this shape counted from the front; negative counts from the end."""
    if not -len(shape) <= axis < len(shape):
        raise layer.error(
            f"axis {axis} is not an axis of a bottom of shape {tuple(shape)}; it needs "
            f"{-len(shape)} .. {len(shape) - 1}"
        )
    return axis % len(shape)
