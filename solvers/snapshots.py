"""The pairs PREFIX_iter_N.caffemodel and PREFIX_iter_N.solverstate that Caffe's solver writes."""

from __future__ import annotations

import glob
import os
import re
from typing import Iterable, List, NamedTuple, Optional

from surgery.caffemodel import complete_model, complete_state


class Snapshot(NamedTuple):
    iteration: int
    model: str
    state: str


def complete(prefix: str) -> List[Snapshot]:
    """The snapshots of which both files were written to their ends, oldest first.

    Caffe writes the model before the state, so a killed run leaves at most one that is not
    complete; it is passed over, and overwritten when training comes by again.
    """
    found = []
    for state in glob.glob(glob.escape(prefix) + "_iter_*.solverstate"):
        match = re.search(r"_iter_(\d+)\.solverstate$", state)
        model = state[: -len("solverstate")] + "caffemodel"
        if match and complete_state(state) and complete_model(model):
            found.append(Snapshot(int(match.group(1)), model, state))
    return sorted(found)


def latest(prefix: str, upto: Optional[int] = None) -> Optional[Snapshot]:
    """The newest complete snapshot, of those at most `upto` iterations old."""
    found = [s for s in complete(prefix) if upto is None or s.iteration <= upto]
    return found[-1] if found else None


def prune(prefix: str, scored: Iterable[int], best: Optional[int], newest: int = 2) -> List[str]:
    """Remove all but the newest and the best of the snapshots whose iteration is in `scored`.

    Files that this run did not score are somebody else's and stay. Returns what was removed.
    """
    found = complete(prefix)
    keep = {s.iteration for s in found[-newest:]} | {best}
    removed = []
    for snapshot in found:
        if snapshot.iteration in set(scored) - keep:
            for path in (snapshot.state, snapshot.model):
                os.remove(path)
                removed.append(path)
    return removed
