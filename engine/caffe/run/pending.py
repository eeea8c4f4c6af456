"""A forward of bound calls, after which a backward may follow that runs otherwise.

A backward of the whole net follows as bound calls. One of a part of the net, or one that somebody
observes, runs layer by layer, and needs what each layer keeps from its own forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..blob import Blob
from .tape import LearningSegment
from .wiring import Node, Wiring


class Pending:
    """The last forward. parts: the runs of layers and the single layers of the net."""

    def __init__(self, wiring: Wiring, parts: Sequence[LearningSegment | Node]) -> None:
        self._wiring, self.parts = wiring, parts
        self._segments = [part for part in parts if isinstance(part, LearningSegment)]
        self._versions: list[tuple[Blob, int]] = []

    def note_values(self) -> None:
        """Note the present values as those of the forward."""
        nodes = [node for segment in self._segments for node in segment.nodes]
        tops = dict.fromkeys(self._wiring.blobs[t] for node in nodes for t in node.tops)
        self._versions = [(blob, blob.values.version) for blob in tops]

    def has_values(self) -> bool:
        """Whether all values are where the forward left them."""
        return all(segment.has_values() for segment in self._segments)

    def record(self, run: Callable[[Node], object]) -> None:
        """Run the layers of bound calls one by one, so that each keeps what its backward needs.

        Blobs that somebody may have written to since then keep their values.
        """
        written = [blob for blob, version in self._versions if blob.values.version != version]
        kept = [(blob, blob.values.tensor().clone()) for blob in written]
        for segment in self._segments:
            if segment.is_bound():
                for node in segment.nodes:
                    run(node)
        for blob, values in kept:
            if blob.values.shape == values.shape:
                blob.values.mutable().copy_(values)
