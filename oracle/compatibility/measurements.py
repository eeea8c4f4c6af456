"""The rows of the page that come from the results of oracle/measure.py."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, DefaultDict, Dict, List

from oracle.compatibility.agreement import exponent, round_up
from oracle.fifty import FIELDS, VARIANTS


def training_rows(runs: Dict[str, Dict[str, float]]) -> List[List[str]]:
    """Return a row for each variant of fifty iterations: the largest error of each solver."""
    return [
        [
            variant.replace("_", " "),
            *(round_up(worst_error(runs[f"{solver.lower()}_{variant}"])) for solver in FIELDS),
        ]
        for variant in VARIANTS
    ]


def worst_error(run: Dict[str, float]) -> float:
    """Return the largest error of a run; its margin is no error."""
    return max(value for name, value in run.items() if name != "margin")


def net_rows(nets: Dict[str, Any]) -> List[List[str]]:
    """Return a row for each whole net: scores and labels against BVLC Caffe and OpenCV."""
    rows = []
    for name, net in sorted(nets.items()):
        row = [name, " x ".join(map(str, net["shape"]))]
        for engine in ("BVLC Caffe", "OpenCV"):
            agreement = net[engine]
            labels = f"{agreement['differ']:,} of {agreement['places']:,}"
            if agreement["differ"]:
                labels += f", by at most {exponent(agreement['margin'])}"
            row += [exponent(agreement["error"]), labels]
        rows.append(row)
    return rows


def tie_lines(nets: Dict[str, Any]) -> List[str]:
    """Return a line for each label of a map that differs from BVLC Caffe's, with the scores."""
    lines = []
    for name, net in sorted(nets.items()):
        for tie in net["BVLC Caffe"]["ties"]:
            row, column = tie["place"][1:]
            scores = "; ".join(
                f"{engine} {tie[key][0]:.9g} and {tie[key][1]:.9g}"
                for engine, key in (("BVLC Caffe", "other"), ("the engine", "engine"))
            )
            classes = tie["classes"]
            lines.append(f"{name}, row {row}, column {column}, classes {classes}: {scores}")
    return lines


def verdict_counts(pieces: Dict[str, Dict[str, int]]) -> Dict[str, int]:
    """Return the verdicts on random nets, and how many nets had each."""
    counts: DefaultDict[str, int] = defaultdict(int)
    for piece in pieces.values():
        for verdict, count in piece.items():
            counts[verdict] += count
    return dict(sorted(counts.items()))


def version_text(versions: Dict[str, str]) -> str:
    """Return the versions that a section was measured with, as words."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())
