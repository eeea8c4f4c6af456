"""The golden cases in the engine, and how far each agrees with BVLC Caffe."""

from __future__ import annotations

import functools
import math
import tempfile
from typing import Iterator, NamedTuple

import numpy as np

from oracle.cases import CASES, Case, run
from oracle.cases.case import Numbers
from oracle.compare import disagreement, error, golden

#: Errors are rounded up to one of these, and larger errors to one digit.
BOUNDS = (0.0, 1e-6, 1e-5)
DIFFERS = "differs"
EXACT = "exact"


class Comparison(NamedTuple):
    """A case, the engine's numbers, and the numbers of all cases of its group in BVLC Caffe."""

    case: Case
    engine: Numbers
    bvlc: Numbers

    @property
    def agreement(self) -> str:
        """The largest error, rounded up; `exact`; or that the case differs."""
        keys = [key for key in self.bvlc if key.startswith(self.case.name + "/")]
        if {*keys} != {*self.engine}:
            return DIFFERS
        worst = 0.0
        for key in keys:
            engine, bvlc = self.engine[key], self.bvlc[key]
            if bvlc.dtype.kind in "US":
                if str(engine) != str(bvlc):
                    return DIFFERS
            elif disagreement(np.asarray(engine), bvlc):
                return DIFFERS
            else:
                worst = max(worst, error(np.asarray(engine, np.float64), bvlc))
        return round_up(worst)


@functools.cache
def engine_numbers(name: str) -> Numbers:
    """Return the engine's numbers of a case."""
    with tempfile.TemporaryDirectory() as folder:
        return run(CASES[name], folder)


def comparisons(*groups: str) -> Iterator[Comparison]:
    """Yield the cases of these groups, or all cases."""
    for case in CASES.values():
        if not groups or case.group in groups:
            yield Comparison(case, engine_numbers(case.name), golden(case.group))


def round_up(value: float) -> str:
    """Return an error as the smallest bound above it."""
    bound = next((b for b in BOUNDS if value <= b), None)
    if bound is None:
        unit = 10.0 ** math.floor(math.log10(value))
        bound = math.ceil(round(value / unit, 9)) * unit
    return EXACT if bound == 0 else "<= " + exponent(bound)


def exponent(value: float) -> str:
    """Return a number with one digit and a short exponent, as 2e-6."""
    return f"{value:.0e}".replace("e-0", "e-")
