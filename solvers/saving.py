"""The snapshots that a stage writes: on time, after a failed iteration, and at a signal."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

from solvers import signals, snapshots, workers
from solvers.journal import Journal
from solvers.snapshot_folder import SnapshotFolder


class Saver:
    """Writes the snapshots of a stage.

    title: of the stage. solver: Caffe's. folder: of the snapshots. journal: of the stage; a
    snapshot keeps the losses in it.
    """

    def __init__(self, title: str, solver: Any, folder: SnapshotFolder, journal: Journal) -> None:
        self._title, self._solver = title, solver
        self._folder, self._journal = folder, journal

    @property
    def _iteration(self) -> int:
        return int(self._solver.iter)

    def write(self) -> None:
        """Write a snapshot of the present iteration, after the rows of the log that go with it."""
        # Here a Caffe that resumes bit for bit brings the random states of the workers together.
        workers.meet(self._solver)
        if workers.rank() == 0:
            self._journal.sync()
            self._folder.write(self._solver, self._journal.losses.state())
        self._journal.line(f"Snapshotting to {self._folder.prefix}_iter_{self._iteration}")

    @contextlib.contextmanager
    def rescuing(self) -> Iterator[None]:
        """Run a block that trains an iteration. If that fails, write a snapshot of the last one."""
        iteration = self._iteration
        try:
            yield
        except KeyboardInterrupt:
            self._write_first()
            raise
        except Exception:
            # The iteration counts once the weights have changed. Of several workers, the engine
            # knows which of them still lives.
            if self._iteration == iteration and workers.count() == 1:
                self._write_last()
            elif self._iteration == iteration and workers.rank() == 0:
                # After the death of a worker, Caffe has written a snapshot.
                losses = self._journal.losses.state()
                snapshots.add_progress(self._folder.prefix, iteration, losses)
            raise

    def stop(self, signal: int) -> None:
        """End the program after a signal, once a snapshot is written."""
        self._journal.line(f"Optimization {self._stopped}")
        signals.raise_for(signal, self._saved)

    def _write_first(self) -> None:
        """Write a snapshot if there is none, so that an interruption costs only one iteration."""
        if self._iteration and not self._folder.has_snapshots() and workers.count() == 1:
            self.write()

    def _write_last(self) -> None:
        """Write a snapshot of the last complete iteration after a failure, unless there is one."""
        if self._iteration in (0, self._folder.newest_iteration()):
            return
        try:
            self.write()
            # Caffe removes resume.json, because the random numbers of dropout have advanced since
            # that iteration.
            losses = self._journal.losses.state()
            snapshots.write_progress(self._folder.prefix, self._iteration, losses)
        except (OSError, RuntimeError) as error:
            workers.say(f"warning: {self._title}: the last snapshot cannot be written ({error})")
            return
        self._journal.line(f"Optimization {self._stopped}")
        workers.say(self._saved)

    @property
    def _stopped(self) -> str:
        return f"stopped at iteration {self._iteration}"

    @property
    def _saved(self) -> str:
        return (
            f"{self._title}: {self._stopped}, which is saved in {self._folder.path}; "
            "the same command continues"
        )
