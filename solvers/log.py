"""The log of a training run, in the format of Caffe's own log, and its table of losses."""

from __future__ import annotations

import csv
import datetime
import os
import sys
from typing import Any, Dict, List, Mapping, Optional, Union

from fcn_common.files import write_text
from solvers import workers

#: The columns of loss.csv.
COLUMNS = ("iteration", "loss", "lr")


class Log:
    """The log of a training run in a folder.

        train.log   lines as Caffe prints them, which scripts for Caffe's logs can read
        loss.csv    iteration, loss (mean over the display interval), learning rate
        events/     TensorBoard events, if tensorboardX is installed

    iteration: the iteration from which the run continues. Rows and events after it, which an
        interrupted run wrote, are dropped.
    """

    def __init__(self, folder: str, iteration: int = 0) -> None:
        os.makedirs(folder, exist_ok=True)
        self._file = open(os.path.join(folder, "train.log"), "a")  # noqa: SIM115
        table = os.path.join(folder, "loss.csv")
        rows = [row for row in losses(table) if row["iteration"] <= iteration]
        write_text(table, ",".join(COLUMNS) + "\n" + "".join(_row(**row) for row in rows))
        self._table = open(table, "a")  # noqa: SIM115
        self._events = _event_writer(os.path.join(folder, "events"), iteration)

    def line(self, text: str) -> None:
        """Write a line with the date, the time and the process, as glog does."""
        now = datetime.datetime.now()
        source = f"{now:%m%d %H:%M:%S.%f} {os.getpid():5d} solver.py:1]"
        self._file.write(f"I{source} {text}\n")
        self._file.flush()

    def train(self, iteration: int, loss: float, lr: float, outputs: Mapping[str, float]) -> None:
        """Write the lines of one display: the mean loss, the net's outputs, the learning rate."""
        self.line(f"Iteration {iteration}, loss = {loss:.6g}")
        for i, (name, value) in enumerate(outputs.items()):
            self.line(f"    Train net output #{i}: {name} = {value:.6g}")
        self.line(f"Iteration {iteration}, lr = {lr:.6g}")
        self._table.write(_row(iteration, loss, lr))
        self._table.flush()
        if self._events is not None:
            self._events.add_scalar("train/loss", loss, iteration)
            self._events.add_scalar("train/lr", lr, iteration)

    def test(self, iteration: int, outputs: Mapping[str, float]) -> None:
        """Write the lines of one scoring."""
        self.line(f"Iteration {iteration}, Testing net (#0)")
        for i, (name, value) in enumerate(outputs.items()):
            self.line(f"    Test net output #{i}: {name} = {value:.6g}")
            if self._events is not None:
                self._events.add_scalar(f"test/{name}", value, iteration)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._table.close()
        if self._events is not None:
            self._events.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class NoLog:
    """The methods of `Log`, which write nothing: the log of every worker but the first."""

    def line(self, text: str) -> None:
        """Write nothing."""

    def train(self, iteration: int, loss: float, lr: float, outputs: Mapping[str, float]) -> None:
        """Write nothing."""

    def test(self, iteration: int, outputs: Mapping[str, float]) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Close nothing."""

    def __enter__(self) -> NoLog:
        return self

    def __exit__(self, *error: object) -> None:
        """Close nothing."""


def open_log(folder: str, iteration: int = 0) -> Union[Log, NoLog]:
    """Return the log of a run: a `Log` on worker 0, and a `NoLog` on the other workers."""
    return NoLog() if workers.rank() else Log(folder, iteration)


def losses(path: str) -> List[Dict[str, float]]:
    """Return the rows of a loss.csv without a truncated row; [] if there is no file."""
    if not os.path.isfile(path):
        return []
    rows = []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            try:
                rows.append({key: float(row[key]) for key in COLUMNS})
            except (KeyError, TypeError, ValueError):
                continue
    return rows


def _row(iteration: float, loss: float, lr: float) -> str:
    return f"{int(iteration)},{loss:.9g},{lr:.9g}\n"


def _event_writer(folder: str, iteration: int) -> Optional[Any]:
    """Return a writer of TensorBoard events; None, after a note on stderr, without tensorboardX."""
    try:
        # Optional, and the import takes longer than the rest of the log.
        from tensorboardX import SummaryWriter
    except ImportError:
        print(
            f"note: no TensorBoard events in {folder}: tensorboardX is not installed "
            "(pip install tensorboardX)",
            file=sys.stderr,
        )
        return None
    return SummaryWriter(folder, purge_step=iteration + 1 if iteration else None)
