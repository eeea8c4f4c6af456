"""The folder in which a stage keeps its snapshots and scores, and how far they reach."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional

from fcn_common.files import remove_partial
from solvers import caffe_solver, run_lock, snapshots
from solvers.metrics import Scores


class SnapshotFolder:
    """The snapshots and scores of a stage on disk.

    prefix: the snapshot_prefix of the solver, PATH/train. path: the folder.
    snapshot: the newest complete snapshot, if any. records: the scores of the snapshots, by
    iteration.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix, self.path = prefix, os.path.dirname(prefix) or "."
        self.snapshot: Optional[snapshots.Snapshot] = None
        self.records: Dict[int, Scores] = {}
        self.read()

    def read(self) -> None:
        """Read the newest complete snapshot and the scores."""
        self.records = snapshots.read_records(self.path)
        self.snapshot = snapshots.latest(self.prefix)

    def is_finished(self, iters: int, scored: bool) -> bool:
        """Return whether a stage of `iters` iterations is trained and, if `scored`, scored."""
        if self.snapshot is None or self.snapshot.iteration < iters:
            return False
        return not scored or self.snapshot.iteration in self.records

    def is_left_over(self) -> bool:
        """Return whether a run works here, or was killed here."""
        return run_lock.is_marked(self.path) or snapshots.has_remains(self.prefix)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder during a block, and remove what killed runs have left.

        Raises ValueError if another process trains here.
        """
        with run_lock.one_run(self.path):
            remove_partial(self.path)
            snapshots.remove_incomplete(self.prefix)
            caffe_solver.remove_temporary(".")
            # Another process may have trained between the look and the lock.
            self.read()
            yield

    def has_snapshots(self) -> bool:
        """Return whether there is a complete snapshot now."""
        return bool(snapshots.complete(self.prefix))

    def newest_iteration(self) -> int:
        """Return the iteration of the newest complete snapshot there is now; 0 without any."""
        newest = snapshots.latest(self.prefix)
        return newest.iteration if newest else 0

    def write(self, solver: Any, values: Mapping[str, Any]) -> None:
        """Write a snapshot of Caffe's solver, and the values that a stage keeps beside it."""
        iteration = int(solver.iter)
        with snapshots.incomplete(self.prefix, iteration):
            snapshots.write_progress(self.prefix, iteration, values)
            solver.snapshot()

    def progress(self) -> Optional[Dict[str, Any]]:
        """Return the values that a stage has kept beside the snapshot that it continues from."""
        if self.snapshot is None:
            return None
        return snapshots.read_progress(self.prefix, self.snapshot.iteration)

    def drop_scores_after(self, iteration: int) -> None:
        """Forget the scores of snapshots that are lost."""
        self.records = {k: v for k, v in self.records.items() if k <= iteration}

    def write_scores(self, iteration: int, scores: Scores) -> None:
        """Write the scores of a snapshot, with those before."""
        snapshots.write_records(self.path, {**self.records, iteration: scores})

    def prune(self, saved: Iterable[int]) -> None:
        """Remove the snapshots that are neither the newest two nor the best.

        saved: the iterations of the snapshots of this run that may have no scores.
        """
        best = snapshots.best_iteration(self.records)
        snapshots.prune(self.prefix, {*self.records, *saved}, best)
