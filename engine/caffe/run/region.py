"""Which layers of a net form a region over whose maps the image does not reach.

A first convolution that pads by more than its kernel needs makes maps whose border depends on the
weights alone: the border is what the net computes from an image of zeros. Away from the map's edges
the border is one value a channel, so a small map of zeros, its middle repeated, gives the border at
any size. A `Region` says how far the image reaches into each blob; `patches` computes there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..layers import EngineLayer
from ..layers.function import Window
from .geometry import Axis, Extent, window_start_stop
from .wiring import Node, Wiring

#: A region ends where the image reaches more than this share of the maps.
REACHED_SHARE = 0.9
#: A region is used where its multiplications are at most this share of the plain ones.
WORTHWHILE = 0.95


def region_starts(wiring: Wiring) -> frozenset[int]:
    """Return the numbers of the layers at which a region may start.

    They are the convolutions that pad by more than their kernel needs.
    """
    starts = set()
    for node in wiring.nodes:
        layer = node.layer
        if not isinstance(layer, EngineLayer) or not layer.products or len(node.bottoms) != 1:
            continue
        window = layer.window()
        if window is None or window.fill:
            continue
        reach = [d * (k - 1) for d, k in zip(window.dilation, window.kernel)]
        if all(p > r for p, r in zip(window.pad, reach)):
            starts.add(node.number)
    return frozenset(starts)


class Region:
    """The layers `first` .. `last` of a net, for inputs of one shape.

    nodes: the layers. source: the number of the blob that the first layer reads. extents: how far
    the image reaches into each blob. shapes: each blob's whole shape. windows: by layer number, for
    the layers that compute. exits: the blobs that are read after the region. cut: the number of
    input positions that the small map of zeros leaves out, for each axis.
    """

    def __init__(self, wiring: Wiring, first: int) -> None:
        (self.source,) = wiring.nodes[first].bottoms
        self.first = self.last = first
        shape = wiring.blobs[self.source].shape
        self.shapes: dict[int, tuple[int, ...]] = {self.source: shape}
        self.extents = {self.source: Extent(*(Axis(n, 0, n) for n in shape[2:]))}
        self.windows: dict[int, Window] = {}
        for node in wiring.nodes[first:]:
            if not self._extend(node):
                break
            self.last = node.number
        self._drop_reached_layers(wiring)
        self.nodes = wiring.nodes[first : self.last + 1]
        blobs = {t for node in self.nodes for t in node.tops}
        self.extents = {b: e for b, e in self.extents.items() if b in blobs | {self.source}}
        self._widen()
        later = {b for node in wiring.nodes[self.last + 1 :] for b in node.bottoms}
        self.exits = sorted(blobs & (later | set(wiring.outputs)))
        self.blobs = sorted(blobs)
        self.cut = (self._cut(0), self._cut(1))

    def _extend(self, node: Node) -> bool:
        """Add a layer whose top depends on a window of its bottoms; return whether it is one."""
        layer, is_first = node.layer, node.number == self.first
        if not isinstance(layer, EngineLayer) or any(node.loss_weights):
            return False
        if any(b not in self.extents for b in node.bottoms):
            return False
        if (self.source in node.bottoms) != is_first:
            return False
        window = layer.window()
        if window is None or layer.stateful or (is_first and len(node.bottoms) > 1):
            return False
        extents = [self.extents[b] for b in node.bottoms]
        if any(a.step != b.step for e in extents for a, b in zip(e, extents[0])):
            return False
        shapes = layer.shapes([self.shapes[b] for b in node.bottoms])
        tops = self._top_extents(node, extents, shapes, window)
        for top, extent, shape in zip(node.tops, tops, shapes):
            if top in node.bottoms and self.extents[top] != extent:
                return False
            self.extents[top], self.shapes[top] = extent, tuple(shape)
        self.windows[node.number] = window
        return True

    def _top_extents(
        self,
        node: Node,
        extents: list[Extent],
        shapes: Sequence[Sequence[int]],
        window: Window,
    ) -> list[Extent]:
        """Return the extents of a layer's tops from those of its bottoms."""
        if len(node.tops) == 1:
            for extent in extents[1:]:
                extents[0] = Extent(*(a.hull(b) for a, b in zip(extents[0], extent)))
        elif len(extents) == 1:
            extents *= len(node.tops)
        tops = []
        for extent, shape in zip(extents, shapes):
            axes = zip(extent, *window[:4], shape[2:])
            tops.append(Extent(*(a.through(k, s, p, d, n) for a, k, s, p, d, n in axes)))
        if node.number == self.first:  # zeros around zeros have no edge
            tops = [Extent(*(a._replace(left=0, right=0) for a in extent)) for extent in tops]
        return tops

    def _drop_reached_layers(self, wiring: Wiring) -> None:
        """Leave out the last layers, where the image reaches nearly everything."""
        while self.last > self.first and all(
            self.extents[t].reached > REACHED_SHARE * math.prod(self.shapes[t][2:])
            for t in wiring.nodes[self.last].tops
        ):
            self.last -= 1

    def _widen(self) -> None:
        """Widen patches to complete windows of a pooling, by one or two positions."""
        for node in reversed(self.nodes):
            window, bottom = self.windows[node.number], node.bottoms[0]
            if max(window.stride) == 1 or bottom == self.source or len(node.bottoms) > 1:
                continue
            wider = []
            for a, b, *sizes in zip(self.extents[bottom], self.extents[node.tops[0]], *window[:4]):
                low, high = window_start_stop(b, *sizes)
                wider.append(a._replace(lo=max(0, min(a.lo, low)), hi=min(a.n, max(a.hi, high))))
            for blob in self._copies(bottom):
                self.extents[blob] = Extent(*wider)

    def _copies(self, blob: int) -> set[int]:
        """Return the blobs that hold the same values because of Split layers."""
        copies = {blob}
        for node in self.nodes:
            blobs = {*node.bottoms, *node.tops}
            if node.copies and copies & blobs:
                copies |= blobs
        return copies

    def _cut(self, axis: int) -> int:
        """By how many input positions the map of zeros can be smaller, its middle repeated."""
        axes = [e[axis] for b, e in self.extents.items() if b != self.source]
        period = max(a.step for a in axes)
        if any(period % a.step for a in axes):
            return 0
        room = min(a.step * (a.n - a.left - a.right - 1) for a in axes)
        return max(0, room // period * period)

    def small_size(self, blob: int) -> list[int]:
        """Return the height and width of a blob's small map."""
        return [a.n - cut // a.step for a, cut in zip(self.extents[blob], self.cut)]

    def share(self) -> float:
        """Return the multiplications of this region as a share of the plain ones."""
        plain = reduced = 0
        for node in self.nodes:
            for top in node.tops:
                batch, channels, *size = self.shapes[top]
                each = channels * node.engine_layer.products
                plain += each * batch * math.prod(size)
                reached = batch * self.extents[top].reached + math.prod(self.small_size(top))
                reduced += each * reached
        return reduced / plain if plain else 1.0

    def is_consistent(self) -> bool:
        """Return whether the layers make small maps of the sizes that the border is read from."""
        shapes = {b: (1, self.shapes[b][1], *self.small_size(b)) for b in self.extents}
        for node in self.nodes[1:]:
            tops = node.engine_layer.shapes([shapes[b] for b in node.bottoms])
            if [tuple(shape) for shape in tops] != [shapes[t] for t in node.tops]:
                return False
        return all(axis.reached > 0 for extent in self.extents.values() for axis in extent)

    def passes_gradients(self) -> bool:
        """Return whether gradients go back through the region wherever something learns."""
        learning: set[int] = set()
        for node in self.nodes:
            for b, go in zip(node.bottoms, node.propagate_down):
                if b in learning and not (go and node.backward):
                    return False
            if node.backward:
                learning.update(node.tops)
        return True


def find_region(wiring: Wiring, first: int) -> tuple[Region | None, str]:
    """Return the region that starts at layer `first` for the present shapes, and the reason.

    The region is None where running the layers one by one is better.
    """
    node = wiring.nodes[first]
    if len(wiring.blobs[node.bottoms[0]].shape) != 4:
        return None, f"{node.name}: its bottom has not 4 axes"
    if any(node.loss_weights):
        return None, f"{node.name}: its top is a loss"
    region = Region(wiring, first)
    names = f"{node.name} .. {region.nodes[-1].name}"
    share = region.share()
    words = f"{names}: {share:.0%} of the multiplications"
    if share > WORTHWHILE:
        return None, f"{words}, which saves too little"
    if not region.is_consistent():
        return None, f"{names}: the border of this size cannot be read from a smaller map"
    if not region.passes_gradients():
        return None, f"{names}: gradients stop inside"
    return region, words
