"""The rows of the page about pycaffe's calls and names, and about the command-line tools."""

from __future__ import annotations

from typing import List

from oracle.compatibility.agreement import comparisons
from oracle.surface import Surface, differences


def call_rows() -> List[List[str]]:
    """Return a row for each call: how it ends in BVLC Caffe, and the engine's agreement."""
    rows = []
    for comparison in comparisons("calls"):
        name = comparison.case.name
        ending = str(comparison.bvlc[name + "/ended"])
        rows.append([f"`{name[len('calls.') :]}`", ending, comparison.agreement])
    return rows


def command_rows() -> List[List[str]]:
    """Return a row for each command: status, number of log lines, and agreement."""
    rows = []
    for comparison in comparisons("command"):
        name, bvlc = comparison.case.name, comparison.bvlc
        status = int(bvlc[name + "/status"])
        lines = len(str(bvlc.get(name + "/log", "")).splitlines())
        command = comparison.case.text.split("\n")[1]
        rows.append([f"`{command}`", str(status), str(lines or ""), comparison.agreement])
    return rows


def name_rows(bvlc: Surface) -> List[List[str]]:
    """Return a row for each of pycaffe's modules and classes: its names, and the differences."""
    wrong = differences(bvlc)
    return [
        [f"`{where}`", ", ".join(sorted(names)), ", ".join(wrong.get(where, [])) or "none"]
        for where, names in sorted(bvlc.items())
    ]
