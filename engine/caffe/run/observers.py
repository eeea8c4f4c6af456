"""What has every pass run layer by layer: callbacks, debug_info, and the switches of fast ways."""

from __future__ import annotations

from collections.abc import Callable

from .. import mode
from . import debug_info

#: The events of a layer.
CALLBACKS = ("before_forward", "after_forward", "before_backward", "after_backward")


class Observers:
    """Those who observe the layers of a net one by one.

    fast: False has every pass run layer by layer even if nobody observes.
    callbacks: by the names in CALLBACKS, functions that are called with each layer's number.
    debug_info: whether each layer's forward and backward log what they computed.
    """

    def __init__(self, fast: bool = True) -> None:
        self._fast = fast
        self.callbacks: dict[str, list[Callable[[int], None]]] = {name: [] for name in CALLBACKS}
        self.debug_info = False

    def are_present(self) -> bool:
        """Return whether somebody observes the layers."""
        return self.debug_info or any(self.callbacks.values())

    def call(self, event: str, number: int) -> None:
        """Call the callbacks of an event with the number of a layer."""
        for call in self.callbacks[event]:
            call(number)

    def reason_against_fast(self) -> str:
        """Return why every pass runs layer by layer, or ""."""
        if not (self._fast and mode.fast()):
            return mode.NOT_FAST if self._fast else "fast paths are off for this net"
        if self.debug_info:
            return debug_info.REASON
        return "callbacks are set" if self.are_present() else ""
