"""The log of a training run, in the format of Caffe's own log, and its table of losses."""

from __future__ import annotations

import csv
import datetime
import math
import os
import re
from typing import Collection, Dict, List, Mapping, Union

import numpy as np

from fcn_common.files import write_text
from fcn_common.places import make_folder
from solvers import workers
from solvers.by_products import AppendedFile, guarded, truncate
from solvers.events import open_events

#: The columns of loss.csv.
COLUMNS = ("iteration", "loss", "lr", "pixel_loss")
TABLE, TEXT, EVENTS = "loss.csv", "train.log", "events"
#: The first line of a block of train.log that belongs to an iteration.
_BLOCK = re.compile(r"\] Iteration (\d+), (loss|lr|Testing)")
#: A line about the history of the run, not about an iteration.
_EVENT = re.compile(r"\] (Solving|Restoring|Snapshotting|Optimization|warning)")


class Log:
    """The log of a training run in a folder.

        train.log   lines as Caffe prints them, which scripts for Caffe's logs can read
        loss.csv    iteration, loss (the mean of the last `average_loss` iterations), learning rate,
                    loss of a labelled pixel (the same mean)
        events/     TensorBoard events, if tensorboardX is installed

    iteration: the iteration from which the run continues. Lines of an interrupted run about this
        and later iterations are dropped, so that the log has each iteration once.
    scored: the iterations whose scores the run has; those stay.

    A file that cannot be written costs one warning, and the training goes on.
    """

    def __init__(self, folder: str, iteration: int = 0, scored: Collection[int] = ()) -> None:
        table, text = os.path.join(folder, TABLE), os.path.join(folder, TEXT)
        with guarded(folder):
            make_folder(folder)
        with guarded(table):
            _cut_table(table, iteration)
        with guarded(text):
            _cut_text(text, iteration, scored)
        self._file, self._table = AppendedFile(text), AppendedFile(table)
        if self._table.is_empty():
            self._table.append((",".join(COLUMNS) + "\n").encode())

        def keep(tag: str, step: int) -> bool:
            return step < iteration if tag.startswith("train/") else step in scored

        self._events = open_events(os.path.join(folder, EVENTS), keep)

    def line(self, text: str) -> None:
        """Write a line with the date, the time and the process, as glog does."""
        now = datetime.datetime.now()
        source = f"{now:%m%d %H:%M:%S.%f} {os.getpid():5d} solver.py:1]"
        self._file.append(f"I{source} {text}\n".encode())

    def train(
        self,
        iteration: int,
        loss: float,
        lr: float,
        outputs: Mapping[str, float],
        pixel_loss: float = math.nan,
    ) -> None:
        """Write the lines of one display: the mean loss, the net's outputs, the learning rate.

        pixel_loss: the mean loss of a labelled pixel; NaN where that is unknown.
        """
        self.line(f"Iteration {iteration}, loss = {loss:.6g}")
        for i, (name, value) in enumerate(outputs.items()):
            self.line(f"    Train net output #{i}: {name} = {value:.6g}")
        self.line(f"Iteration {iteration}, lr = {lr:.6g}")
        self._table.append(_row(iteration, loss, lr, pixel_loss).encode())
        if self._events is not None:
            self._events.scalar("train/loss", loss, iteration)
            self._events.scalar("train/lr", lr, iteration)
            if math.isfinite(pixel_loss):
                self._events.scalar("train/pixel_loss", pixel_loss, iteration)

    def test(
        self,
        iteration: int,
        outputs: Mapping[str, float],
        samples: Mapping[str, np.ndarray] = {},
    ) -> None:
        """Write the lines of one scoring.

        samples: pictures for TensorBoard by title, H x W x 3, uint8, RGB.
        """
        self.line(f"Iteration {iteration}, Testing net (#0)")
        for i, (name, value) in enumerate(outputs.items()):
            self.line(f"    Test net output #{i}: {name} = {value:.6g}")
            if self._events is not None:
                self._events.scalar(f"test/{name}", value, iteration)
        for name, picture in samples.items():
            if self._events is not None:
                self._events.picture(f"samples/{name}", picture, iteration)

    def sync(self) -> None:
        """Write the files to disk, before a snapshot from which the run may continue."""
        for file in (self._file, self._table, self._events):
            if file is not None:
                file.sync()

    def close(self) -> None:
        """Close the files."""
        for file in (self._file, self._table, self._events):
            if file is not None:
                file.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class NoLog:
    """The methods of `Log`, which write nothing: the log of every worker but the first."""

    def line(self, text: str) -> None:
        """Write nothing."""

    def train(
        self,
        iteration: int,
        loss: float,
        lr: float,
        outputs: Mapping[str, float],
        pixel_loss: float = math.nan,
    ) -> None:
        """Write nothing."""

    def test(
        self,
        iteration: int,
        outputs: Mapping[str, float],
        samples: Mapping[str, np.ndarray] = {},
    ) -> None:
        """Write nothing."""

    def sync(self) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Close nothing."""

    def __enter__(self) -> NoLog:
        return self

    def __exit__(self, *error: object) -> None:
        """Close nothing."""


def open_log(folder: str, iteration: int = 0, scored: Collection[int] = ()) -> Union[Log, NoLog]:
    """Return the log of a run: a `Log` on worker 0, and a `NoLog` on the other workers."""
    return NoLog() if workers.rank() else Log(folder, iteration, scored)


def losses(path: str) -> List[Dict[str, float]]:
    """Return the rows of a loss.csv without a truncated row; [] if there is no file.

    Tables of earlier versions have no loss of a pixel, which then is NaN.
    """
    if not os.path.isfile(path):
        return []
    rows = []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            try:
                rows.append({key: float({"pixel_loss": "nan", **row}[key]) for key in COLUMNS})
            except (KeyError, TypeError, ValueError):
                continue
    return rows


def _row(iteration: float, loss: float, lr: float, pixel_loss: float) -> str:
    return f"{int(iteration)},{loss:.9g},{lr:.9g},{pixel_loss:.9g}\n"


def _cut_table(path: str, iteration: int) -> None:
    """Drop the rows of `iteration` and later ones, and a truncated row, from a loss.csv.

    The rows before keep their bytes. A table of an earlier version gets the missing columns.
    """
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    if lines and lines[0] != (",".join(COLUMNS) + "\n").encode():
        rows = [row for row in losses(path) if row["iteration"] < iteration]
        write_text(path, ",".join(COLUMNS) + "\n" + "".join(_row(**row) for row in rows))
        return
    size = 0
    for number, line in enumerate(lines):
        first = line.split(b",")[0]
        complete = line.endswith(b"\n") and line.count(b",") == len(COLUMNS) - 1
        if number and (not complete or not first.isdigit() or int(first) >= iteration):
            break
        size += len(line)
    truncate(path, size)


def _cut_text(path: str, iteration: int, scored: Collection[int]) -> None:
    """Drop the blocks of train.log that the run writes again, and keep all other lines."""
    if not os.path.isfile(path):
        return
    kept, drops = [], False
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines(keepends=True)
    for line in lines:
        block = _BLOCK.search(line)
        if block:
            step = int(block[1])
            drops = step not in scored if block[2] == "Testing" else step >= iteration
        elif _EVENT.search(line):
            drops = False
        if not drops and line.endswith("\n"):
            kept.append(line)
    if len(kept) < len(lines):
        write_text(path, "".join(kept))
