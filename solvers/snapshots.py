"""Snapshots: the pairs PREFIX_iter_N.caffemodel and PREFIX_iter_N.solverstate that Caffe writes.

Beside them lie PREFIX_iter_N.resume.json, with what the pair cannot hold, and scores.jsonl, with
the scores of each snapshot. While a snapshot is written or removed, .PREFIX_iter_N.incomplete lies
there too, so that the next run knows what a killed one left.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional

from fcn_common.caffemodel import complete_model, complete_state
from fcn_common.files import TEMPORARY, write_json, write_text
from fcn_common.places import sync_folder
from solvers.metrics import Scores

RECORDS = "scores.jsonl"
#: The snapshot_prefix of the published solvers, in the folder of a stage.
PREFIX = os.path.join("snapshot", "train")


#: The version of resume.json, which the embedded Caffe reads and writes too.
VERSION = 1
#: The key of resume.json under which a stage keeps its own values.
KEY = "stage"


class Snapshot(NamedTuple):
    """A trained model and the state of its solver: the paths of both files."""

    iteration: int
    model: str
    state: str


def complete(prefix: str) -> List[Snapshot]:
    """Return the complete snapshots of a prefix, the oldest first.

    Caffe writes the model before the state, so a run that was killed has at most one incomplete
    snapshot. Training writes that snapshot again at the same iteration.
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

    iterations: those of the snapshots that this run has made. Snapshots that a stage wrote at a
    signal are recognized by their resume.json. All other files stay.
    """
    snapshots = complete(prefix)
    keep = {s.iteration for s in snapshots[-newest:]} | {best}
    of_stages = {s.iteration for s in snapshots if read_progress(prefix, s.iteration) is not None}
    removed = []
    for snapshot in snapshots:
        if snapshot.iteration in ({*iterations, *of_stages} - keep):
            with incomplete(prefix, snapshot.iteration):
                removed += _remove(prefix, snapshot.iteration)
    return removed


@contextlib.contextmanager
def incomplete(prefix: str, iteration: int) -> Iterator[None]:
    """Mark a snapshot as incomplete during a block that writes or removes the snapshot."""
    marker = _marker(prefix, iteration)
    write_text(marker, "")
    yield
    sync_folder(os.path.dirname(marker) or ".")
    os.remove(marker)


def has_remains(prefix: str) -> bool:
    """Return whether a run that was killed, or lost its power, left parts of files."""
    folder = os.path.dirname(prefix) or os.curdir
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return bool(_markers(prefix)) or any(map(TEMPORARY.fullmatch, names))


def _markers(prefix: str) -> List[str]:
    folder, name = os.path.split(prefix)
    return glob.glob(os.path.join(glob.escape(folder), f".{glob.escape(name)}_iter_*.incomplete"))


def remove_incomplete(prefix: str) -> List[str]:
    """Remove what a killed run left of snapshots that it wrote or removed; return the files."""
    iterations = {s.iteration for s in complete(prefix)}
    removed = []
    for marker in _markers(prefix):
        match = re.search(r"_iter_(\d+)\.incomplete$", marker)
        if match and int(match[1]) not in iterations:
            removed += _remove(prefix, int(match[1]))
        os.remove(marker)
    return removed


def _marker(prefix: str, iteration: int) -> str:
    folder, name = os.path.split(prefix)
    return os.path.join(folder, f".{name}_iter_{iteration}.incomplete")


def _remove(prefix: str, iteration: int) -> List[str]:
    """Remove the files of a snapshot, the state first: no program restores the rest without it."""
    base = f"{prefix}_iter_{iteration}"
    removed = []
    for suffix in ("solverstate", "caffemodel", "resume.json"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{base}.{suffix}")
            removed.append(f"{base}.{suffix}")
    return removed


def write_progress(prefix: str, iteration: int, values: Mapping[str, Any]) -> None:
    """Write what a stage keeps beside a snapshot, before Caffe writes the snapshot."""
    path = f"{prefix}_iter_{iteration}.resume.json"
    write_json(path, {"version": VERSION, "iteration": iteration, KEY: values})


def add_progress(prefix: str, iteration: int, values: Mapping[str, Any]) -> None:
    """Add what a stage keeps to the file that Caffe wrote with a snapshot, where it is missing."""
    path = f"{prefix}_iter_{iteration}.resume.json"
    if os.path.isfile(path) and read_progress(prefix, iteration) is None:
        with open(path, encoding="utf-8") as file:
            write_json(path, {**json.load(file), KEY: values})


def read_progress(prefix: str, iteration: int) -> Optional[Dict[str, Any]]:
    """Return what `write_progress` wrote for a snapshot, or None."""
    try:
        with open(f"{prefix}_iter_{iteration}.resume.json", encoding="utf-8") as file:
            values = json.load(file)
        fits = values["version"] == VERSION and values["iteration"] == iteration
        return dict(values[KEY]) if fits else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


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
