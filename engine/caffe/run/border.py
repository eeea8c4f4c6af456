"""The border of a region's blobs: what the net computes from an image of zeros."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from .. import mode
from ..layers import Function
from .functional import as_tuple, run_nodes
from .geometry import Extent, places_in_small, window_start_stop
from .region import Region
from .wiring import Node

#: The most strips of a border that are kept.
STRIPS = 512
#: The most borders that are kept, one for each size of images; a border takes tens of megabytes.
BORDERS = {"cpu": 8, "cuda": 16}
#: Axis and range of positions of a map -> the positions in the small map, as an index tensor.
Indices = dict[Any, torch.Tensor]


class Border:
    """The border of every blob of a region, on small maps whose middle repeats.

    maps: the small map of each blob, 1 x C x h x w.
    """

    def __init__(self, region: Region, indices: Indices) -> None:
        """Compute the border under the layers' present `weights`.

        indices: a cache that all borders of a region share.
        """
        self._cut, self._indices = region.cut, indices
        self._strips: dict[tuple[int, range, range], torch.Tensor] = {}
        self.maps = _first_maps(region)
        run_nodes(region.nodes[1:], self.maps)

    def strip(self, blob: int, extent: Extent, rows: range, columns: range) -> torch.Tensor:
        """Return the values at these positions of the full-size map, 1 x C x rows x columns."""
        key = (blob, rows, columns)
        if key in self._strips:
            return self._strips[key]
        small = self.maps[blob]
        axes = zip((2, 3), extent, self._cut, (rows, columns))
        # The shorter range first: less is then copied for the other axis.
        for dim, axis, cut, positions in sorted(axes, key=lambda item: len(item[3])):
            place = (axis, cut // axis.step, positions)
            if (place, small.device) not in self._indices:
                index = places_in_small(*place)
                tensor = torch.tensor(index, dtype=torch.int32, device=small.device)
                self._indices[place, small.device] = tensor
            small = small.index_select(dim, self._indices[place, small.device])
        small = small.contiguous(memory_format=mode.map_layout(small.shape, small.device))
        if not mode.capturing():
            if len(self._strips) >= STRIPS:
                self._strips.clear()
            self._strips[key] = small
        return small

    def tensors(self) -> list[torch.Tensor]:
        """Every tensor of the border."""
        return [*self.maps.values(), *self._strips.values()]


def _first_maps(region: Region) -> dict[int, torch.Tensor]:
    """Return the tops of a region's first layer for an image of zeros that includes the padding."""
    node = region.nodes[0]
    assert isinstance(node.layer, Function)
    window, channels = region.windows[node.number], region.shapes[region.source][1]
    maps = {}
    for top in node.tops:
        size = []
        for axis, n, k, s, d in zip(
            region.extents[top],
            region.small_size(top),
            window.kernel,
            window.stride,
            window.dilation,
        ):
            start, stop = window_start_stop(axis._replace(lo=0, hi=n), k, s, 0, d)
            size.append(stop - start)
        zeros = node.layer.weights[0].new_zeros((1, channels, *size))
        (maps[top],) = as_tuple(node.layer.inside(zeros))
    return maps


class BorderCache:
    """The borders of a net's inferences, kept while the weights stay the same."""

    def __init__(self) -> None:
        self._borders: OrderedDict[Any, tuple[Any, Border]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._borders)

    def get(self, region: Region, indices: Indices, device: torch.device) -> Border:
        """Return the border of a region on a device, computed if the weights have changed since."""
        sizes = [tuple(region.small_size(t)) for t in region.nodes[0].tops]
        precision = mode.precision()
        key = (region.first, region.last, region.cut, tuple(sizes), device, precision)
        state = _weights_state(region.nodes)
        entry = self._borders.get(key)
        if entry is None or state is None or entry[0] != state:
            entry = state, Border(region, indices)
        if not mode.capturing():
            self._borders[key] = entry
            self._borders.move_to_end(key)
            while len(self._borders) > BORDERS[device.type]:
                self._borders.popitem(last=False)
        return entry[1]


def _weights_state(nodes: Sequence[Node]) -> list[tuple[int, int]] | None:
    """Return each parameter's identity and version; None if a user's array may change one."""
    memories = [blob.values for node in nodes for blob in node.layer.blobs]
    if any(memory.held() for memory in memories):
        return None
    return [(id(memory), memory.version) for memory in memories]
