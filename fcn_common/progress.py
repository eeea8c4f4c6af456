"""Progress bars on stderr, for everything that takes longer than two seconds."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any, Iterable, Iterator, Optional, TypeVar

try:
    from tqdm import tqdm
except ImportError:  # optional beside BVLC Caffe
    tqdm = None  # type: ignore[assignment,misc]

T = TypeVar("T")
#: Seconds between two lines where stderr is no terminal, so that log files stay short.
PERIOD = 20


class ProgressBar:
    """A progress bar on stderr: tqdm's on a terminal, otherwise a line every `PERIOD` seconds.

    total: the number of steps. initial: steps that an earlier run has done. unit: "" for a count,
    "B" for bytes, which are shown in kB, MB and GB. leave: whether a finished bar stays visible.
    """

    def __init__(
        self, total: int, title: str, initial: int = 0, unit: str = "", leave: bool = True
    ) -> None:
        self.total, self.title, self.unit = total, title, unit
        self.count = self._initial = initial
        self._started = self._printed = time.time()
        self._note = ""
        self._bar: Optional[Any] = None
        if tqdm is not None and sys.stderr.isatty():
            self._bar = tqdm(
                total=total,
                initial=initial,
                desc=title,
                unit=unit or "it",
                unit_scale=unit == "B",
                dynamic_ncols=True,
                leave=leave,
            )

    def update(self, steps: int = 1, note: str = "") -> None:
        """Move the bar by `steps`; `note` replaces the text after it."""
        self.count += steps
        self._note = note or self._note
        with contextlib.suppress(OSError):  # A terminal that is gone does not end the work.
            if self._bar is not None:
                if note:
                    self._bar.set_postfix_str(note, refresh=False)
                self._bar.update(steps)
            elif time.time() - self._printed > PERIOD:
                self._print()

    def write(self, line: str) -> None:
        """Print a line on stdout, above the bar."""
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.write(line, file=sys.stdout)
            else:
                print(line, flush=True)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.close()
            elif self._printed > self._started:
                self._print()

    def _print(self) -> None:
        self._printed = time.time()
        rate = (self.count - self._initial) / max(self._printed - self._started, 1e-9)
        seconds = (self.total - self.count) / rate if rate else float("nan")
        steps = f"{self._amount(self.count)}/{self._amount(self.total)}"
        words = [f"{self.title}: {steps}", f"{self._amount(rate)}/s", f"{seconds:.0f} s left"]
        print(", ".join([*words, self._note] if self._note else words), file=sys.stderr, flush=True)

    def _amount(self, number: float) -> str:
        if self.unit == "B":
            return f"{number / 1e6:.1f} MB"
        return str(number) if isinstance(number, int) else f"{number:.3g}"


def track(items: Iterable[T], total: int, title: str) -> Iterator[T]:
    """Yield the items, moving a progress bar of `total` steps after each."""
    with ProgressBar(total, title, leave=False) as bar:
        for item in items:
            yield item
            bar.update()
