"""One offline HTML page of a net: its graph as SVG, and what is known of each layer."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..printable import printable
from ..text import to_text
from .blocks import Graph, Node, folded_graph, layer_graph
from .findings import Finding
from .layout import draw_layers
from .report import LayerRow, Report
from .stored import BlobRow
from .tables import (
    factor_text,
    layer_table,
    map_text,
    megabytes,
    number,
    shape_text,
    sides,
    total_table,
    window_text,
)

ASSETS = Path(__file__).parent / "assets"
#: Pixels: the least and the most width of a box, of a letter, of a line, and of the box's edges.
LEAST_WIDTH, MOST_WIDTH, LETTER, LINE, EDGE = 96.0, 250.0, 6.6, 15.0, 7.0
#: The class of a box by the type of its layer; the style sheet has the colours.
CLASSES = {
    "Convolution": "convolution",
    "Deconvolution": "deconvolution",
    "InnerProduct": "product",
    "Pooling": "pooling",
    "Crop": "crop",
    "Eltwise": "join",
    "Concat": "join",
}


def escape(text: str) -> str:
    """Return text for the page: escaped for HTML, and without control characters."""
    return html.escape(printable(text, keep="\n"))


def html_page(
    report: Report, findings: Sequence[Finding] = (), weights: Sequence[BlobRow] = ()
) -> str:
    """Return the page, complete in itself. Names from the net are escaped.

    findings: warnings, which mark their layers. weights: rows of a weights file, whose histograms
    the page shows.
    """
    marked = {finding.layer for finding in findings}
    graphs = {"all": layer_graph(report.net), "folded": folded_graph(report.net)}
    rows = {row.number: row for row in report.rows}
    drawings = "".join(
        f'<g class="graph" id="graph-{name}">{_svg(graph, rows, marked)}</g>'
        for name, graph in graphs.items()
    )
    foldable = len(graphs["folded"].nodes) < len(graphs["all"].nodes)
    title = escape(report.name or "net without a name")
    page = (ASSETS / "page.html").read_text(encoding="utf-8")
    for mark, content in (
        ("STYLE", (ASSETS / "page.css").read_text(encoding="utf-8")),
        ("SCRIPT", (ASSETS / "page.js").read_text(encoding="utf-8")),
        ("TITLE", title),
        ("PHASE", report.phase),
        ("FOLDABLE", "" if foldable else "hidden"),
        ("TOTALS", _html_table(*total_table(report.totals))),
        ("FINDINGS", _finding_list(findings)),
        ("TABLE", _html_table(*layer_table(report.rows))),
        ("DATA", _json(report, findings, weights)),
        ("DRAWINGS", drawings),
    ):
        page = page.replace(f"<!--{mark}-->", content)
    return page


def _json(report: Report, findings: Sequence[Finding], weights: Sequence[BlobRow]) -> str:
    """Return the data for the script.

    The text has no `<`, so that no name in the net can end the HTML element.
    """
    layers = {row.number: _layer_data(report, row, findings, weights) for row in report.rows}
    return json.dumps(layers).replace("<", "\\u003c").replace("&", "\\u0026")


def _layer_data(
    report: Report, row: LayerRow, findings: Sequence[Finding], weights: Sequence[BlobRow]
) -> dict[str, Any]:
    part = report.net.parts[row.number]
    facts = {
        "type": row.type,
        "bottoms": ", ".join(row.bottoms),
        "tops": ", ".join(row.tops),
        "shape": " ".join(map(shape_text, row.shapes)),
        "kernel": window_text(row),
        "stride in pixels": sides(row.stride) if row.stride else "",
        "receptive field": sides(row.field) if row.field else "",
        "value 0 at pixel": sides(row.first) if row.first else "",
        "coordinate map": map_text(row) if row.scale else "",
        "parameters": number(row.parameter_count),
        "multiply-adds": number(row.multiply_adds or 0),
        "memory of the tops": megabytes(row.activation_bytes) if row.activation_bytes else "",
        "lr / decay": factor_text(row),
        "fillers": ", ".join(info.filler or "none" for info in row.parameters),
        "note": row.note,
    }
    for crop in report.crops:
        if crop.name == row.name:
            after = sides("?" if n is None else n for n in crop.after)
            facts["cut away"] = f"{sides(crop.before)} before, {after} behind"
            facts["offset"] = crop.reason
    return {
        "name": row.name,
        "facts": {name: text for name, text in facts.items() if text},
        "prototxt": to_text(part.param),
        "warnings": [f.message for f in findings if f.layer == row.name],
        "field": _field_data(report, row),
        "weights": [asdict(blob) for blob in weights if blob.layer == row.name],
    }


def _field_data(report: Report, row: LayerRow) -> dict[str, Any] | None:
    """Return the script's data of a receptive field; None without two axes of known size."""
    part = report.net.parts[row.number]
    place = report.places.get(part.tops[0]) if part.tops else None
    shape = part.tops[0].shape if part.tops else None
    image = next((b.shape for b in report.net.blobs if place and b.name == place.frame), None)
    if place is None or shape is None or image is None or len(place.axes) != 2:
        return None
    axes = [
        {
            "stride": float(axis.stride),
            "fields": [f and [float(f.low), float(f.high)] for f in axis.fields],
        }
        for axis in place.axes
    ]
    return {"axes": axes, "size": shape[-2:], "image": image[-2:], "frame": place.frame}


