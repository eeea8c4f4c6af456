"""The memory of the values that a pass computes."""

from __future__ import annotations

from ..layers import Function
from ..memory import Memory
from .wiring import Wiring


class Results:
    """The values of the blobs that layers compute as functions of others."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        # Blobs made or shared by layers that are not functions: their old values may matter.
        self._lasting = [
            wiring.blobs[t]
            for node in wiring.nodes
            if not (isinstance(node.layer, Function) or node.copies)
            for t in node.tops
        ]

    def free(self) -> None:
        """Free the values of the last pass, so that the next one can use the same memory."""
        lasting = {id(blob.values) for blob in self._lasting}
        for node in self._wiring.nodes:
            if isinstance(node.layer, Function):
                for blob in self._wiring.tops(node):
                    memory = blob.values
                    if isinstance(memory, Memory) and id(memory) not in lasting:
                        memory.let_go()
