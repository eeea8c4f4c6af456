"""Snapshots: the pairs PREFIX_iter_N.caffemodel and PREFIX_iter_N.solverstate that Caffe writes,
and scores.jsonl beside them, with the scores of each snapshot."""

from __future__ import annotations

import glob
import json
import os
import re
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional

from fcn_common.caffemodel import complete_model, complete_state
from fcn_common.files import write_text
from solvers.metrics import Scores

RECORDS = "scores.jsonl"
#: The snapshot_prefix of the published solvers, in the folder of a stage.
PREFIX = os.path.join("snapshot", "train")


class Snapshot(NamedTuple):
    """A trained model and the state of its solver: the paths of both files."""

    iteration: int
    model: str
    state: str


def complete(prefix: str) -> List[Snapshot]:
    """Return the complete snapshots of a prefix, the oldest first.

    Caffe writes the model before the state, so a run that was killed has at most one incomplete
    snapshot. Training writes that snapshot again when it comes to the same iteration.
    """
    snapshots = []
    for state in glob.glob(glob.escape(prefix) + "_iter_*.solverstate"):
        match = re.search(r"_iter_(\d+)\.solverstate$", state)
        model = state[: -len("solverstate")] + "caffemodel"
        if match and complete_state(state) and complete_model(model):
            snapshots.append(Snapshot(int(match.group(1)), model, state))
    return sorted(snapshots)


def latest(prefix: str, upto: Optional[int] = None) -> Optional[Snapshot]:
    """Return the newest complete snapshot, or the newest up to iteration `upto`."""
    snapshots = [s for s in complete(prefix) if upto is None or s.iteration <= upto]
    return snapshots[-1] if snapshots else None


def prune(
    prefix: str, iterations: Iterable[int], best: Optional[int], newest: int = 2
) -> List[str]:
    """Remove snapshots, except the `newest` and that of iteration `best`; return the files.

    iterations: those of the snapshots that this run has made. Other files are left alone.
    """
    snapshots = complete(prefix)
    keep = {s.iteration for s in snapshots[-newest:]} | {best}
    removable = set(iterations) - keep
    removed = []
    for snapshot in snapshots:
        if snapshot.iteration in removable:
            for path in (snapshot.state, snapshot.model):
                os.remove(path)
                removed.append(path)
    return removed


def best(folder: str) -> Optional[str]:
    """Return the model of a stage's best snapshot; of the newest one if no snapshot has scores."""
    prefix = os.path.join(folder, PREFIX)
    records, snapshots = read_records(os.path.dirname(prefix)), complete(prefix)
    iteration = best_iteration({s.iteration: records.get(s.iteration, {}) for s in snapshots})
    for snapshot in reversed(snapshots):
        if iteration in (None, snapshot.iteration):
            return snapshot.model
    return None


def best_iteration(records: Mapping[int, Scores]) -> Optional[int]:
    """Return the iteration with the highest mean IU, the later of equal ones; None without any."""
    mean_iu = {k: v["mean_iu"] for k, v in records.items() if v.get("mean_iu") is not None}
    return max(mean_iu, key=lambda k: (mean_iu[k], k)) if mean_iu else None


def read_records(folder: str) -> Dict[int, Scores]:
    """Return the scores of the snapshots in a folder, by iteration."""
    path = os.path.join(folder, RECORDS)
    if not os.path.isfile(path):
        return {}
    with open(path) as file:
        rows = [json.loads(line) for line in file if line.strip()]
    return {row["iteration"]: row for row in rows}


def write_records(folder: str, records: Mapping[int, Scores]) -> None:
    """Write the scores of the snapshots in a folder; a snapshot without scores has no line."""
    rows = [json.dumps(records[k]) for k in sorted(records) if records[k]]
    write_text(os.path.join(folder, RECORDS), "".join(row + "\n" for row in rows))