def _html_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    def line(tag: str, entries: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(e)}</{tag}>" for e in entries) + "</tr>"

    return f"<table>{line('th', head)}{''.join(line('td', entries) for entries in lines)}</table>"


def _finding_list(findings: Sequence[Finding]) -> str:
    items = "".join(
        f'<li><a class="jump" data-name="{escape(f.layer)}">{escape(f.layer)}</a> '
        f"{escape(f.message)}</li>"
        for f in findings
    )
    return f"<h2>Warnings</h2><ul>{items}</ul>" if findings else ""


def _lines(node: Node, rows: dict[int, LayerRow]) -> list[tuple[str, str]]:
    """Return the lines of a box: a class of the style sheet, and the text."""
    first, last = rows[node.parts[0].number], rows[node.parts[-1].number]
    shape = " ".join(map(shape_text, last.shapes[:2]))
    if node.repeats:
        count = len(node.parts) // node.repeats
        times = f"{node.repeats} blocks of {count} layers" if node.repeats > 1 else ""
        return [
            ("title", node.title),
            ("detail", times or f"block of {count} layers"),
            ("shape", shape),
        ]
    detail = " ".join(filter(None, [first.type, window_text(first)]))
    lines = [("title", first.name), ("detail", detail)]
    lines += [("detail", f"+ {part.type}") for part in node.parts[1:]]
    return [*lines, ("shape", shape)] if shape else lines


def _svg(graph: Graph, rows: dict[int, LayerRow], marked: set[str]) -> str:
    lines = [_lines(node, rows) for node in graph.nodes]
    sizes = []
    for texts in lines:
        letters = max(len(text) for _, text in texts)
        width = min(MOST_WIDTH, max(LEAST_WIDTH, letters * LETTER + 2 * EDGE))
        sizes.append((width, len(texts) * LINE + 2 * EDGE))
    drawing = draw_layers(sizes, [(a, b) for a, b, _ in graph.edges])
    parts = [f'<rect class="extent" width="{drawing.width:.0f}" height="{drawing.height:.0f}"/>']
    for (a, b, crop), points in zip(graph.edges, drawing.routes):
        style = "edge reference" if crop else "edge"
        numbers = f'data-from="{graph.nodes[a].parts[0].number}"'
        numbers += f' data-to="{graph.nodes[b].parts[0].number}"'
        parts.append(f'<path class="{style}" {numbers} d="{_path(points)}"/>')
    for node, texts, size, centre in zip(graph.nodes, lines, sizes, drawing.centres):
        parts.append(_box(node, texts, size, centre, marked))
    return "".join(parts)


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Return a smooth line through points, vertical at each of them."""
    x, y = points[0]
    path = [f"M{x:.1f} {y:.1f}"]
    for nx, ny in points[1:]:
        middle = (y + ny) / 2
        path.append(
            f"L{nx:.1f} {ny:.1f}"
            if abs(nx - x) < 0.5
            else f"C{x:.1f} {middle:.1f} {nx:.1f} {middle:.1f} {nx:.1f} {ny:.1f}"
        )
        x, y = nx, ny
    return "".join(path)


def _box(
    node: Node,
    texts: Sequence[tuple[str, str]],
    size: tuple[float, float],
    centre: tuple[float, float],
    marked: set[str],
) -> str:
    width, height = size
    left, top = centre[0] - width / 2, centre[1] - height / 2
    first = node.parts[0]
    style = "block" if node.repeats else CLASSES.get(first.type, "other" if first.bottoms else
                                                     "source")  # fmt: skip
    if first.reason:
        style += " unknown"
    if any(part.name in marked for part in node.parts):
        style += " marked"
    numbers = " ".join(str(part.number) for part in node.parts)
    most = int((width - 2 * EDGE) / LETTER) + 1
    spans = []
    for i, (kind, text) in enumerate(texts):
        shown = text if len(text) <= most else text[: most - 1] + "…"
        y = top + EDGE + (i + 0.75) * LINE
        spans.append(f'<text class="{kind}" x="{centre[0]:.1f}" y="{y:.1f}">{escape(shown)}</text>')
    names = escape("\n".join(part.name for part in node.parts[:20]))
    return (
        f'<g class="node {style}" data-layers="{numbers}" data-x="{centre[0]:.1f}" '
        f'data-y="{centre[1]:.1f}"><title>{names}</title>'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5"/>'
        f"{''.join(spans)}</g>"
    )
