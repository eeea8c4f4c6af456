"""The results of a run in the form that docs/ keeps: a line for each run, with few times."""

from __future__ import annotations

import json
from typing import List, Sequence

import numpy as np

from bench.settings import Json

#: The most times of a run that are kept, and their significant digits.
TIMES, DIGITS = 101, 4


def text(results: Json) -> str:
    """Return results as JSON, with an entry or a run on each line."""
    runs = [json.dumps({**run, "times": few(run["times"])}) for run in results["runs"]]
    lines = [
        f"{json.dumps(name)}: " + (_list(runs) if name == "runs" else json.dumps(value))
        for name, value in results.items()
    ]
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def few(times: Sequence[float]) -> List[float]:
    """Return times in their order; of more than TIMES, as many that are spread evenly over them.

    The first, the middle and the last of such times are the least, the median and the largest.
    """
    if len(times) > TIMES:
        times = np.quantile(times, np.linspace(0, 1, TIMES)).tolist()
    return [float(f"{t:.{DIGITS}g}") for t in times]


def _list(lines: Sequence[str]) -> str:
    """Return a list in JSON, with an element on each line."""
    return "[\n  " + ",\n  ".join(lines) + "\n ]"
