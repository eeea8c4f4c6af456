"""Checks of axes and shapes that many layers share."""

from __future__ import annotations

from collections.abc import Sequence

from .base import EngineLayer


def check_legacy_axes(layer: EngineLayer, shape: Sequence[int]) -> None:
    """Raise ShapeError for more than the 4 axes num, channels, height and width."""
    if len(shape) > 4:
        raise layer.shape_error(f"the bottom has shape {tuple(shape)}; it needs at most 4 axes")


def canonical_axis(layer: EngineLayer, axis: int, shape: Sequence[int]) -> int:
    """Return `axis` of a bottom of this shape, counted from the front.

    A negative axis counts from the end. Raises ShapeError for an axis that the shape lacks.
    """
    if not -len(shape) <= axis < len(shape):
        raise layer.shape_error(
            f"axis {axis} is not an axis of a bottom of shape {tuple(shape)}; it needs "
            f"{-len(shape)} .. {len(shape) - 1}"
        )
    return axis % len(shape)
