"""A layered drawing of a directed graph, top to bottom (Sugiyama, Tagawa and Toda 1981).

Nodes go into layers by their longest path from a source. An edge over several layers passes through
a point in each. The order in a layer follows the mean of the neighbours, and so do the positions,
as far as the order and the gaps allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

#: Pixels between the nodes of a layer, and between layers.
GAP, LAYER_GAP = 24.0, 34.0
#: Pixels that an edge takes where it passes a layer.
EDGE_WIDTH = 10.0
#: Passes over all layers, for the order and for the positions.
ORDER_SWEEPS, PLACE_SWEEPS = 12, 16


@dataclass
class Drawing:
    """Positions in pixels. centres: x and y of each node; routes: the points of each edge."""

    width: float
    height: float
    centres: list[tuple[float, float]]
    routes: list[list[tuple[float, float]]]


@dataclass
class _Vertex:
    """A node, or a point of an edge; `layer` counts from the top."""

    width: float
    height: float
    layer: int
    above: list[int] = field(default_factory=list)
    below: list[int] = field(default_factory=list)
    x: float = 0.0
    is_point: bool = False


def draw_layers(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]) -> Drawing:
    """Lay out nodes of the given widths and heights.

    edges: (from, to) with from < to, so that the nodes stand in a topological order.
    """
    vertices = [_Vertex(w, h, layer) for (w, h), layer in zip(sizes, _layers(len(sizes), edges))]
    chains = [_add_chain(vertices, a, b) for a, b in edges]
    rows = _ordered_rows(vertices)
    _place(vertices, rows)
    tops = _tops(vertices, rows)
    left = min((v.x - v.width / 2 for v in vertices), default=0.0) - GAP
    right = max((v.x + v.width / 2 for v in vertices), default=0.0) + GAP
    y = [tops[v.layer][0] + tops[v.layer][1] / 2 for v in vertices]
    routes = []
    for chain in chains:
        first, last = vertices[chain[0]], vertices[chain[-1]]
        points = [(first.x - left, y[chain[0]] + first.height / 2)]
        for i in chain[1:-1]:
            top, height = tops[vertices[i].layer]
            points += [(vertices[i].x - left, top), (vertices[i].x - left, top + height)]
        points.append((last.x - left, y[chain[-1]] - last.height / 2))
        routes.append(points)
    height = tops[-1][0] + tops[-1][1] + GAP if tops else 0.0
    centres = [(vertices[i].x - left, y[i]) for i in range(len(sizes))]
    return Drawing(right - left, height, centres, routes)


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the layer of each node: one below the lowest node that it reads."""
    layers = [0] * count
    for a, b in sorted(edges, key=lambda edge: edge[1]):
        layers[b] = max(layers[b], layers[a] + 1)
    # A source stands just above its first reader.
    has_input = {b for _, b in edges}
    for node in range(count):
        readers = [layers[b] for a, b in edges if a == node]
        if node not in has_input and readers:
            layers[node] = min(readers) - 1
    return layers


def _add_chain(vertices: list[_Vertex], a: int, b: int) -> list[int]:
    """Add the points of an edge; return the vertices along it."""
    chain = [a]
    for layer in range(vertices[a].layer + 1, vertices[b].layer):
        vertices.append(_Vertex(EDGE_WIDTH, 0.0, layer, is_point=True))
        chain.append(len(vertices) - 1)
    chain.append(b)
    for upper, lower in zip(chain, chain[1:]):
        vertices[upper].below.append(lower)
        vertices[lower].above.append(upper)
    return chain


def _ordered_rows(vertices: list[_Vertex]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(1 + max((v.layer for v in vertices), default=-1))]
    for i, vertex in enumerate(vertices):
        rows[vertex.layer].append(i)
    rank = {i: float(place) for row in rows for place, i in enumerate(row)}
    best, fewest = [list(row) for row in rows], _crossings(vertices, rows)
    for sweep in range(ORDER_SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            means = {}
            for i in row:
                near = vertices[i].above if down else vertices[i].below
                means[i] = sum(rank[n] for n in near) / len(near) if near else rank[i]
            row.sort(key=means.__getitem__)
            for place, i in enumerate(row):
                rank[i] = float(place)
        crossings = _crossings(vertices, rows)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _crossings(vertices: list[_Vertex], rows: list[list[int]]) -> int:
    """Return the number of pairs of edges that cross."""
    total = 0
    for row, lower in zip(rows, rows[1:]):
        place = {i: n for n, i in enumerate(lower)}
        ends = [sorted(place[b] for b in vertices[i].below) for i in row]
        flat = [(n, end) for n, row_ends in enumerate(ends) for end in row_ends]
        total += sum(
            1 for k, (n, end) in enumerate(flat) for m, other in flat[k + 1 :] if m > n
            and other < end
        )  # fmt: skip
    return total


def _place(vertices: list[_Vertex], rows: list[list[int]]) -> None:
    """Set x of every vertex: near the mean of its neighbours, in the order of its row."""
    for row in rows:
        x = 0.0
        for i in row:
            x += vertices[i].width / 2
            vertices[i].x = x
            x += vertices[i].width / 2 + GAP
        for i in row:
            vertices[i].x -= (x - GAP) / 2
    for sweep in range(PLACE_SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            if len(row) == 1:
                # Everything passes through this node, so that it stands on the axis.
                vertices[row[0]].x = 0.0
                continue
            targets = []
            for i in row:
                v = vertices[i]
                near = (v.above if down else v.below) or v.above or v.below
                if v.is_point and sweep >= PLACE_SWEEPS - 4:
                    near = v.above + v.below
                targets.append(sum(vertices[n].x for n in near) / len(near) if near else v.x)
            weights = [4.0 if vertices[i].is_point else 1.0 for i in row]
            for i, x in zip(row, _spread(vertices, row, targets, weights)):
                vertices[i].x = x


def _spread(
    vertices: list[_Vertex], row: list[int], targets: list[float], weights: list[float]
) -> list[float]:
    """Return the positions nearest to the targets that keep the order and the gaps of a row.

    Without the gaps this is isotonic regression, which the pooling of adjacent blocks solves.
    """
    shifts, shift = [], 0.0
    for n, i in enumerate(row):
        if n:
            before = vertices[row[n - 1]]
            shift += before.width / 2 + GAP + vertices[i].width / 2
        shifts.append(shift)
    blocks: list[list[float]] = []  # [weighted sum, weight, number of vertices]
    for target, move, weight in zip(targets, shifts, weights):
        blocks.append([(target - move) * weight, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last)]
    level = [total / weight for total, weight, n in blocks for _ in range(int(n))]
    return [x + move for x, move in zip(level, shifts)]


def _tops(vertices: list[_Vertex], rows: list[list[int]]) -> list[tuple[float, float]]:
    """Return the top and the height of every row."""
    tops, y = [], GAP
    for row in rows:
        height = max((vertices[i].height for i in row), default=0.0)
        tops.append((y, height))
        y += height + LAYER_GAP
    return tops
