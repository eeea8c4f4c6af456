"""What is said of a segmented file: a table of classes, or a line of JSON."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from fcn_common import command
from solvers.outputs import Head


class Share(NamedTuple):
    """A class in a picture, and the fraction of the pixels that have it."""

    label: int
    name: str
    share: float


class HeadShares(NamedTuple):
    """The classes that a head finds in a picture, largest first."""

    head: str
    classes: Tuple[Share, ...]


class Result(NamedTuple):
    """What became of a file: a picture, or a video with a number of frames.

    heads: the classes by head. files: the paths of the files that were written. seconds: that the
    net and the writing took. notes: lines of text. error: why there is no result, or "".
    """

    file: str
    width: int = 0
    height: int = 0
    heads: Tuple[HeadShares, ...] = ()
    files: Tuple[str, ...] = ()
    seconds: float = 0.0
    notes: Tuple[str, ...] = ()
    error: str = ""
    frames: int = 0

    def json_line(self) -> str:
        """Return the result as JSON in one line."""
        values: Dict[str, Any] = {"file": self.file}
        if self.error:
            return json.dumps({**values, "error": self.error}, ensure_ascii=False)
        values.update(width=self.width, height=self.height)
        if self.frames:
            values["frames"] = self.frames
        values["outputs"] = [
            {"name": head.head, "classes": [share._asdict() for share in head.classes]}
            for head in self.heads
        ]
        values.update(files=list(self.files), seconds=round(self.seconds, 3))
        if self.notes:
            values["notes"] = list(self.notes)
        return json.dumps(values, ensure_ascii=False)

    def line(self) -> str:
        """Return the file's name and its classes in percent, in one line."""
        parts = []
        for head in self.heads:
            shares = [f"{share.name} {100 * share.share:.1f} %" for share in head.classes]
            name = f"{head.head}: " if len(self.heads) > 1 else ""
            parts.append(name + ", ".join(shares))
        return f"{command.printable(os.path.basename(self.file))}: {'; '.join(parts)}"

    def table(self) -> List[str]:
        """Return a line for each class, in percent; the name of the head above, if several."""
        lines = []
        for head in self.heads:
            if len(self.heads) > 1:
                lines.append(f"{head.head}:")
            lines += [f"{share.name:<14}{100 * share.share:6.1f} %" for share in head.classes]
        return lines


def count_classes(head: Head, labels: np.ndarray) -> np.ndarray:
    """Return the number of pixels of each class of a head."""
    return np.bincount(labels.ravel(), minlength=len(head.output.classes))


def shares_of(head: Head, counts: np.ndarray) -> HeadShares:
    """Return the classes of a head that have pixels. counts: pixels of each class."""
    names, total = head.output.classes, max(int(counts.sum()), 1)
    order = sorted(((int(n), k) for k, n in enumerate(counts) if n), reverse=True)
    classes = tuple(
        Share(k, names[k] if k < len(names) else f"class {k}", n / total) for n, k in order
    )
    return HeadShares(head.name, classes)


def all_shares(heads: Sequence[Head], labels: Sequence[np.ndarray]) -> Tuple[HeadShares, ...]:
    """Return the classes that each head finds. labels: the label map of each head."""
    return tuple(shares_of(head, count_classes(head, label)) for head, label in zip(heads, labels))
