"""Judges the outcomes of nets in both engines, and counts the verdicts."""

from __future__ import annotations

import json
import re
from typing import Dict, List, Tuple

import numpy as np

from oracle.compare import disagreements
from oracle.deliberate import deliberate
from oracle.random_nets.engine import Outcome, Roundings, run_engine
from oracle.run_nets import RAN_OUT

#: An error may be FACTOR times the largest change that roundings made in RUNS runs.
FACTOR, RUNS = 4, 8
#: A gradient as small as exp(-50), which one engine rounds to 0 and another does not.
NEGLIGIBLE = 1e-20
#: Layers of BVLC Caffe that use their first bottom's gradient as scratch memory.
SCRATCH = ("HingeLoss", "Scale")
#: An exception by its name. One of the engine's that is no CaffeError does not say what to change.
EXCEPTION = re.compile(r"^(?!ModuleNotFound)\w+(Error|Exception|Exit): ", re.MULTILINE)
#: The C library's words, before it aborts, for memory that was written out of bounds.
CORRUPTED = re.compile(r"free\(\): |malloc\w*\(\): |corrupted|double free|munmap_chunk")


def without_scratch(engine: dict, bvlc: dict) -> dict:
    """Return BVLC Caffe's numbers, with the engine's where BVLC Caffe's are no gradients.

    Layers in SCRATCH leave other numbers in their first bottom's gradient. The engine has zeros
    there, or the gradient of the pass before.
    """
    meta = json.loads(str(bvlc["meta"]))
    blobs = {
        meta["bottoms"][name][0]
        for name, type_ in zip(meta["layers"], meta["types"])
        if type_ in SCRATCH
    }
    result, before = dict(bvlc), dict.fromkeys(blobs, np.zeros(0))
    for key, value in engine.items():
        blob = key.split("/diff/")[-1]
        if "/diff/" in key and blob in blobs:
            if not value.any() or np.array_equal(value, before[blob]):
                result[key] = value
            before[blob] = value
    return result


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest absolute difference of two arrays where it is finite."""
    with np.errstate(invalid="ignore"):
        return float(np.abs(np.nan_to_num(a - b.astype(np.float64), posinf=0, neginf=0)).max())


def beyond_rounding(net: dict, folder: str, engine: dict, bvlc: dict) -> List[str]:
    """Return the disagreements that are larger than roundings change the net itself."""
    wrong = disagreements(engine, bvlc)
    if not wrong or any(" off by " not in line for line in wrong):
        return wrong
    runs = [run_engine(net, folder, Roundings(i)).numbers for i in range(RUNS)]
    larger = []
    for line in wrong:
        key = line.split(": off by ")[0]
        error = difference(engine[key], bvlc[key])
        changes = [difference(numbers[key], engine[key]) for numbers in runs if numbers]
        spread = max(changes, default=0.0)
        if error > max(FACTOR * spread, NEGLIGIBLE):
            larger.append(f"{line} (roundings change it by {spread:.2g})")
    return larger


def is_defect(refusal: str) -> bool:
    """Return whether the engine failed, where it should have refused the net in one line."""
    failed = EXCEPTION.match(refusal) or "ended by signal" in refusal
    return bool(refusal.startswith(RAN_OUT) or failed)


def is_crash(refusal: str) -> bool:
    """Return whether BVLC Caffe accessed memory out of bounds or divided by 0, and refused not."""
    if "ended by signal 6" in refusal:
        return bool(CORRUPTED.search(refusal)) and "Check failed" not in refusal
    return not re.search(r"^\w+(Error|Exception): ", refusal, re.MULTILINE)


def same_exception(engine: Outcome, bvlc: Outcome) -> bool:
    """Return whether both report one exception, which a Python layer raised."""
    first, second = (EXCEPTION.search(side.refusal or "") for side in (engine, bvlc))
    return bool(first and second and first[0] == second[0])


class Tally:
    """The verdicts on nets, counted, and the nets that need a look."""

    def __init__(self) -> None:
        self.counts: Dict[str, int] = {}
        #: (net, explanation) of the nets that disagree.
        self.disagreements: List[Tuple[dict, str]] = []
        #: (net, explanation) of the nets for which BVLC Caffe exceeded a limit.
        self.uncompared: List[Tuple[dict, str]] = []

    def judge(self, net: dict, engine: Outcome, bvlc: Outcome, folder: str) -> None:
        """Count one net; `folder` holds temporary files."""
        if engine.numbers is not None and bvlc.numbers is not None:
            verdict, explanation = self._compare_numbers(net, engine.numbers, bvlc.numbers, folder)
        else:
            verdict = self._compare_refusals(net, engine, bvlc)
            end = (bvlc.refusal or "runs")[-900:]
            explanation = f"the engine: {engine.refusal or 'runs'}\nBVLC Caffe: {end}"
        self.counts[verdict] = self.counts.get(verdict, 0) + 1
        if verdict == "disagree":
            self.disagreements.append((net, explanation))
        elif verdict == "not compared":
            self.uncompared.append((net, explanation))

    @staticmethod
    def _compare_numbers(net: dict, engine: dict, bvlc: dict, folder: str) -> Tuple[str, str]:
        bvlc = without_scratch(engine, bvlc)
        if not disagreements(engine, bvlc):
            return "agree", ""
        larger = beyond_rounding(net, folder, engine, bvlc)
        return ("disagree" if larger else "agree within their own rounding"), "\n".join(larger)

    @staticmethod
    def _compare_refusals(net: dict, engine: Outcome, bvlc: Outcome) -> str:
        entry = deliberate(net["text"], engine.refusal, bvlc.refusal)
        if entry:
            return f"deliberately different ({entry.name})"
        defect = engine.refusal is not None and is_defect(engine.refusal)
        if defect and same_exception(engine, bvlc):
            defect = False
        if bvlc.refusal is None:
            return "disagree"
        if bvlc.refusal.startswith(RAN_OUT):
            both_ran_out = (engine.refusal or "").startswith(RAN_OUT)
            return "not compared" if both_ran_out or not defect else "disagree"
        if defect:
            return "disagree"
        if is_crash(bvlc.refusal):
            return "BVLC Caffe crashes"
        return "both refuse" if engine.refusal is not None else "disagree"

    def __str__(self) -> str:
        total = sum(self.counts.values())
        verdicts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(self.counts.items()))
        return f"{total} nets: {verdicts}"
