"""The last forward of bound calls, for a backward that runs layer by layer.

A backward of all layers runs as bound calls. A backward of some layers, or a backward that a
callback observes, runs layer by layer. Each layer then needs the values that its own forward keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..blob import Blob
from ..layers import Function
from .tape import LearningSegment
from .wiring import Node, Wiring


class Pending:
    """The last forward.

    segments: the runs of layers of the net. ignored: as `ignored_tops` returns them.
    """

    def __init__(
        self, wiring: Wiring, segments: Sequence[LearningSegment], ignored: Sequence[Blob]
    ) -> None:
        self._wiring, self._segments, self._ignored = wiring, segments, ignored
        self._versions: list[tuple[Blob, int]] = []

    def note_values(self) -> None:
        """Record the versions of the values that the forward has computed."""
        nodes = [node for segment in self._segments for node in segment.nodes]
        tops = dict.fromkeys(self._wiring.blobs[t] for node in nodes for t in node.tops)
        self._versions = [(blob, blob.values.version) for blob in tops]

    def has_values(self) -> bool:
        """Return whether all values are in place, and bound calls read all gradients."""
        if not all(blob.gradient.is_zero() for blob in self._ignored):
            return False
        return all(segment.has_values() for segment in self._segments)

    def record(self, run: Callable[[Node], object]) -> None:
        """Run the layers of bound calls one by one, so that each keeps what its backward needs.

        Blobs that may have changed since the forward keep their values.
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


def can_run_backward(wiring: Wiring) -> bool:
    """Return whether all gradients that a net's backward starts from are those of losses.

    Bound calls do not read the gradients of other tops, which a script may write. A layer that
    draws random values cannot run its forward again.
    """
    for node in wiring.nodes:
        if isinstance(node.layer, Function) and node.layer.stateful:
            return False
        for top, weight in list(zip(node.tops, node.loss_weights))[:1]:
            if node.backward and not weight and not _is_read(wiring, node, top):
                return False
    return True


def ignored_tops(wiring: Wiring) -> list[Blob]:
    """Return the tops of layers that run backward whose gradients bound calls do not read."""
    tops = [(node, t) for node in wiring.nodes if node.backward for t in _further_tops(node)]
    return [wiring.blobs[t] for node, t in tops if not _learns_from(wiring, node, t)]


def _further_tops(node: Node) -> Sequence[int]:
    """Return the tops of a layer but for the first, which bound calls need; all tops of a Split."""
    return node.tops if node.copies else node.tops[1:]


def _is_read(wiring: Wiring, node: Node, top: int) -> bool:
    return any(top in later.bottoms for later in wiring.nodes[node.number + 1 :])


def _learns_from(wiring: Wiring, node: Node, top: int) -> bool:
    """Return whether a later layer sets the gradient of a top."""
    return any(
        later.backward and b == top and go
        for later in wiring.nodes[node.number + 1 :]
        for b, go in zip(later.bottoms, later.propagate_down)
    )
