"""Polygons from which silhouettes and clutter are drawn, as lists of (x, y) points."""

from __future__ import annotations

import math
from typing import List, Optional, Tuple

Point = Tuple[float, float]
Polygon = List[Point]


def box(left: float, top: float, right: float, bottom: float) -> Polygon:
    """Return a rectangle with its sides along the axes."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def oval(x: float, y: float, rx: float, ry: Optional[float] = None) -> Polygon:
    """Return an ellipse around (x, y) as 20 points; a circle if `ry` is None."""
    ry = rx if ry is None else ry
    turns = [2 * math.pi * k / 20 for k in range(20)]
    return [(x + rx * math.cos(t), y + ry * math.sin(t)) for t in turns]


def bar(x0: float, y0: float, x1: float, y1: float, width: float = 0.09) -> Polygon:
    """Return a straight bar from (x0, y0) to (x1, y1)."""
    length = math.hypot(x1 - x0, y1 - y0)
    dx, dy = (x1 - x0) / length * width / 2, (y1 - y0) / length * width / 2
    return [(x0 - dy, y0 + dx), (x1 - dy, y1 + dx), (x1 + dy, y1 - dx), (x0 + dy, y0 - dx)]


def rod(*points: Point, width: float = 0.09) -> List[Polygon]:
    """Return a bent bar through `points`, rounded at its joints."""
    bars = [bar(*a, *b, width=width) for a, b in zip(points, points[1:])]
    return bars + [oval(x, y, width / 2) for x, y in points[1:-1]]


def wheel(x: float, y: float, radius: float, width: float, spokes: int = 0) -> List[Polygon]:
    """Return a tyre as a chain of bars, with spokes to the hub."""
    turns = [2 * math.pi * k / 18 for k in range(19)]
    rim = [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in turns]
    parts = rod(*rim, width=width)
    for k in range(spokes):
        t = math.pi * k / spokes
        dx, dy = radius * math.cos(t), radius * math.sin(t)
        parts.append(bar(x - dx, y - dy, x + dx, y + dy, width=0.05))
    return parts


def legs(*feet: Tuple[float, float, float], top: float, bottom: float = 1.0) -> List[Polygon]:
    """Return a leg for each (x at the top, x at the bottom, width)."""
    return [bar(x0, top, x1, bottom, width=width) for x0, x1, width in feet]
