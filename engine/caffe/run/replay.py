"""Passes on a CUDA device, captured as graphs by input size and replayed.

A pass through a large net launches hundreds of kernels of a few microseconds each. If Python
launches them one by one, the device waits most of the time. There are three phases:

1. Warm up: the first two passes of a size run layer by layer.
2. Capture: the third pass runs the same layers, and their launches are recorded.
3. Replay: later passes run all recorded launches at once, on the tensors of the capture. The blobs
   then have the values that a pass layer by layer gives them.

Before each replay, the tensors that the graph reads from outside (weights, borders) are compared
with those of the capture. If they differ, the pass runs layer by layer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from .. import glog, mode
from ..layers import EngineLayer
from ..memory import MemoryView
from .capture import Captured, CaptureError, GraphLayers, Read, Run
from .wiring import Wiring

#: Passes of a size that run layer by layer before the size is captured.
BEFORE = 2
#: The most sizes whose passes are counted.
COUNTED = 4096
#: The share of a device's memory that must stay free for another graph.
FREE = 0.25


class Replays:
    """The graphs of a net.

    outside: the numbers of the layers that bring the data; no graph contains them. inside: the
    numbers of the other layers. refused: why no pass is captured any more, or "".
    """

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self.outside = _layers_outside(wiring)
        outside = set(self.outside)
        self.inside = [n.number for n in wiring.nodes if n.number not in outside]
        self._layers = GraphLayers(wiring, self.inside)
        self._counts: OrderedDict[Any, int] = OrderedDict()
        self._graphs: OrderedDict[Any, Captured] = OrderedDict()
        self.refused = "" if self.inside else "a layer cannot be captured"

    def __len__(self) -> int:
        return len(self._graphs)

    def reason_against(self) -> str:
        """Return why passes are not replayed now, or ""."""
        if mode.device().type != "cuda":
            return "the net runs on the CPU"
        return self.refused if mode.fast() else mode.NOT_FAST

    def refuse(self, reason: str) -> None:
        """Run all later passes layer by layer."""
        self.refused = reason

    def find(self, requested: set[int], learn: bool, run: Run) -> Captured | None:
        """Return the graph of a pass over the layers `inside`, with the backward pass if `learn`.

        requested: the blobs inside a region that are computed whole.
        run: runs the layers, to be captured. None: the caller is to run the layers one by one.
        """
        device = mode.device()
        if self._layers.records != learn:
            return None
        key = self._key(requested, learn, device)
        captured = self._graphs.get(key)
        if captured is not None and captured.fits(self._wiring):
            self._graphs.move_to_end(key)
            return captured
        if learn and not all(p.blob.gradient.is_zero() for p in self._wiring.parameters):
            return None
        self._graphs.pop(key, None)
        reads = self._layers.reads(learn, device)
        if not self._is_warm(key, reads) or not self._make_room(device):
            return None
        captured = self._capture(learn, device, reads, run)
        if captured is not None:
            self._graphs[key] = captured
        return captured

    def _key(self, requested: set[int], learn: bool, device: torch.device) -> Any:
        """Return what a graph depends on, apart from the tensors that the graph reads."""
        held = tuple(b for b, blob in enumerate(self._wiring.blobs) if blob.values.held())
        generator = mode.generator(device) if self._layers.draws else None
        shapes = self._layers.shapes
        return learn, device, mode.precision(), shapes, held, frozenset(requested), generator

    def _is_warm(self, key: Any, reads: Sequence[Read]) -> bool:
        """Count a pass; return whether enough passes like it came before."""
        state = key, tuple((read.tensor.data_ptr(), read.version) for read in reads)
        count = self._counts.pop(state, 0) + 1
        self._counts[state] = count
        while len(self._counts) > COUNTED:
            self._counts.popitem(last=False)
        return count > BEFORE

    def _capture(
        self, learn: bool, device: torch.device, reads: list[Read], run: Run
    ) -> Captured | None:
        """Return a new graph; None if the layers cannot be captured."""
        try:
            return self._layers.capture(learn, device, reads, run)
        except CaptureError as error:
            # The recorded launches did not run; the caller runs the layers one by one.
            self.refuse(f"the capture failed: {error}")
            glog.write("replay.py:1", f"CUDA graphs are off for this net: {self.refused}", 1)
            return None

    def _make_room(self, device: torch.device) -> bool:
        """Drop the least recently used graphs while memory is short; whether it no longer is."""
        while True:
            free, total = torch.cuda.mem_get_info(device)
            unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            if free + unused > FREE * total:
                return True
            if not self._graphs:
                return False
            self._graphs.popitem(last=False)
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()


def _layers_outside(wiring: Wiring) -> list[int]:
    """Return the layers that no graph can contain.

    If not all of them can run before the other layers, return every layer.
    """
    outside: list[int] = []
    tops: set[int] = set()
    everything = [node.number for node in wiring.nodes]
    for node in wiring.nodes:
        layer = node.layer
        if isinstance(layer, EngineLayer) and layer.replayable:
            continue
        outside.append(node.number)
        tops.update(node.tops)
        if not tops.issuperset(node.bottoms) or node.backward:
            return everything
    # A view of another memory has no memory of its own that a graph could fill.
    has_views = any(isinstance(m, MemoryView) for blob in wiring.blobs for m in blob.memories)
    return everything if has_views else outside
