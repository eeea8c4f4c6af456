"""How the passes of a net run, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .. import glog


class Choice(NamedTuple):
    """How a pass ran and why. way: "layers", "regions", "replay" or "plan"."""

    way: str
    reason: str


class Choices:
    """The choices of a net's passes, of which the log names the changes.

    name: of the net. has_regions: whether the net may have regions.
    last: the choice of the last pass; None before the first.
    """

    def __init__(self, name: str, has_regions: bool) -> None:
        self._name, self._has_regions = name or "the net", has_regions
        self.last: Choice | None = None
        self._logged_way = ""

    def note(self, way: str, reason: str) -> None:
        """Note how a pass ran; log it if a net with a fast way changes its way."""
        if self.last is not None and self.last.reason == reason and self.last.way == way:
            return
        self.last = Choice(way, reason)
        logs = self._has_regions or way in ("regions", "replay")
        if way != self._logged_way and logs:
            self._logged_way = way
            glog.write("choice.py:1", f"{self._name} runs by {way}: {reason}")


def in_one_line(reasons: Iterable[str]) -> str:
    """Return reasons as one line, each once."""
    return "; ".join(dict.fromkeys(reasons))
