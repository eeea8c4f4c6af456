"""Progress bars, logs in Caffe's own line format, and files that appear whole."""

from __future__ import annotations

import csv
import datetime
import os
import sys
import time
from typing import Any, Dict, Iterable, Iterator, List, Optional, TypeVar

T = TypeVar("T")


class Bar:
    """A progress bar on stderr: tqdm's on a terminal, else a line every twenty seconds."""

    def __init__(self, total: int, title: str, initial: int = 0, leave: bool = True) -> None:
        self.total, self.title, self.done, self.first = total, title, initial, initial
        self.started = self.printed = time.time()
        self.note, self.tqdm = "", None
        if sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.tqdm = tqdm(
                total=total, initial=initial, desc=title, dynamic_ncols=True, leave=leave
            )

    def update(self, note: str = "", by: int = 1) -> None:
        self.done += by
        self.note = note or self.note
        if self.tqdm is not None:
            if note:
                self.tqdm.set_postfix_str(note, refresh=False)
            self.tqdm.update(by)
        elif time.time() - self.printed > 20:
            self._print()

    def write(self, line: str) -> None:
        """A line above the bar, on stdout."""
        if self.tqdm is not None:
            self.tqdm.write(line, file=sys.stdout)
        else:
            print(line, flush=True)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self.tqdm is not None:
            self.tqdm.close()
        elif self.printed > self.started:
            self._print()

    def _print(self) -> None:
        self.printed = time.time()
        rate = (self.done - self.first) / max(self.printed - self.started, 1e-9)
        left = (self.total - self.done) / rate if rate else float("nan")
        words = [f"{self.title}: {self.done}/{self.total}", f"{rate:.3g}/s", f"{left:.0f} s left"]
        print(", ".join([*words, self.note] if self.note else words), file=sys.stderr, flush=True)


def progress(items: Iterable[T], total: int, title: str) -> Iterator[T]:
    """The items, with a bar."""
    with Bar(total, title, leave=False) as bar:
        for item in items:
            yield item
            bar.update()


class Log:
    """The log of a training run: Caffe's lines, a table of losses, TensorBoard events.

    folder/train.log: lines as Caffe prints them, so scripts that read Caffe's logs read it.
    folder/loss.csv: iteration, loss (mean over the display interval), learning rate.
    folder/events: TensorBoard events, if tensorboardX is installed.
    A run that continues at `iteration` drops what the interrupted one wrote after it.
    """

    def __init__(self, folder: str, iteration: int = 0) -> None:
        os.makedirs(folder, exist_ok=True)
        self.file = open(os.path.join(folder, "train.log"), "a")  # noqa: SIM115
        self.table = os.path.join(folder, "loss.csv")
        kept = [row for row in losses(self.table) if row["iteration"] <= iteration]
        text = "iteration,loss,lr\n" + "".join(
            f"{int(row['iteration'])},{row['loss']:.9g},{row['lr']:.9g}\n" for row in kept
        )
        write_text(self.table, text)
        self.csv = open(self.table, "a")  # noqa: SIM115
        self.events = _events(os.path.join(folder, "events"), iteration)

    def line(self, text: str) -> None:
        now = datetime.datetime.now()
        source = f"{now:%m%d %H:%M:%S.%f} {os.getpid():5d} solver.py:1]"
        self.file.write(f"I{source} {text}\n")
        self.file.flush()

    def train(self, iteration: int, loss: float, lr: float, outputs: Dict[str, float]) -> None:
        """The lines of one display."""
        self.line(f"Iteration {iteration}, loss = {loss:.6g}")
        for i, (name, value) in enumerate(outputs.items()):
            self.line(f"    Train net output #{i}: {name} = {value:.6g}")
        self.line(f"Iteration {iteration}, lr = {lr:.6g}")
        self.csv.write(f"{iteration},{loss:.9g},{lr:.9g}\n")
        self.csv.flush()
        if self.events is not None:
            self.events.add_scalar("train/loss", loss, iteration)
            self.events.add_scalar("train/lr", lr, iteration)

    def test(self, iteration: int, outputs: Dict[str, float]) -> None:
        """The lines of one scoring."""
        self.line(f"Iteration {iteration}, Testing net (#0)")
        for i, (name, value) in enumerate(outputs.items()):
            self.line(f"    Test net output #{i}: {name} = {value:.6g}")
            if self.events is not None:
                self.events.add_scalar(f"test/{name}", value, iteration)

    def close(self) -> None:
        self.file.close()
        self.csv.close()
        if self.events is not None:
            self.events.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def losses(path: str) -> List[Dict[str, float]]:
    """The rows of a loss.csv; a row that was cut off is left out."""
    if not os.path.isfile(path):
        return []
    rows = []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            try:
                rows.append({key: float(row[key]) for key in ("iteration", "loss", "lr")})
            except (KeyError, TypeError, ValueError):
                continue
    return rows


def write_text(path: str, text: str) -> None:
    """Write a file so that it appears whole or not at all."""
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(partial, "w") as file:
            file.write(text)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def _events(folder: str, iteration: int) -> Optional[Any]:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder, purge_step=iteration + 1 if iteration else None)
