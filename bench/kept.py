"""The results of a run in the form that docs/ keeps: a line for each run, with few times."""

from __future__ import annotations

import json
from typing import Any, List, Sequence

import numpy as np

from bench.settings import Json

#: The most times of a run that are kept, and their significant digits.
TIMES, DIGITS = 101, 4


def text(results: Json) -> str:
    """Return results as JSON, with an entry or a run on each line."""
    entries = {name: _line(value) for name, value in results.items()}
    runs = [_line({**run, "times": few(run["times"])}) for run in results["runs"]]
    entries["runs"] = "[\n  " + ",\n  ".join(runs) + "\n ]"
    return "{\n " + ",\n ".join(f"{_line(k)}: {v}" for k, v in entries.items()) + "\n}\n"


def few(times: Sequence[float]) -> List[float]:
    """Return times in their order; of more than TIMES, as many that are spread evenly over them.

    The first, the middle and the last of such times are the least, the median and the largest.
    """
    if len(times) > TIMES:
        times = np.quantile(times, np.linspace(0, 1, TIMES)).tolist()
    return [float(f"{t:.{DIGITS}g}") for t in times]


def _line(value: Any) -> str:
    return json.dumps(value)
