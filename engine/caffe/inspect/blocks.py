"""The graph of a net that is drawn: nodes of layers, and blocks that repeat.

A node is a layer together with the layers that change its top in place. A block is the nodes
between two nodes through which everything passes, such as an inception module or a residual unit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from .build import BuiltNet, Part


@dataclass
class Node:
    """What is drawn as one box.

    parts: the layers, in order. repeats: the number of equal blocks that follow each other, for a
    folded block; 0 for a single layer.
    """

    parts: list[Part]
    repeats: int = 0

    @property
    def title(self) -> str:
        """The name of the first layer, or the common start of a block's names."""
        names = [part.name for part in self.parts]
        if not self.repeats:
            return names[0]
        return _common_start(names) or f"{names[0]} ... {names[-1]}"


def _common_start(names: list[str]) -> str:
    """Return the longest start that all names share, without separators at its end."""
    length = min(map(len, names))
    while len({name[:length] for name in names}) > 1:
        length -= 1
    return names[0][:length].rstrip("/_-. ")


@dataclass
class Graph:
    """Nodes in a topological order, and edges (from, to, second bottom of a Crop)."""

    nodes: list[Node]
    edges: list[tuple[int, int, bool]]


def layer_graph(net: BuiltNet) -> Graph:
    """Return the graph of a net with a node for each layer that is not in place."""
    nodes: list[Node] = []
    home: dict[int, int] = {}
    for part in net.parts:
        producer = part.bottoms[0].producer if part.in_place else -1
        if producer >= 0 and len(part.tops) == 1 and len(part.bottoms) == 1:
            home[part.number] = home[producer]
            nodes[home[producer]].parts.append(part)
            continue
        home[part.number] = len(nodes)
        nodes.append(Node([part]))
    return Graph(nodes, list(_edges(net, home)))


def _edges(net: BuiltNet, home: dict[int, int]) -> Iterator[tuple[int, int, bool]]:
    drawn: set[tuple[int, int]] = set()
    for part in net.parts:
        for i, blob in enumerate(part.bottoms):
            if blob.producer < 0:
                continue
            ends = home[blob.producer], home[part.number]
            if ends[0] != ends[1] and ends not in drawn:
                drawn.add(ends)
                yield (*ends, part.type == "Crop" and i == 1)


def folded_graph(net: BuiltNet) -> Graph:
    """Return the graph with each block that occurs more than once folded into a node.

    Equal blocks that follow each other become one node. The graph is the unfolded one where no
    block repeats.
    """
    graph = layer_graph(net)
    blocks = list(_blocks(graph))
    kinds = Counter(_structure(graph, block) for block in blocks)
    repeated = [block for block in blocks if kinds[_structure(graph, block)] > 1]
    if not repeated:
        return graph
    member = {n: block for block in repeated for n in block}
    nodes: list[Node] = []
    home: dict[int, int] = {}
    last: tuple[range, tuple] | None = None
    for n, node in enumerate(graph.nodes):
        inner = member.get(n)
        if inner is None:
            home[n] = len(nodes)
            nodes.append(node)
            last = None
        elif n == inner.start:
            contents = _contents(graph, inner)
            if last is not None and last[0].stop == inner.start and last[1] == contents:
                nodes[-1].repeats += 1
            else:
                nodes.append(Node([], 1))
            last = inner, contents
        if inner is not None:
            home[n] = len(nodes) - 1
            nodes[-1].parts += node.parts
    edges = dict.fromkeys((home[a], home[b], crop) for a, b, crop in graph.edges)
    return Graph(nodes, [edge for edge in edges if edge[0] != edge[1]])


def _blocks(graph: Graph) -> Iterator[range]:
    """The groups of several nodes between two nodes through which every path leads.

    The node that ends a block, such as its Concat or its sum, belongs to the block.
    """
    farthest = list(range(len(graph.nodes)))
    for a, b, _ in graph.edges:
        farthest[a] = max(farthest[a], b)
    reach, start = 0, 0
    for n in range(len(graph.nodes)):
        # No edge from before n leads past n.
        if reach <= n:
            if n - start > 1:
                yield range(start + 1, n + 1)
            start = n
        reach = max(reach, farthest[n])


def _structure(graph: Graph, block: range) -> tuple:
    """Return the types and the wiring of a block, without sizes."""
    inner = tuple((a - block.start, b - block.start) for a, b, _ in graph.edges if b in block)
    return inner, tuple(part.type for n in block for part in graph.nodes[n].parts)


def _contents(graph: Graph, block: range) -> tuple:
    """Return the structure of a block with the shapes of its tops."""
    shapes = tuple(top.shape for n in block for p in graph.nodes[n].parts for top in p.tops)
    return _structure(graph, block), shapes
