"""The pairs PREFIX_iter_N.caffemodel and PREFIX_iter_N.solverstate that Caffe's solver writes,
and beside them scores.jsonl, what they scored."""

from __future__ import annotations

import glob
import json
import os
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional

from solvers.log import write_text
from surgery.caffemodel import complete_model, complete_state

RECORDS = "scores.jsonl"
PREFIX = os.path.join("snapshot", "train")
Scores = Dict[str, Any]


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


def best(folder: str) -> Optional[str]:
    """The model of the best-scoring snapshot of a stage; the newest if none has a score."""
    prefix = os.path.join(folder, PREFIX)
    records, found = read_records(os.path.dirname(prefix)), complete(prefix)
    iteration = best_iteration({s.iteration: records.get(s.iteration, {}) for s in found})
    for snapshot in reversed(found):
        if iteration in (None, snapshot.iteration):
            return snapshot.model
    return None


def best_iteration(records: Mapping[int, Scores]) -> Optional[int]:
    """The iteration with the highest mean IU, the later of two; None without a score."""
    scored = {k: v["mean_iu"] for k, v in records.items() if v.get("mean_iu") is not None}
    return max(scored, key=lambda k: (scored[k], k)) if scored else None


def read_records(folder: str) -> Dict[int, Scores]:
    """The scores of the snapshots in a folder, by iteration."""
    path = os.path.join(folder, RECORDS)
    if not os.path.isfile(path):
        return {}
    with open(path) as file:
        rows = [json.loads(line) for line in file if line.strip()]
    return {row["iteration"]: row for row in rows}


def write_records(folder: str, records: Mapping[int, Scores]) -> None:
    rows = [json.dumps(records[k]) for k in sorted(records) if records[k]]
    write_text(os.path.join(folder, RECORDS), "".join(row + "\n" for row in rows))
