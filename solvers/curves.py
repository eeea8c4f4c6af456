"""Curves as SVG text that lies inside a page: its colours are the page's, its labels are text."""

from __future__ import annotations

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple
from xml.sax.saxutils import escape

#: Points of a curve that are drawn; more are joined to means of neighbours.
POINTS = 300
#: Size of a chart and of its margins: left, right, top, bottom. The page scales the chart.
WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 30
#: Size of the small curve in a table.
SPARK_WIDTH, SPARK_HEIGHT = 110, 24
#: How many numbers an axis shows, about.
TICKS = 5
#: Steps by which a value may lie above the highest number of its axis.
HEADROOM = 0.25

Point = Tuple[float, float]
#: An iteration and a value, None where there is none.
Sparse = Tuple[float, Optional[float]]


class Curve(NamedTuple):
    """A line: its name, its points by x, and its class in the page's style sheet."""

    name: str
    points: Sequence[Sparse]
    style: str = "first"


class Level(NamedTuple):
    """A horizontal line with a name, such as the loss of a guess."""

    name: str
    value: float


def chart(
    curves: Sequence[Curve],
    unit: str,
    level: Optional[Level] = None,
    top: Optional[float] = None,
    percent: bool = False,
) -> str:
    """Return curves over iterations as SVG; "" without a point.

    unit: of the values, for readers who do not see the chart. top: the upper end of the axis; None
    leaves that to the values. percent: whether values are fractions that are shown as percent.
    """
    drawn = [(c, thinned(_finite(c.points))) for c in curves]
    lines_of = [(c, points) for c, points in drawn if points]
    if not lines_of:
        return ""
    xs = [x for _, points in lines_of for x, _ in points]
    ys = [y for _, points in lines_of for _, y in points] + ([level.value] if level else [])
    x_ticks = ticks(0, max(max(xs), 1), integers=True)
    y_ticks = ticks(min(0.0, min(ys)), top if top is not None else max(ys) or 1.0)
    scale = _Scale((0, max(max(xs), 1)), (y_ticks[0], max(y_ticks[-1], top or 0, *ys)))
    name = ", ".join(c.name for c, _ in lines_of)
    lines = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}: '
        f'{escape(unit)} by iteration">'
    ]
    for tick in y_ticks:
        y = scale.y(tick)
        lines.append(
            f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{_number(100 * tick if percent else tick)}</text>"
        )
    for tick in x_ticks:
        lines.append(
            f'<text class="tick" x="{scale.x(tick):.1f}" y="{HEIGHT - BOTTOM + 17}" '
            f'text-anchor="middle">{_number(tick)}</text>'
        )
    if level:
        y = scale.y(level.value)
        lines.append(
            f'<path class="level" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
            f'<text class="level-name" x="{WIDTH - RIGHT}" y="{y - 5:.1f}" text-anchor="end">'
            f"{escape(level.name)}</text>"
        )
    lines += [_line(c, points, scale, percent) for c, points in lines_of]
    return "\n".join([*lines, "</svg>"])


def spark(values: Sequence[Sparse]) -> str:
    """Return fractions over iterations as a small SVG for a table; "" without a point."""
    points = thinned(_finite(values), 60)
    if not points:
        return ""
    last = max(x for x, _ in points) or 1
    places = [
        (2 + x / last * (SPARK_WIDTH - 6), SPARK_HEIGHT - 3 - y * (SPARK_HEIGHT - 6))
        for x, y in points
    ]
    x, y = places[-1]
    return (
        f'<svg class="spark" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}" aria-hidden="true">'
        f'<path class="grid" d="M0 {SPARK_HEIGHT - 3}H{SPARK_WIDTH}"/>'
        f'<path class="line first" d="{_path(places)}"/>'
        f'<circle class="dot first" cx="{x:.1f}" cy="{y:.1f}" r="2"/></svg>'
    )


def ticks(low: float, high: float, integers: bool = False) -> List[float]:
    """Return round numbers from `low` to `high`, about `TICKS`; `integers`: no others."""
    raw = (high - low) / TICKS or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    if integers:
        step = max(1.0, math.ceil(step))
    first = math.floor(low / step)
    count = math.floor(high / step + 1e-9) - first
    if not integers and high > (first + count + HEADROOM) * step:
        count += 1
    return [round((first + i) * step, 12) for i in range(count + 1)]


def thinned(points: Sequence[Point], limit: int = POINTS) -> List[Point]:
    """Return at most `limit` points: means of equally many neighbours. The last point stays."""
    size = -(-len(points) // limit)
    if size <= 1:
        return list(points)
    means = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        means.append((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)))
    return [*means[:-1], (points[-1][0], means[-1][1])]


class _Scale:
    """From values to places in a chart."""

    def __init__(self, xs: Tuple[float, float], ys: Tuple[float, float]) -> None:
        self._xs, self._ys = xs, ys

    def x(self, value: float) -> float:
        low, high = self._xs
        return LEFT + (value - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self._ys
        return HEIGHT - BOTTOM - (value - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)


def _line(curve: Curve, points: Sequence[Point], scale: _Scale, percent: bool) -> str:
    places = [(scale.x(x), scale.y(y)) for x, y in points]
    x, y = places[-1]
    iteration, value = points[-1]
    text = f"{100 * value:.1f} %" if percent else f"{value:.3g}"
    title = f"{curve.name}: {text} at iteration {iteration:.0f}"
    return (
        f'<path class="line {curve.style}" d="{_path(places)}"><title>{escape(title)}</title>'
        f'</path><circle class="dot {curve.style}" cx="{x:.1f}" cy="{y:.1f}" r="3">'
        f"<title>{escape(title)}</title></circle>"
    )


def _path(places: Sequence[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _finite(points: Sequence[Sparse]) -> List[Point]:
    return [(x, y) for x, y in points if y is not None and math.isfinite(y)]


def _number(value: float) -> str:
    """Return the text of a tick: 20000 as 20,000, 0.25 as it is."""
    return f"{value:,.0f}" if value == int(value) else f"{value:.6g}"
